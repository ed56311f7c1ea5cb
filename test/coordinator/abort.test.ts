// Protects the abort: its order, that nothing in it stops the rest, and that it always leaves the manager free.
import { TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { listening, recording, suppressedBy } from './recording.ts';

const test = suite('abort');

for (const async of [false, true]) {
  const answering = async ? 'promises' : 'at once';

  test(`zope 82, 83, departure from 98: hooks, beforeCompletion, abort in join order, afterCompletion, after-hooks (${answering})`, async () => {
    const log: string[] = [];
    const manager = new TransactionManager();
    manager.registerSynch(listening(log));
    const txn = await manager.begin();
    for (const name of ['b', 'c', 'a']) txn.join(recording(log, name, { async }));
    txn.addBeforeAbortHook(() => log.push('before'));
    txn.addAfterAbortHook(() => log.push('after'));
    await txn.abort();
    assert.equal(log, [
      'sync.newTransaction',
      'before',
      'sync.beforeCompletion',
      'b.abort',
      'c.abort',
      'a.abort',
      'sync.afterCompletion',
      'after',
    ]);
  });

  test(`zope 84: a plain abort never calls tpcAbort (${answering})`, async () => {
    const log: string[] = [];
    const txn = await new TransactionManager().begin();
    txn.join(recording(log, 'a', { async }));
    await txn.abort();
    assert.equal(log, ['a.abort']);
  });

  test(`zope 85: an abort error stops no other; the first is thrown and the others hang on it (${answering})`, async () => {
    const log: string[] = [];
    const first = new Error('first');
    const second = new Error('second');
    const manager = new TransactionManager();
    const txn = await manager.begin();
    txn.join(recording(log, 'a', { async, fails: { abort: first } }));
    txn.join(recording(log, 'b', { async, fails: { abort: second } }));
    txn.join(recording(log, 'c', { async }));
    assert.is(await assert.rejects(txn.abort()), first);
    assert.equal(suppressedBy(first), [second]);
    assert.equal(log, ['a.abort', 'b.abort', 'c.abort']);
    assert.is(txn.status, 'aborted');
    assert.is(manager.current, undefined);
  });
}

test('zope 86: after an error in beforeCompletion data managers are aborted, afterCompletion is called, and it is thrown', async () => {
  const log: string[] = [];
  const error = new Error('beforeCompletion failed');
  const manager = new TransactionManager();
  const txn = await manager.begin();
  manager.registerSynch({ ...listening(log, 'sync', { fails: { beforeCompletion: error } }) });
  log.length = 0;
  txn.join(recording(log, 'a'));
  assert.is(await assert.rejects(txn.abort()), error);
  assert.equal(log, ['sync.beforeCompletion', 'a.abort', 'sync.afterCompletion']);
  assert.is(manager.current, undefined);
});

test("zope 87: in an abort's afterCompletion the transaction is not current, in a commit's it is; data works in both", async () => {
  const key = {};
  for (const [end, isCurrent] of [
    ['abort', false],
    ['commit', true],
  ] as const) {
    const seen: unknown[] = [];
    const manager = new TransactionManager();
    const txn = await manager.begin();
    manager.registerSynch({ afterCompletion: (ended) => void seen.push(manager.current === txn, ended.data(key)) });
    txn.setData(key, 'kept');
    await txn[end]();
    assert.equal(seen, [isCurrent, 'kept']);
    assert.is(txn.data(key), undefined);
  }
});

test('zope 88: everything is freed even if afterCompletion throws', async () => {
  const error = new Error('afterCompletion failed');
  const manager = new TransactionManager();
  const txn = await manager.begin();
  manager.registerSynch(listening([], 'sync', { fails: { afterCompletion: error } }));
  txn.join(recording([], 'a'));
  txn.setData('key', 'value');
  let called = false;
  txn.addAfterAbortHook(() => (called = true));
  assert.is(await assert.rejects(txn.abort()), error);
  assert.is(manager.current, undefined);
  assert.is(txn.status, 'aborted');
  assert.is(txn.resources.length, 0);
  assert.is(txn.data('key'), undefined);
  assert.is(called, true);
});

test('what an abort throws that is no Error becomes the cause of one', async () => {
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { abort: 'a text' } }));
  const error = await assert.rejects(txn.abort(), Error);
  assert.is(error.cause, 'a text');
});

test('a doomed transaction is aborted like any other', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a'));
  txn.doom();
  await txn.abort();
  assert.equal(log, ['a.abort']);
  assert.is(txn.status, 'aborted');
});
