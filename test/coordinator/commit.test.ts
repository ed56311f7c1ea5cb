// Protects the commit: in which order whom is called, and exactly who is told what when somebody says no. Each sequence is
// tested with data managers that answer at once and with data managers that answer by promises.
import { type Transaction, InDoubtError, TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { type Recipe, each, gate, listening, recording, suppressedBy, wholeCommit } from './recording.ts';

const test = suite('commit');

const no = (): Error => new Error('no');

interface Scene {
  readonly log: string[];
  readonly manager: TransactionManager;
  readonly txn: Transaction;
}

/** Data managers a < b < c that have joined in the order c, b, a, and a synchronizer; `b` is as the recipe says. */
async function scene(async: boolean, b: Recipe = {}): Promise<Scene> {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  for (const name of ['c', 'b', 'a']) txn.join(recording(log, name, name === 'b' ? { async, ...b } : { async }));
  manager.registerSynch({ ...listening(log), newTransaction: () => undefined });
  return { log, manager, txn };
}

for (const async of [false, true]) {
  const answering = async ? 'promises' : 'at once';

  test(`zope 63, 64: before-commit hooks, beforeCompletion, all phases by sort key, afterCompletion, after-commit hooks (${answering})`, async () => {
    const { log, manager, txn } = await scene(async);
    txn.addAfterCommitHook((committed) => log.push(`after ${committed} ${manager.current === undefined}`));
    txn.addBeforeCommitHook(() => log.push('before'));
    await txn.commit();
    assert.equal(log, [
      'before',
      'sync.beforeCompletion',
      ...wholeCommit('a', 'b', 'c'),
      'sync.afterCompletion',
      'after true true',
    ]);
  });

  test(`zope 69: an error in tpcBegin aborts all and tpcAborts all, even never begun ones (${answering})`, async () => {
    const error = no();
    const { log, txn } = await scene(async, { fails: { tpcBegin: error } });
    assert.is(await assert.rejects(txn.commit()), error);
    assert.equal(log, [
      'sync.beforeCompletion',
      ...each('tpcBegin', 'a', 'b'),
      ...each('abort', 'a', 'b', 'c'),
      ...each('tpcAbort', 'a', 'b', 'c'),
      'sync.afterCompletion',
    ]);
    assert.is(txn.status, 'commit failed');
  });

  test(`zope 70: an error in commit means no votes; all are aborted, then all tpcAborted (${answering})`, async () => {
    const error = no();
    const { log, txn } = await scene(async, { fails: { commit: error } });
    assert.is(await assert.rejects(txn.commit()), error);
    assert.equal(log, [
      'sync.beforeCompletion',
      ...each('tpcBegin', 'a', 'b', 'c'),
      ...each('commit', 'a', 'b'),
      ...each('abort', 'a', 'b', 'c'),
      ...each('tpcAbort', 'a', 'b', 'c'),
      'sync.afterCompletion',
    ]);
  });

  test(`zope 71: an error in tpcVote aborts those that have not voted, the failing one too, and tpcAborts all (${answering})`, async () => {
    const error = no();
    const { log, txn } = await scene(async, { fails: { tpcVote: error } });
    assert.is(await assert.rejects(txn.commit()), error);
    assert.equal(log, [
      'sync.beforeCompletion',
      ...each('tpcBegin', 'a', 'b', 'c'),
      ...each('commit', 'a', 'b', 'c'),
      ...each('tpcVote', 'a', 'b'),
      ...each('abort', 'b', 'c'),
      ...each('tpcAbort', 'a', 'b', 'c'),
      'sync.afterCompletion',
    ]);
  });

  test(`departure from zope 72, 73: an error in tpcFinish stops no other, aborts nobody, and is in doubt (${answering})`, async () => {
    const error = no();
    const { log, manager, txn } = await scene(async, { fails: { tpcFinish: error } });
    const hooks: unknown[] = [];
    txn.addAfterCommitHook((committed) => hooks.push(committed));
    const thrown = await assert.rejects(txn.commit(), InDoubtError);
    assert.equal(log, ['sync.beforeCompletion', ...wholeCommit('a', 'b', 'c'), 'sync.afterCompletion']);
    assert.is(thrown.cause, error);
    const doubt = thrown;
    assert.equal(doubt.unfinished, ['b']);
    assert.equal(doubt.finished, ['a', 'c']);
    assert.is(doubt.phase, 'tpcFinish');
    assert.is(doubt.xid, txn.id);
    assert.is(txn.status, 'in doubt');
    assert.equal(txn.outcome, { result: 'in doubt', way: 'two-phase', pendingFinish: ['b'] });
    assert.is(manager.current, undefined);
    assert.equal(hooks, [true]);
  });

  test(`zope 74: errors of abort and tpcAbort stop no other, and hang on the original, which is thrown (${answering})`, async () => {
    const error = no();
    const inAbort = new Error('abort failed');
    const inTpcAbort = new Error('tpcAbort failed');
    const { log, txn } = await scene(async, { fails: { commit: error, abort: inAbort, tpcAbort: inTpcAbort } });
    assert.is(await assert.rejects(txn.commit()), error);
    assert.equal(suppressedBy(error), [inAbort, inTpcAbort]);
    assert.equal(log.slice(-7), [
      ...each('abort', 'a', 'b', 'c'),
      ...each('tpcAbort', 'a', 'b', 'c'),
      'sync.afterCompletion',
    ]);
  });

  test(`departure from zope 75: whatever the cleanup throws, it does not replace the original (${answering})`, async () => {
    const error = no();
    const { log, txn } = await scene(async, { fails: { tpcVote: error, abort: 'a text', tpcAbort: null } });
    assert.is(await assert.rejects(txn.commit()), error);
    assert.equal(suppressedBy(error), ['a text', null]);
    assert.equal(log.slice(-6), [
      ...each('abort', 'b', 'c'),
      ...each('tpcAbort', 'a', 'b', 'c'),
      'sync.afterCompletion',
    ]);
  });

  test(`zope 77: a failed commit with an after-commit hook calls hook(false) last (${answering})`, async () => {
    const { log, txn } = await scene(async, { fails: { commit: no() } });
    txn.addAfterCommitHook((committed) => log.push(`after ${committed} ${txn.status}`));
    await assert.rejects(txn.commit());
    // Departure from zope 97: upstream calls c.abort, b.abort and a.abort once more here.
    assert.equal(log.slice(-3), ['c.tpcAbort', 'sync.afterCompletion', 'after false commit failed']);
  });

  test(`zope 79: the abort that follows a failed commit aborts all again in join order, between both completions (${answering})`, async () => {
    const { log, manager, txn } = await scene(async, { fails: { tpcVote: no() } });
    await assert.rejects(txn.commit());
    log.length = 0;
    await manager.abort();
    assert.equal(log, ['sync.beforeCompletion', ...each('abort', 'c', 'b', 'a'), 'sync.afterCompletion']);
    assert.is(manager.current, undefined);
  });

  test(`departure from zope 97: a success with an after-commit hook aborts nobody (${answering})`, async () => {
    const { log, txn } = await scene(async);
    txn.addAfterCommitHook((committed) => log.push(`after ${committed}`));
    await txn.commit();
    assert.equal(log.slice(-5), [...each('tpcFinish', 'a', 'b', 'c'), 'sync.afterCompletion', 'after true']);
  });
}

test('zope 64: sort keys are compared by code unit, not by locale', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  const keys = ['~z', 'b', 'B', 'é', '10', '9', '', '\u{1f600}', '\uffff'];
  for (const key of keys) txn.join(recording(log, key));
  await txn.commit();
  const expected = ['', '10', '9', 'B', 'b', '~z', 'é', '\u{1f600}', '\uffff'];
  assert.equal(log, wholeCommit(...expected));
});

