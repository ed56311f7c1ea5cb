// Protects a process that has loaded the package twice, as happens with two versions in one tree of dependencies: one store, and
// errors that are understood across copies.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as first from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('copies');

const folder = mkdtempSync(join(tmpdir(), 'unanimous-copy-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));
for (const part of ['coordinator', 'datamanagers']) {
  cpSync(new URL(`../../${part}`, import.meta.url), join(folder, part), { recursive: true });
}
writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
const second = (await import(pathToFileURL(join(folder, 'coordinator', 'index.ts')).href)) as typeof first;

test('the second copy is one', () => {
  assert.is.not(second.TransactionCoordinator, first.TransactionCoordinator);
  assert.is.not(second.TransientError, first.TransientError);
});

test('both copies have the same process-wide transaction', async () => {
  assert.is(second.transaction, first.transaction);
  await first.transaction.run((txn) => assert.is(second.transaction.current, txn));
});

test('a transient error of one copy is retried by the other', async () => {
  let calls = 0;
  const result = await first.transaction.run(
    () => {
      if (++calls === 1) throw new second.TransientError('again');
      return calls;
    },
    { backoff: false },
  );
  assert.is(result, 2);
});

test('an outcome that one copy does not know is neither retried nor undone by the other', async () => {
  const log: string[] = [];
  let calls = 0;
  const run = first.transaction.run(
    (txn) => {
      calls++;
      txn.join(recording(log, 'prepared', { changed: true, holds: true }));
      const lost = new second.CommitOutcomeUnknownError('reply lost', { cause: new second.TransientError('again') });
      txn.join(recording(log, 'last', { lastResource: true, changed: true, fails: { tpcVote: lost } }));
    },
    { backoff: false },
  );
  await assert.rejects(run, first.InDoubtError);
  assert.is(calls, 1);
  assert.equal(log.filter((call) => call.startsWith('prepared')).slice(-2), ['prepared.tpcVote', 'prepared.hold']);
});

test('coordinators of either copy keep to themselves', async () => {
  const [one, other] = [new first.TransactionCoordinator(), new second.TransactionCoordinator()];
  await one.run(async (outer) => {
    assert.is(other.current, undefined);
    await other.run((inner) => assert.is.not(inner.id, outer.id));
    assert.is(one.current, outer);
  });
});
