// npm start: the example ends well, says so, and leaves nothing behind, also where it is interrupted.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PostgresUnavailable, unprivilegedUser, usableBinaries } from '../../examples/support/postgres-binaries.ts';
import { assert, skipFile, suite } from '../support/suite.ts';

const root = join(import.meta.dirname, '../..');
const test = suite('npm start', { timeoutMs: 60_000 });

// The example's server makes its folder here, so that nobody else's is taken for it.
const folder = mkdtempSync(join(tmpdir(), 'unanimous-example-'));
chmodSync(folder, 0o755);
test.after(() => rmSync(folder, { recursive: true, force: true }));
try {
  usableBinaries(folder, unprivilegedUser());
} catch (error) {
  if (!(error instanceof PostgresUnavailable)) throw error;
  skipFile(error.message);
}

function start(): { child: ChildProcess; output: () => string; ended: Promise<unknown[]> } {
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'examples/transfer/main.ts')], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  return { child, output: () => output, ended: once(child, 'close') };
}

/** The folders and the processes of servers that are left. */
function leftovers(): string[] {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' });
  const processes = stdout.split('\n').filter((line) => line.includes(folder));
  return [...readdirSync(folder).filter((name) => name.startsWith('unanimous-')), ...processes];
}

let shown: { code: number | null; output: string; left: string[] };
test.before(async () => {
  const { child, output, ended } = start();
  await ended;
  shown = { code: child.exitCode, output: output(), left: leftovers() };
});

test('ends with 0 and finds every invariant kept', () => {
  assert.is(shown.code, 0, shown.output);
  assert.match(shown.output, /✓ holds +the sum of all money is what it was +24,000 of 24,000/);
  assert.match(shown.output, /✓ holds +both databases agree on every account +24 of 24 accounts/);
  assert.match(shown.output, /Every transfer is in both databases or in neither\./);
  assert.not.match(shown.output, /BROKEN|Warning/);
});

test('leaves neither a server nor its folder behind', () => {
  assert.equal(shown.left, []);
});

test('shows every mishap as it was thrown', () => {
  for (const thrown of [
    /InsufficientFunds: account \d+ can't pay 24001/,
    /SilentRollbackError ERR_TXN_SILENT_ROLLBACK/,
    /error 40P01: deadlock detected/,
    /57P01: terminating connection due to administrator command/,
  ]) {
    assert.match(shown.output, thrown);
  }
});

test('prints no control sequences where there is no terminal', () => {
  // eslint-disable-next-line no-control-regex
  assert.not.match(shown.output, /[\u001B\r]/);
});

test('stops its server when it is interrupted in the middle', async () => {
  const { child, output, ended } = start();
  child.stdout!.on('data', () => {
    if (output().includes(' at a time')) setTimeout(() => child.kill('SIGINT'), 300);
  });
  await ended;
  assert.is(child.exitCode, 130, output());
  assert.match(output(), /interrupted: PostgreSQL is stopped and its folder removed/);
  assert.equal(leftovers(), []);
});
