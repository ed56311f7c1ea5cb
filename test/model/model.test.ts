// Protects the formal model: that spin finds nothing in it, and each of the mistakes that docs/model/README.md lists. Where there is no spin, it is
// skipped: the model says nothing about this program that a change of it could break.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { assert, suite } from '../support/suite.ts';

const run = promisify(execFile);
const model = join(import.meta.dirname, '../../docs/model/commit.pml');
const page = await readFile(join(import.meta.dirname, '../../docs/model/README.md'), 'utf8');
const mistakes = [...page.matchAll(/^\| `(-D\w+)`/gm)].map(([, flag]) => flag!);

const TIMEOUT_MS = 240_000;
const test = suite('the formal model', { timeoutMs: TIMEOUT_MS });

function isThere(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch (error) {
    // spin knows no --version, but answers.
    return (error as { code?: unknown }).code !== 'ENOENT';
  }
}

/** What spin says of the model. */
async function search(flags: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'unanimous-model-'));
  try {
    const options = { cwd: folder, timeout: TIMEOUT_MS, maxBuffer: 10_000_000 };
    await run('spin', [...flags, '-a', model], options);
    const limits = ['-DSAFETY', '-DCOLLAPSE', '-DMEMLIM=1500', '-DNOFAIR'];
    await run('gcc', ['-O2', ...limits, '-o', 'pan', 'pan.c'], options);
    return (await run(join(folder, 'pan'), ['-E', '-m1000000'], options)).stdout;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const missing = ['spin', 'gcc'].filter((command) => !isThere(command));
if (missing.length > 0) {
  test.skipOnPlatform(`${missing.join(' and ')} not found (Debian: apt-get install spin gcc)`, 'the model is checked');
} else {
  test('in no order of what can happen is anything half done, or told wrongly', async () => {
    const output = await search([]);
    assert.match(output, /errors: 0/);
    assert.not.match(output, /max search depth too small|out of memory|Search not completed/i);
  });

  for (const mistake of mistakes) {
    test(`${mistake}: the mistake is found`, async () => {
      assert.match(await search([mistake]), /assertion violated/);
    });
  }
}

test('the page lists the mistakes that the model knows', async () => {
  const source = await readFile(model, 'utf8');
  const known = [...source.matchAll(/#ifn?def (\w+)/g)]
    .map(([, name]) => `-D${name}`)
    .filter((flag) => flag !== '-DPASSES');
  assert.equal(mistakes.toSorted(), [...new Set(known)].toSorted());
});
