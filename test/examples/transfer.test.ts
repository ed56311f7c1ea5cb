// npm start: the example ends well, says so, and leaves nothing behind, also where it is interrupted.
import { PostgresUnavailable, unprivilegedUser, usableBinaries } from '../../examples/support/postgres-binaries.ts';
import { assert, skipFile, suite } from '../support/suite.ts';
import { Example } from './example.ts';

const test = suite('npm start', { timeoutMs: 60_000 });

const example = new Example('examples/transfer/main.ts');
test.after(() => example.remove());
try {
  usableBinaries(example.folder, unprivilegedUser());
} catch (error) {
  if (!(error instanceof PostgresUnavailable)) throw error;
  skipFile(error.message);
}

let shown: { code: number | null; output: string; left: string[] };
test.before(async () => {
  const { child, output, ended } = example.start();
  await ended;
  shown = { code: child.exitCode, output: output(), left: await example.leftovers() };
});

test('ends with 0 and finds every invariant kept', () => {
  assert.is(shown.code, 0, shown.output);
  assert.match(shown.output, /✓ holds +the sum of all money is what it was +24,000 of 24,000/);
  assert.match(shown.output, /✓ holds +both databases agree on every account +24 of 24 accounts/);
  assert.match(shown.output, /gone by SIGKILL/);
  assert.match(shown.output, /✓ holds +recovery has committed what was decided +1 branch committed, 0 decisions left/);
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
  const { child, output } = await example.interruptAfter(' at a time');
  assert.is(child.exitCode, 130, output());
  assert.match(output(), /interrupted: PostgreSQL is stopped and its folder removed/);
  assert.equal(await example.leftovers(), []);
});
