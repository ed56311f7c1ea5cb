// Protects whoever looks for mistakes: what is looked at is the program with the mistake, and a mistake that can't be made any more is no success.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withChanges } from './compile.ts';
import { runChanged } from './mistakes.ts';
import { assert, suite } from './suite.ts';

const test = suite('programs with mistakes', { timeoutMs: 120_000 });

const MAIN = 'cli/main.ts';
const FAILS = { file: 'cli/run.ts', from: 'return WELL;', to: 'return 17;' };
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
  version: string;
};

test('a program is what its sources say, finds what lies beside them, and leaves nothing', async () => {
  assert.equal(await runChanged(MAIN, [], ['--version']), { code: 0, output: `${version}\n` });
  assert.not.ok(existsSync(await withChanges(MAIN, [], async (file) => file)));
});

test('a change is made in what runs, and nowhere else', async () => {
  assert.equal(await runChanged(MAIN, [FAILS], ['--version']), { code: 17, output: `${version}\n` });
  assert.is((await runChanged(MAIN, [], ['--version'])).code, 0);
});

test('a change that can’t be made is refused: of a text that is gone, or of a source that is no part of the program', async () => {
  for (const change of [
    { ...FAILS, from: 'return NOBODY;' },
    { ...FAILS, file: 'test/run.ts' },
  ]) {
    const error = await assert.rejects(runChanged(MAIN, [FAILS, change], ['--version']), Error);
    assert.match(error.message, `${change.file} has no longer: ${change.from}`);
  }
});

test('a program that takes too long is ended', async () => {
  const change = {
    ...FAILS,
    from: 'const secrets = new Secrets();',
    to: 'await new Promise(() => setInterval(Object));',
  };
  const { code } = await runChanged(MAIN, [change], [], 2_000);
  assert.is(code, null);
});
