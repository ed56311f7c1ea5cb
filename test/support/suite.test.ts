import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { transform } from 'esbuild';
import { readCount, type Count } from './count.ts';
import { NODE_ARGUMENTS, program } from './program.ts';
import { assert, suite } from './suite.ts';

const test = suite('suite', { timeoutMs: 60_000 });

type Outcome = { code: number | null; output: string; count: Count | undefined };

// The fixtures lie next to the wrapper, because the packages that they import are resolved from there.
let folder: string;
test.before(async () => {
  folder = await mkdtemp(join(import.meta.dirname, '.fixtures-'));
});
test.after(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function run(source: string, env: Record<string, string> = {}): Promise<Outcome> {
  const file = join(folder, `fixture-${process.hrtime.bigint()}.mjs`);
  const wrapper = pathToFileURL(program(join(import.meta.dirname, 'suite.ts'))).href;
  const { code: javascript } = await transform(source, { loader: 'ts' });
  await writeFile(file, `import { assert, skipFile, suite } from '${wrapper}';\n${javascript}`);
  const child = spawn(process.execPath, [...NODE_ARGUMENTS, file], {
    env: { ...process.env, CI: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, output, count: readCount(output) };
}

async function passes(source: string, count: Count, env?: Record<string, string>): Promise<void> {
  const outcome = await run(source, env);
  assert.is(outcome.code, 0, outcome.output);
  assert.equal(outcome.count, count, outcome.output);
}

async function breaks(source: string, complaint: RegExp, env?: Record<string, string>): Promise<void> {
  const outcome = await run(source, env);
  assert.is(outcome.code, 1, outcome.output);
  assert.match(outcome.output, complaint);
  assert.ok((outcome.count?.failed ?? 0) > 0, outcome.output);
}

const good = `const test = suite('good'); test('good', () => {});`;

test('a good file passes, whatever it awaits at its top level', () =>
  passes(
    `${good}
     await new Promise((resolve) => setTimeout(resolve, 50));
     const other = suite('other');
     const calls: string[] = [];
     other.before(() => calls.push('before'));
     other.before.each(() => calls.push('before.each'));
     other.after.each(() => calls.push('after.each'));
     other('first', async () => { calls.push('first'); });
     other('second', { timeoutMs: 100 }, () => {
       assert.equal(calls, ['before', 'before.each', 'first', 'after.each', 'before.each']);
     });`,
    { passed: 3, failed: 0, skipped: 0 },
  ));

test('a failing test fails the file', () => breaks(`${good} test('bad', () => assert.is(1, 2));`, /FAIL[^]*bad/));

test('a rejection with something that is no Error fails the test', () =>
  breaks(`${good} test('bad', () => Promise.reject(undefined));`, /rejected with undefined/));

test('a failing test shows the cause', () =>
  breaks(`${good} test('bad', () => { throw new Error('outer', { cause: new Error('inner') }); });`, /inner/));

for (const hook of ['before', 'after', 'before.each', 'after.each']) {
  test(`a throwing ${hook} hook fails the file`, () =>
    breaks(`${good} test.${hook}(() => { throw new Error('broken hook'); });`, /broken hook/));
  test(`a ${hook} hook that is never settled fails the file`, () =>
    breaks(
      `const test = suite('slow', { timeoutMs: 100 }); test('good', () => {}); test.${hook}(() => new Promise(() => {}));`,
      /not settled after 100 ms/,
    ));
}

test('an after.each hook that throws after a failed test hides neither failure', () =>
  breaks(
    `const test = suite('both');
     test('bad', () => { throw new Error('broken test'); });
     test.after.each(() => { throw new Error('broken hook'); });`,
    /broken test[^]*broken hook/,
  ));

test('suites need no run(), and a failure in the last one counts', () =>
  breaks(`${good} suite('last')('bad', () => { throw new Error('reached'); });`, /reached/));

test('a file without suites fails', () => breaks('', /no suites/));

test('a suite without tests fails', () => breaks(`${good} suite('empty');`, /no tests/));

test('a suite that is opened while tests run fails', () =>
  breaks(`const test = suite('late'); test('late', () => { suite('inner'); });`, /while its file is being evaluated/));

test('an unhandled rejection fails the file', () =>
  breaks(
    `const test = suite('lost'); test('good', () => { void Promise.reject(new Error('lost rejection')); });`,
    /unhandled rejection[^]*lost rejection/,
  ));

test('an unhandled rejection after the last test fails the file', () =>
  breaks(
    `const test = suite('late');
     test('good', () => void setTimeout(() => void Promise.reject(new Error('late rejection')), 50));`,
    /late rejection/,
  ));

test('an uncaught exception fails the file', () =>
  breaks(
    `const test = suite('thrown');
     test('good', () => new Promise<void>((resolve) => {
       setTimeout(resolve, 20);
       setTimeout(() => { throw new Error('thrown in a timer'); }, 1);
     }));`,
    /thrown in a timer/,
  ));

test('a test that is never settled fails after its time limit', () =>
  breaks(
    `const test = suite('stuck'); test('stuck', { timeoutMs: 100 }, () => new Promise(() => {}));`,
    /stuck is not settled after 100 ms/,
  ));

test('a process that exits in the middle of a test fails', () =>
  breaks(`const test = suite('exit'); test('exit', () => process.exit(0));`, /before all tests are settled/));

test('a top level that is never settled fails', () =>
  breaks(`${good} await new Promise(() => {});`, /before all tests are settled/));

test('a top level that throws fails', () => breaks(`${good} throw new Error('broken file');`, /broken file/));

test('a file that leaves something open fails instead of hanging', () =>
  breaks(
    `import { createServer } from 'node:net';
     const test = suite('open'); test('good', () => void createServer().listen(0));`,
    /still open are .*TCPServerWrap/,
  ));

test('a skip is said aloud with its reason, and counted', async () => {
  const source = `${good} test.skip('no such server', 'skipped', () => {});`;
  await passes(source, { passed: 1, failed: 0, skipped: 1 });
  assert.match((await run(source)).output, /SKIPPED good > skipped: no such server/);
});

test('a skip fails where CI=true, unless the platform is the reason', async () => {
  await breaks(`${good} test.skip('no such server', 'skipped', () => {});`, /must not be skipped/, { CI: 'true' });
  await passes(
    `${good} test.skipOnPlatform('no signals here', 'skipped', () => {});`,
    { passed: 1, failed: 0, skipped: 1 },
    { CI: 'true' },
  );
});

test('a file that is skipped as a whole fails where CI=true', async () => {
  const source = `${good} skipFile('no server at all');`;
  await passes(source, { passed: 0, failed: 0, skipped: 1 });
  await breaks(source, /no server at all/, { CI: 'true' });
});

test('test.only fails where CI=true', () =>
  breaks(`${good} test.only('single', () => {});`, /leaves the other tests out/, { CI: 'true' }));

test('rejects returns the error, and fails when there is none or another', async () => {
  const error = Object.assign(new TypeError('wrong'), { code: 'E_WRONG' });
  assert.is(await assert.rejects(Promise.reject(error), TypeError), error);
  assert.is(await assert.rejects(() => Promise.reject(error), { code: 'E_WRONG', message: 'wrong' }), error);
  assert.is(await assert.rejects(Promise.reject(error), (each: unknown) => each === error), error);
  for (const expected of [RangeError, { code: 'E_OTHER' }, () => false]) {
    await assert.rejects(() => assert.rejects(Promise.reject(error), expected));
  }
  await assert.rejects(() => assert.rejects(Promise.resolve(1)), { message: 'expected a rejection, but it resolved' });
});

test('eventually waits for what becomes true, and says why it did not', async () => {
  let calls = 0;
  assert.is(await assert.eventually(() => (++calls < 3 ? false : calls)), 3);
  const never = (): never => {
    throw new Error('never true');
  };
  await assert.rejects(assert.eventually(never, 50), ({ message }: any) => /within 50 ms.*never true/.test(message));
});
