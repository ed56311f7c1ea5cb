// Each test runner really run, on the examples of docs/testing.md and on tests that must fail, in a project that uses the built package.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { postgres } from '../../../support/servers.ts';
import { assert, suite } from '../../../support/suite.ts';
import { type Ended, Project } from './project.ts';

const test = suite('test runners', { timeoutMs: 120_000 });
const HERE = 'test/datamanagers/testing/runners';
const server = await postgres();
const url = await server.database('runners');
const admin = new pg.Pool({ connectionString: url });
let project: Project;

test.before(async () => {
  await admin.query('create table accounts (id int primary key, balance int not null)');
  await admin.query('insert into accounts values (1, 100), (2, 100)');
  project = await Project.make();
});
test.after(async () => {
  await project.remove();
  await admin.end();
});
test.after.each(async () => {
  const { rows } = await admin.query<{ balance: number }>('select balance from accounts order by id');
  assert.equal(rows, [{ balance: 100 }, { balance: 100 }], 'nothing is stored');
  await assert.eventually(async () => {
    const { rows: others } = await admin.query(
      'select query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
    assert.equal(others, [], 'all connections have ended');
  });
});

type Results = Readonly<Record<string, 'passed' | 'failed'>>;

const GREEN: Results = { 'a transfer moves money': 'passed', 'the next test finds nothing of it': 'passed' };
const MISHAPS: Results = {
  'fails by itself': 'failed',
  'finds nothing of one that failed': 'passed',
  'leaves a transaction open': 'failed',
  'finds nothing of one that left a transaction open': 'passed',
};
const LEFT_OPEN = /every transaction of a test must have ended when its sandbox does/;
const ONE_AT_A_TIME = /a coordinator has one sandbox at a time/;

function run(...args: string[]): Promise<Ended> {
  return project.node(args, { BANK_URL: url });
}

/** What Vitest and Jest say as JSON. */
function resultsIn(ended: Ended): Results {
  try {
    const { testResults } = JSON.parse(ended.output) as {
      testResults: { assertionResults: { title: string; status: 'passed' | 'failed' }[] }[];
    };
    const all = testResults.flatMap(({ assertionResults }) => assertionResults);
    return Object.fromEntries(all.map(({ title, status }) => [title, status]));
  } catch (error) {
    throw new Error(`${ended.code}\n${ended.output}\n${ended.errors}`, { cause: error });
  }
}

/** What TAP says of each test that has no others inside. */
function resultsOfTap({ output }: Ended): Results {
  const lines = [...output.matchAll(/^\s*(not ok|ok) \d+ - (.*)$/gm)];
  return Object.fromEntries(lines.map(([, ok, name = '']) => [name, ok === 'ok' ? 'passed' : 'failed']));
}

const node = (...files: string[]): Promise<Ended> => run('--test', '--test-reporter=tap', ...files);

test('node:test: the example is green; a failing test and one that leaves a transaction open fail, and those after them find nothing', async () => {
  const example = await node('examples/testing/node.spec.js');
  assert.is(example.code, 0, example.output);
  assert.equal(resultsOfTap(example), GREEN);
  const mishaps = await node(`${HERE}/node.mishaps.spec.js`);
  assert.is(mishaps.code, 1);
  assert.equal(resultsOfTap(mishaps), MISHAPS);
  assert.match(mishaps.output, LEFT_OPEN);
});

test('node:test: of tests at the same time all but one at most are refused, and nothing of any is stored', async () => {
  const ended = await node(`${HERE}/node.concurrent.spec.js`);
  assert.is(ended.code, 1);
  const { second, third } = resultsOfTap(ended);
  assert.equal([second, third], ['failed', 'failed']);
  assert.match(ended.output, ONE_AT_A_TIME);
});

test('uvu: the example is green; what fails in the test or in its hooks is told, and the tests after it find nothing', async () => {
  const example = await run('examples/testing/uvu.spec.js');
  assert.is(example.code, 0, example.output);
  assert.match(example.output, /Passed: +2\b/);
  const mishaps = await run(`${HERE}/uvu.mishaps.spec.js`);
  assert.is(mishaps.code, 1);
  assert.match(mishaps.output, /Passed: +2\b/);
  assert.equal(
    [...mishaps.output.matchAll(/FAIL +"(.*)"/g)].map(([, name]) => name),
    ['fails by itself', 'leaves a transaction open'],
  );
  assert.match(mishaps.output, LEFT_OPEN);
});

test('Vitest: the example is green; tests that fail or run at the same time are told, and nothing of them is found', async () => {
  const vitest = (...files: string[]): Promise<Ended> =>
    run(project.program('vitest/vitest.mjs'), 'run', '--root', '.', '--reporter=json', ...files);
  const example = await vitest('examples/testing/vitest.spec.js');
  assert.is(example.code, 0, example.output + example.errors);
  assert.equal(resultsIn(example), GREEN);
  const others = await vitest(`${HERE}/vitest`);
  assert.is(others.code, 1);
  assert.equal(resultsIn(others), {
    ...MISHAPS,
    'a transfer around which a sandbox is': 'passed',
    'the next one around which another is': 'passed',
    first: 'passed',
    second: 'failed',
    third: 'failed',
  });
  assert.match(others.output, LEFT_OPEN);
  assert.match(others.output, ONE_AT_A_TIME);
});

test('Jest: the example is green; tests that fail or run at the same time are told, and nothing of them is found', async () => {
  const config = join(project.folder, 'jest.config.json');
  await writeFile(config, JSON.stringify({ transform: {}, testMatch: ['**/*.spec.js'] }));
  const jest = (...files: string[]): Promise<Ended> =>
    run('--experimental-vm-modules', project.program('jest/bin/jest.js'), '--json', '--config', config, ...files);
  try {
    const example = await jest('examples/testing/jest.spec.js');
    assert.is(example.code, 0, example.output + example.errors);
    assert.equal(resultsIn(example), GREEN);
    const others = await jest(`${HERE}/jest`);
    assert.is(others.code, 1);
    assert.equal(resultsIn(others), { ...MISHAPS, first: 'passed', second: 'failed', third: 'failed' });
    assert.match(others.output, LEFT_OPEN);
    assert.match(others.output, ONE_AT_A_TIME);
  } finally {
    await rm(config);
  }
});
