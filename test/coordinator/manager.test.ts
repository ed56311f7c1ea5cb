// Protects the plain manager: when there is a transaction, which one it is, and what begin, commit and abort do without one.
import {
  AlreadyInTransaction,
  ConfigurationError,
  NoTransaction,
  Savepoint,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, listening, recording, suppressedBy, thrownBy, turns, wholeCommit } from './recording.ts';

const test = suite('manager');

test('zope 1: begin creates a transaction, makes it current and returns it', async () => {
  const manager = new TransactionManager();
  const first = await manager.begin();
  assert.is(manager.get(), first);
  assert.is(manager.current, first);
  await manager.abort();
  const second = await manager.begin();
  assert.is.not(second, first);
  assert.is(manager.get(), second);
});

test('begin makes the transaction current before anything is awaited', () => {
  const manager = new TransactionManager();
  void manager.begin();
  assert.is(manager.get().status, 'active');
});

test('zope 2: implicit begin aborts the current transaction first', async () => {
  const log: string[] = [];
  const manager = new TransactionManager({ explicit: false });
  const first = await manager.begin();
  first.join(recording(log, 'a'));
  const second = await manager.begin();
  assert.equal(log, ['a.abort']);
  assert.is(first.status, 'aborted');
  assert.is(manager.get(), second);
});

test('zope 2: when that abort throws, implicit begin rethrows and leaves the manager free', async () => {
  const log: string[] = [];
  const error = new Error('abort failed');
  const manager = new TransactionManager({ explicit: false });
  const first = await manager.begin();
  first.join(recording(log, 'a', { fails: { abort: error } }));
  assert.is(await assert.rejects(manager.begin()), error);
  assert.is(manager.current, undefined);
  assert.is(first.status, 'aborted');
});

test('implicit begin leaves a commit that is under way alone, which ends as it would have', async () => {
  const log: string[] = [];
  const finish = gate();
  const manager = new TransactionManager({ explicit: false });
  const first = await manager.begin();
  first.join(recording(log, 'a', { waits: { tpcFinish: finish.promise } }));
  const committed = first.commit();
  await assert.rejects(manager.begin(), TransactionStateError);
  assert.is(manager.current, first);
  finish.open();
  await committed;
  assert.is(first.status, 'committed');
  assert.equal(log, wholeCommit('a'));
  assert.is(manager.current, undefined);
});

test('zope 3: begin tells each synchronizer of the new transaction, when get() returns it already', async () => {
  const manager = new TransactionManager();
  const seen: unknown[] = [];
  for (let index = 0; index < 2; index++) {
    manager.registerSynch({ newTransaction: (txn) => void seen.push(txn === manager.get()) });
  }
  await manager.begin();
  assert.equal(seen, [true, true]);
});

test('begin that a synchronizer refuses leaves no transaction and throws its error', async () => {
  const log: string[] = [];
  const error = new Error('refused');
  const inAbort = new Error('also refused');
  const manager = new TransactionManager();
  manager.registerSynch(listening(log, 'sync', { fails: { newTransaction: error, beforeCompletion: inAbort } }));
  assert.is(await assert.rejects(manager.begin()), error);
  assert.equal(suppressedBy(error), [inAbort]);
  assert.is(manager.current, undefined);
  assert.equal(log, ['sync.newTransaction', 'sync.beforeCompletion', 'sync.afterCompletion']);
});

test('zope 4: implicit get returns the current transaction, or makes one', async () => {
  const manager = new TransactionManager({ explicit: false });
  const lazy = manager.get();
  assert.is(manager.get(), lazy);
  assert.is(manager.current, lazy);
  await manager.commit();
  assert.is(manager.current, undefined);
  assert.is.not(manager.get(), lazy);
});

test('zope 5: a lazily made transaction is announced to nobody, but its completion is', async () => {
  const log: string[] = [];
  const manager = new TransactionManager({ explicit: false });
  manager.registerSynch(listening(log));
  manager.get();
  assert.equal(log, []);
  await manager.commit();
  assert.equal(log, ['sync.beforeCompletion', 'sync.afterCompletion']);
});

test('departure from zope 6: explicit mode is the default; the constructor, begin and the property change it', async () => {
  assert.is(new TransactionManager().explicit, true);
  assert.is(new TransactionManager({ explicit: false }).explicit, false);
  const manager = new TransactionManager();
  await manager.begin({ explicit: false });
  assert.is(manager.explicit, false);
  manager.explicit = true;
  await assert.rejects(manager.begin(), AlreadyInTransaction);
});

test('zope 7: explicit with none begun, everything but begin throws NoTransaction', async () => {
  const manager = new TransactionManager({ explicit: true });
  for (const call of [() => manager.get(), () => manager.doom(), () => manager.isDoomed()]) {
    assert.instance(thrownBy(call), NoTransaction);
  }
  for (const call of [() => manager.commit(), () => manager.abort(), () => manager.savepoint()]) {
    await assert.rejects(call, NoTransaction);
  }
  assert.is(manager.current, undefined);
});

