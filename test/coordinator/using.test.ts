// Protects `await using`: what leaves the block uncommitted is aborted. Written out, because Node 20 has no such syntax, and with
// the syntax, which the loader that runs the tests translates.
import { DoomedTransaction, TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, suppressedBy, wholeCommit } from './recording.ts';

const test = suite('using');

test('zope 21: a block that commits is committed, and leaving it does nothing more', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  {
    await using txn = await manager.begin();
    txn.join(recording(log, 'a'));
    await txn.commit();
  }
  assert.equal(log, wholeCommit('a'));
  assert.is(manager.current, undefined);
});

test('departure from zope 21: a block that does not commit is aborted', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  {
    await using txn = await manager.begin();
    txn.join(recording(log, 'a'));
  }
  assert.equal(log, ['a.abort']);
  assert.is(manager.current, undefined);
});

test('zope 22: any error aborts and is thrown as it is', async () => {
  const log: string[] = [];
  const error = new Error('body');
  const manager = new TransactionManager();
  const block = async (): Promise<void> => {
    await using txn = await manager.begin();
    txn.join(recording(log, 'a'));
    throw error;
  };
  assert.is(await assert.rejects(block()), error);
  assert.equal(log, ['a.abort']);
  assert.is(manager.current, undefined);
});

test('departure from zope 23: a failed commit is aborted on leaving, and its error is thrown as it is', async () => {
  const log: string[] = [];
  const error = new Error('no');
  const manager = new TransactionManager();
  const block = async (): Promise<void> => {
    await using txn = await manager.begin();
    txn.join(recording(log, 'a', { fails: { tpcVote: error } }));
    await txn.commit();
  };
  assert.is(await assert.rejects(block()), error);
  assert.equal(log, ['a.tpcBegin', 'a.commit', 'a.tpcVote', 'a.abort', 'a.tpcAbort', 'a.abort']);
  assert.is(manager.current, undefined);
});

test('departure from zope 24: a doomed block that commits throws DoomedTransaction, and is aborted', async () => {
  const manager = new TransactionManager();
  const block = async (): Promise<void> => {
    await using txn = await manager.begin();
    txn.doom();
    await txn.commit();
  };
  await assert.rejects(block(), DoomedTransaction);
  assert.is(manager.current, undefined);
});

test('departure from zope 33: when the abort after a failed commit fails too, that hangs on the error of the commit', async () => {
  const error = new Error('no');
  const inAbort = new Error('abort failed');
  const manager = new TransactionManager();
  const block = async (): Promise<void> => {
    await using txn = await manager.begin();
    txn.join(recording([], 'a', { fails: { commit: error, abort: inAbort } }));
    await txn.commit();
  };
  assert.is(await assert.rejects(block()), error);
  assert.equal(suppressedBy(error), [inAbort]);
  assert.is(manager.current, undefined);
});

test('an error of the abort is thrown where there is no other', async () => {
  const inAbort = new Error('abort failed');
  const manager = new TransactionManager();
  const block = async (): Promise<void> => {
    await using txn = await manager.begin();
    txn.join(recording([], 'a', { fails: { abort: inAbort } }));
  };
  assert.is(await assert.rejects(block()), inAbort);
  assert.is(manager.current, undefined);
});

test('Symbol.asyncDispose waits for a commit under way, and takes it as it ends', async () => {
  for (const fails of [{}, { tpcVote: new Error('no') }]) {
    const log: string[] = [];
    const wait = gate();
    const manager = new TransactionManager();
    const txn = await manager.begin();
    txn.join(recording(log, 'a', { waits: { tpcBegin: wait.promise }, fails }));
    const committed = txn.commit().catch(() => undefined);
    const left = txn[Symbol.asyncDispose]();
    wait.open();
    await Promise.all([committed, left]);
    assert.is(txn.status, 'tpcVote' in fails ? 'aborted' : 'committed');
    assert.is(manager.current, undefined);
  }
});

test('Symbol.asyncDispose may be called again', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a'));
  for (let time = 0; time < 2; time++) await txn[Symbol.asyncDispose]();
  assert.equal(log, ['a.abort']);
});
