// Keeps the documentation true where a program can: what it quotes, links to and lists is there.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as unanimous from 'unanimous';
import { mayFollow } from '../../coordinator/status.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('documentation');
const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const readme = read('README.md');
const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
const pages = ['README.md', 'CHANGES.md', ...docs.map((name) => `docs/${name}`)];

for (const example of ['transfer', 'order']) {
  const path = `examples/${example}/${example}.ts`;
  test(`the README shows ${path} as it is`, () => {
    assert.ok(readme.includes(`\`\`\`ts\n${read(path)}\`\`\`\n`));
  });
}

for (const name of ['accounts', 'node.spec', 'vitest.spec', 'jest.spec', 'uvu.spec']) {
  const path = `examples/testing/${name}.ts`;
  test(`docs/testing.md shows ${path} as it is, which its runner is really run with`, () => {
    assert.ok(read('docs/testing.md').includes(`\`\`\`ts\n${read(path)}\`\`\`\n`));
  });
}

test('the README names both commands exactly', () => {
  assert.ok(readme.includes('\nnpm ci && npm start\n'));
  assert.ok(readme.includes('\nnpm ci && npm test\n'));
});

/** The name by which GitHub links to a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

test('every link between pages leads somewhere', () => {
  const broken = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)]
      .filter(([, path = '', fragment]) => {
        const target = path === '' ? page : join(dirname(page), path);
        if (!existsSync(join(root, target))) return true;
        if (fragment === undefined) return false;
        return ![...read(target).matchAll(/^#+ (.*)$/gm)].some(([, heading]) => anchor(heading!) === fragment);
      })
      .map(([link]) => `${page}: ${link}`),
  );
  assert.equal(broken, []);
});

test('the README lists every class of error with its code', () => {
  const details = { finished: [], unfinished: [] };
  const missing = Object.values(unanimous)
    .filter((each) => typeof each === 'function' && each.prototype instanceof unanimous.TransactionError)
    .map((each) => new (each as typeof unanimous.InDoubtError)('', details))
    .filter(
      ({ name, code }) =>
        !readme.split('\n').some((line) => line.startsWith(`| \`${name}\``) && line.includes(`\`${code}\``)),
    )
    .map(({ name, code }) => `${name} ${code}`);
  assert.equal(missing, []);
});

test('the diagram of the README has the transitions of coordinator/status.ts, and no others', () => {
  const statuses = [
    'active',
    'doomed',
    'committing',
    'committed',
    'commit failed',
    'aborting',
    'aborted',
    'in doubt',
  ] as const;
  const shortened: Record<string, string> = { failed: 'commit failed', doubt: 'in doubt' };
  const drawn = [...readme.matchAll(/^ {4}(\w+) --> (\w+)/gm)].map(
    ([, from = '', to = '']) => `${shortened[from] ?? from} to ${shortened[to] ?? to}`,
  );
  const real = statuses.flatMap((from) => statuses.filter((to) => mayFollow(from, to)).map((to) => `${from} to ${to}`));
  assert.equal(drawn.toSorted(), real.toSorted());
});
