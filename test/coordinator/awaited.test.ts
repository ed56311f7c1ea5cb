// Protects whoever relies on what synchronizers and hooks do being done: an end waits for what they promise, also where no data manager has
// anything to wait for.
import { ConcurrentUseError, TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, listening, raise, recording, suppressedBy, turns, wholeCommit } from './recording.ts';

const test = suite('what an end waits for');

/** Is through some turns later, and says so. */
const later = (log: string[], what: string) => async (): Promise<void> => {
  await turns(2);
  log.push(what);
};

/** A manager whose synchronizer takes its time in each moment. */
function slowly(log: string[]): TransactionManager {
  const manager = new TransactionManager();
  const does = {
    newTransaction: later(log, 'begun'),
    beforeCompletion: later(log, 'before'),
    afterCompletion: later(log, 'after'),
  };
  manager.registerSynch(listening(log, 'sync', { does }));
  return manager;
}

test('a begin waits for synchronizers, a commit for them before its phases and before it returns', async () => {
  const log: string[] = [];
  const txn = await slowly(log).begin();
  log.push('work');
  txn.join(recording(log, 'a'));
  await txn.commit();
  log.push('returned');
  const ends = ['sync.beforeCompletion', 'before', ...wholeCommit('a'), 'sync.afterCompletion', 'after', 'returned'];
  assert.equal(log, ['sync.newTransaction', 'begun', 'work', ...ends]);
});

test('an abort waits for synchronizers before it undoes anything, and before it returns', async () => {
  const log: string[] = [];
  const txn = await slowly(log).begin();
  txn.join(recording(log, 'a'));
  log.length = 0;
  await txn.abort();
  log.push('returned');
  assert.equal(log, ['sync.beforeCompletion', 'before', 'a.abort', 'sync.afterCompletion', 'after', 'returned']);
});

test('a commit that fails waits for synchronizers, and what they fail with later hangs on its error', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const full = new Error('full');
  const second = new Error('the synchronizer failed later');
  manager.registerSynch({ afterCompletion: () => turns(2).then(() => Promise.reject(second)) });
  const txn = await manager.begin();
  txn.join(recording(log, 'a', { fails: { tpcVote: full } }));
  assert.is(await assert.rejects(txn.commit()), full);
  assert.equal(suppressedBy(full), [second]);
});

test('a commit waits for a hook that a synchronizer adds', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  manager.registerSynch({ beforeCompletion: (txn) => txn.addBeforeCommitHook(later(log, 'hook')) });
  const txn = await manager.begin();
  txn.join(recording(log, 'a'));
  await txn.commit();
  assert.equal(log, ['hook', ...wholeCommit('a')]);
});

test('a savepoint that a hook begins and does not await is told, and nothing is committed', async () => {
  const log: string[] = [];
  const answer = gate();
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { savepoints: true, waits: { savepoint: answer.promise } }));
  let savepoint: Promise<unknown> | undefined;
  txn.addBeforeCommitHook(() => void (savepoint = txn.savepoint().catch((error: unknown) => error)));
  await assert.rejects(txn.commit(), ConcurrentUseError);
  assert.equal(log, ['a.savepoint', 'a.abort']);
  answer.open();
  assert.instance(await savepoint, Error);
});

test('an abort from inside of an abort does nothing more', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  let inner: Promise<void> | undefined;
  txn.join(recording(log, 'a', { does: { abort: () => void (inner = txn.abort()) } }));
  await txn.abort();
  await inner;
  assert.equal(log, ['a.abort']);
});

test('a commit waits for hooks that are called after it, beside synchronizers too', async () => {
  for (const synchronizers of [0, 1]) {
    const log: string[] = [];
    const manager = new TransactionManager();
    for (let index = 0; index < synchronizers; index++) manager.registerSynch({ newTransaction: () => undefined });
    const txn = await manager.begin();
    txn.join(recording(log, 'a'));
    txn.addAfterCommitHook(later(log, 'hook'));
    await txn.commit();
    log.push('returned');
    assert.equal(log, [...wholeCommit('a'), 'hook', 'returned']);
  }
});

test('a commit that fails waits for hooks that are told so', async () => {
  const log: string[] = [];
  const full = new Error('full');
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { fails: { tpcVote: full } }));
  txn.addAfterCommitHook((committed) => later(log, `hook ${committed}`)());
  assert.is(await assert.rejects(txn.commit()), full);
  log.push('rejected');
  assert.equal(log.slice(-2), ['hook false', 'rejected']);
});

test('a hook that throws before it promises anything fails the commit before its phases', async () => {
  const log: string[] = [];
  const no = new Error('no');
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a'));
  txn.addBeforeCommitHook(() => raise(no));
  assert.is(await assert.rejects(txn.commit()), no);
  assert.equal(log, ['a.abort']);
  await txn.abort();
});