test('zope 64: a sort key may be a function', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'second', { sortKey: () => 'b' }));
  txn.join(recording(log, 'first', { sortKey: 'a' }));
  await txn.commit();
  assert.equal(log, wholeCommit('first', 'second'));
});

test('zope 65: equal sort keys keep the order of joining', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  const names = Array.from({ length: 30 }, (_, index) => `n${index}`);
  for (const name of names) txn.join(recording(log, name, { sortKey: 'same' }));
  txn.join(recording(log, 'early', { sortKey: 'a' }));
  await txn.commit();
  assert.equal(log, wholeCommit('early', ...names));
});

test('zope 68: data managers are let go of after a commit, after an abort, and when it stays in doubt', async () => {
  for (const [end, recipe] of [
    ['commit', {}],
    ['abort', {}],
    ['commit', { fails: { tpcFinish: no() } }],
  ] as const) {
    const txn = await new TransactionManager().begin();
    const key = {};
    txn.getOrJoin(key, () => recording([], 'a', recipe));
    await txn[end]().catch(() => undefined);
    assert.is(txn.resources.length, 0);
    assert.is(txn.joined(key), undefined);
  }
});

test('the steps are strictly one after the other: the next is called only when the one before has answered', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { waits: { commit: wait.promise } }));
  txn.join(recording(log, 'b', { async: true }));
  const done = txn.commit();
  await new Promise(setImmediate);
  assert.equal(log, [...each('tpcBegin', 'a', 'b'), 'a.commit']);
  wait.open();
  await done;
  assert.equal(log, wholeCommit('a', 'b'));
});

test('departure from zope 72: when several do not finish, the others still do, and all are named', async () => {
  const log: string[] = [];
  const errors = [new Error('first'), new Error('second')];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { fails: { tpcFinish: errors[0] } }));
  txn.join(recording(log, 'b', { async: true, fails: { tpcFinish: errors[1] } }));
  txn.join(recording(log, 'c'));
  const error = await assert.rejects(txn.commit(), InDoubtError);
  assert.equal(log, wholeCommit('a', 'b', 'c'));
  assert.equal(error.unfinished, ['a', 'b']);
  assert.equal(error.finished, ['c']);
  assert.is(error.cause, errors[0]);
  assert.equal(suppressedBy(error), [errors[1]]);
});