test('zope 8: explicit begin while active throws AlreadyInTransaction and keeps the current one', async () => {
  const manager = new TransactionManager();
  const txn = await manager.begin();
  const error = await assert.rejects(manager.begin(), AlreadyInTransaction);
  assert.is(error.xid, txn.id);
  assert.is(manager.get(), txn);
  assert.is(txn.status, 'active');
  await manager.abort();
  assert.instance(
    thrownBy(() => manager.get()),
    NoTransaction,
  );
});

test('zope 9: commit, abort, doom, isDoomed and savepoint work on the current transaction', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const first = await manager.begin();
  first.join(recording(log, 'a', { savepoints: true }));
  assert.is(manager.isDoomed(), false);
  assert.instance(await manager.savepoint(), Savepoint);
  await manager.commit();
  assert.equal(log, ['a.savepoint', ...wholeCommit('a')]);
  const second = await manager.begin();
  manager.doom();
  assert.is(manager.isDoomed(), true);
  await manager.abort();
  assert.is(second.status, 'aborted');
});

test('zope 10: implicit commit with none begun commits an empty transaction and tells synchronizers', async () => {
  const log: string[] = [];
  const manager = new TransactionManager({ explicit: false });
  manager.registerSynch(listening(log));
  await manager.commit();
  assert.equal(log, ['sync.beforeCompletion', 'sync.afterCompletion']);
  assert.is(manager.current, undefined);
});

test('zope 11: free leaves the manager without a transaction and refuses a foreign one', async () => {
  const manager = new TransactionManager();
  const other = await new TransactionManager().begin();
  const txn = await manager.begin();
  assert.instance(
    thrownBy(() => manager.free(other)),
    TransactionStateError,
  );
  assert.is(manager.current, txn);
  manager.free(txn);
  assert.is(manager.current, undefined);
});

test('a transaction that was freed by hand still ends as it is told to', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const first = await manager.begin();
  first.join(recording(log, 'a'));
  manager.free(first);
  const second = await manager.begin();
  await first.commit();
  assert.is(first.status, 'committed');
  assert.is(manager.current, second);
  manager.free(second);
  await second.abort();
  assert.is(second.status, 'aborted');
});

test('a manager refuses options it has not, and values that an option can not have', () => {
  const unknown = thrownBy(() => new TransactionManager({ explict: true } as never));
  assert.instance(unknown, ConfigurationError);
  assert.match(unknown.message, "no option 'explict'");
  assert.match(unknown.message, 'explicit');
  const wrong = thrownBy(() => new TransactionManager({ explicit: 'yes' } as never));
  assert.match(wrong.message, "'explicit' must be true or false, not 'yes'");
  assert.instance(
    thrownBy(() => new TransactionManager(null as never)),
    ConfigurationError,
  );
});

test('what nobody can be thrown goes to onError; where that throws, both become one warning', async () => {
  const told: Error[] = [];
  const error = new Error('hook failed');
  const manager = new TransactionManager({ onError: (each) => void told.push(each) });
  (await manager.begin()).addAfterCommitHook(() => {
    throw error;
  });
  await manager.commit();
  assert.equal(told, [error]);

  const warnings: Error[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listener);
  const inOnError = new Error('onError failed');
  const broken = new TransactionManager({
    onError: () => {
      throw inOnError;
    },
  });
  const second = new Error('second hook failed');
  (await broken.begin()).addAfterCommitHook(() => {
    throw second;
  });
  await broken.commit();
  await turns(2);
  process.off('warning', listener);
  assert.is(warnings[0], second);
  assert.equal(suppressedBy(second), [inOnError]);
});

test('a savepoint of a manager is no optimistic one, unless it is asked for', async () => {
  const manager = new TransactionManager();
  for (const isOptimistic of [true, false]) {
    const txn = await manager.begin();
    txn.join(recording([], 'a'));
    if (isOptimistic) await manager.savepoint(true);
    else await assert.rejects(manager.savepoint(), { code: 'ERR_TXN_SAVEPOINTS_UNSUPPORTED' });
    await txn.abort();
  }
});

test('the ids of one process have its incarnation, whichever manager they are of', async () => {
  const ids: string[] = [];
  for (let time = 0; time < 2; time++) {
    const txn = await new TransactionManager().begin();
    ids.push(txn.id);
    await txn.commit();
  }
  const incarnations = ids.map((id) => id.split(':')[2]);
  assert.is(incarnations[0], incarnations[1]);
  assert.is(new Set(ids).size, 2);
});

test('a plain manager is its own home for what sessions keep, and is never closed', () => {
  const manager = new TransactionManager();
  assert.is(manager.home, manager);
  let closed = 0;
  const forget = manager.onClose(() => void closed++);
  forget();
  assert.is(closed, 0);
});