test('of two data managers with the same sort key, the one that finished is named as finished', async () => {
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { sortKey: 'same', fails: { tpcFinish: no() } }));
  txn.join(recording([], 'b', { sortKey: 'same' }));
  const error = await assert.rejects(txn.commit(), InDoubtError);
  assert.equal(error.unfinished, ['same']);
  assert.equal(error.finished, ['same']);
});

test('a data manager that released itself by a read-only vote is not among those that finished', async () => {
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { tpcFinish: no() } }));
  txn.join(recording([], 'b', { vote: 'read-only' }));
  const error = await assert.rejects(txn.commit(), InDoubtError);
  assert.equal(error.unfinished, ['a']);
  assert.equal(error.finished, []);
});

test('zope 76: on failure afterCompletion comes after the cleanup, while still committing', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  manager.registerSynch({
    afterCompletion: () => void log.push(`afterCompletion ${txn.status} ${manager.current === txn}`),
  });
  txn.join(recording(log, 'a', { fails: { commit: no() } }));
  await assert.rejects(txn.commit());
  assert.equal(log, ['a.tpcBegin', 'a.commit', 'a.abort', 'a.tpcAbort', 'afterCompletion committing true']);
});

test('departure from zope 78: an error in afterCompletion of a failed commit hangs on the original', async () => {
  const error = no();
  const inCompletion = new Error('afterCompletion failed');
  const manager = new TransactionManager();
  const txn = await manager.begin();
  manager.registerSynch(listening([], 'sync', { fails: { afterCompletion: inCompletion } }));
  txn.join(recording([], 'a', { fails: { commit: error } }));
  assert.is(await assert.rejects(txn.commit()), error);
  assert.equal(suppressedBy(error), [inCompletion]);
  assert.is(txn.status, 'commit failed');
});

test('departure from zope 80: an error in beforeCompletion is a failed commit, of which nobody began', async () => {
  const log: string[] = [];
  const error = no();
  const manager = new TransactionManager();
  const txn = await manager.begin();
  manager.registerSynch(listening(log, 'sync', { fails: { beforeCompletion: error } }));
  for (const name of ['b', 'a']) txn.join(recording(log, name));
  txn.addAfterCommitHook((committed) => log.push(`after ${committed}`));
  assert.is(await assert.rejects(txn.commit()), error);
  assert.equal(log, [
    'sync.newTransaction',
    'sync.beforeCompletion',
    'b.abort',
    'a.abort',
    'sync.afterCompletion',
    'after false',
  ]);
  assert.is(txn.status, 'commit failed');
  assert.is(manager.current, txn);
});

test('departure from zope 81: an error in afterCompletion of a success is reported; committed, freed, hooks called', async () => {
  const error = new Error('afterCompletion failed');
  const told: unknown[] = [];
  const manager = new TransactionManager({ onError: (each) => void told.push(each) });
  const txn = await manager.begin();
  manager.registerSynch(listening([], 'sync', { fails: { afterCompletion: error } }));
  const hooks: unknown[] = [];
  txn.addAfterCommitHook((committed) => hooks.push(committed));
  await txn.commit();
  assert.equal(told, [error]);
  assert.equal(hooks, [true]);
  assert.is(txn.status, 'committed');
  assert.is(manager.current, undefined);
});

test('what a data manager throws that is no Error becomes the cause of one', async () => {
  for (const thrown of ['a text', undefined, null, { code: 7 }]) {
    const txn = await new TransactionManager().begin();
    txn.join(recording([], 'a', { fails: { tpcVote: thrown } }));
    const error = await assert.rejects(txn.commit(), Error);
    assert.is(error.cause, thrown);
    assert.is(txn.status, 'commit failed');
  }
});

test('an error that can not be extended is thrown as it is, though the cleanup failed', async () => {
  const error = Object.freeze(no());
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { commit: error, abort: new Error('abort failed') } }));
  assert.is(await assert.rejects(txn.commit()), error);
});

test('a transaction without data managers commits', async () => {
  const manager = new TransactionManager();
  const txn = await manager.begin();
  await txn.commit();
  assert.equal(txn.outcome, { result: 'committed', way: 'read-only' });
});

test('zope 129: tpcAbort may come to one that never began, and abort during and after the phases', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { fails: { tpcBegin: no() } }));
  txn.join(recording(log, 'b'));
  await assert.rejects(txn.commit());
  await txn.abort();
  assert.equal(
    log.filter((call) => call.startsWith('b')),
    ['b.abort', 'b.tpcAbort', 'b.abort'],
  );
});
