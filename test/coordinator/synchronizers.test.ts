// Protects synchronizers: who is told, of what, in which order, and for how long.
import {
  ConfigurationError,
  type Synchronizer,
  TransactionCoordinator,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, listening, thrownBy, turns } from './recording.ts';

const test = suite('synchronizers');

test('zope 12: one that is registered in mid-transaction is told of it at once, and of its completion', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  const seen: unknown[] = [];
  manager.registerSynch(listening(log, 'sync', { does: { newTransaction: (given) => void seen.push(given === txn) } }));
  assert.equal(log, ['sync.newTransaction']);
  assert.equal(seen, [true]);
  await manager.commit();
  assert.equal(log, ['sync.newTransaction', 'sync.beforeCompletion', 'sync.afterCompletion']);
});

test('zope 12: when its answer to that fails later, the error is reported', async () => {
  const error = new Error('newTransaction failed');
  const told: unknown[] = [];
  const manager = new TransactionManager({ onError: (each) => void told.push(each) });
  await manager.begin();
  manager.registerSynch({ newTransaction: () => Promise.reject(error) });
  await turns();
  assert.equal(told, [error]);
});

test('zope 13: registration is a set', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const sync = listening(log);
  const unregister = [manager.registerSynch(sync), manager.registerSynch(sync)];
  await manager.begin();
  manager.registerSynch(sync);
  assert.equal(log, ['sync.newTransaction']);
  unregister[0]!();
  assert.is(manager.registeredSynchs(), false);
  unregister[1]!();
});

test('zope 13: unregistering an unknown one throws TransactionStateError', () => {
  const manager = new TransactionManager();
  assert.instance(
    thrownBy(() => manager.unregisterSynch(listening([]))),
    TransactionStateError,
  );
});

test('zope 14: unregisterSynch and clearSynchs stop the calls, and registeredSynchs says whether there are any', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const [a, b, c] = ['a', 'b', 'c'].map((name) => listening(log, name)) as [Synchronizer, Synchronizer, Synchronizer];
  assert.is(manager.registeredSynchs(), false);
  for (const sync of [a, b, c]) manager.registerSynch(sync);
  assert.is(manager.registeredSynchs(), true);
  manager.unregisterSynch(b);
  await manager.begin();
  assert.equal(log, ['a.newTransaction', 'c.newTransaction']);
  manager.clearSynchs();
  assert.is(manager.registeredSynchs(), false);
  await manager.commit();
  assert.equal(log, ['a.newTransaction', 'c.newTransaction']);
});

test('departure from zope 15: the returned function unregisters, and may be called again', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const unregister = manager.registerSynch(listening(log));
  unregister();
  unregister();
  await manager.begin();
  await manager.commit();
  assert.equal(log, []);
});

test('departure from zope 15: they are kept by identity, so that equal ones are two', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  manager.registerSynch(listening(log));
  manager.registerSynch(listening(log));
  await manager.begin();
  assert.equal(log, ['sync.newTransaction', 'sync.newTransaction']);
  await manager.abort();
});

test('departure from zope 16: they are told in the order of registration, one after the other', async () => {
  const log: string[] = [];
  const wait = gate();
  const second = gate();
  const manager = new TransactionManager();
  manager.registerSynch(listening(log, 'a', { does: { beforeCompletion: () => wait.promise } }));
  manager.registerSynch(listening(log, 'b'));
  manager.registerSynch(listening(log, 'c', { does: { beforeCompletion: () => second.promise } }));
  manager.registerSynch(listening(log, 'd'));
  await manager.begin();
  log.length = 0;
  const done = manager.commit();
  await turns();
  assert.equal(log, ['a.beforeCompletion']);
  wait.open();
  await turns();
  assert.equal(log, ['a.beforeCompletion', 'b.beforeCompletion', 'c.beforeCompletion']);
  second.open();
  await done;
  assert.equal(log, [
    ...['a', 'b', 'c', 'd'].map((name) => `${name}.beforeCompletion`),
    ...['a', 'b', 'c', 'd'].map((name) => `${name}.afterCompletion`),
  ]);
});

test('zope 16: a notification goes over those that were registered when it began', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const second = listening(log, 'second');
  const first = listening(log, 'first', {
    does: {
      beforeCompletion: () => {
        manager.unregisterSynch(second);
        manager.registerSynch(third);
      },
    },
  });
  const third = listening(log, 'third');
  manager.registerSynch(first);
  manager.registerSynch(second);
  await manager.begin();
  log.length = 0;
  await manager.commit();
  assert.equal(log, [
    'first.beforeCompletion',
    'third.newTransaction',
    'second.beforeCompletion',
    'first.afterCompletion',
    'third.afterCompletion',
  ]);
});

test('zope 16: one that is registered during a notification is not told of that', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const late = listening(log, 'late');
  manager.registerSynch({ beforeCompletion: () => void manager.registerSynch(late) });
  await manager.begin();
  await manager.commit();
  assert.equal(log, ['late.newTransaction', 'late.afterCompletion']);
});

test('each method is optional', async () => {
  const seen: string[] = [];
  const manager = new TransactionManager();
  manager.registerSynch({ newTransaction: () => void seen.push('new') });
  manager.registerSynch({ beforeCompletion: () => void seen.push('before') });
  manager.registerSynch({ afterCompletion: () => void seen.push('after') });
  await manager.begin();
  await manager.commit();
  assert.equal(seen, ['new', 'before', 'after']);
});

test('what is no synchronizer is refused, and the message says what it needs', () => {
  const manager = new TransactionManager();
  for (const value of [undefined, null, 'sync', {}, { newTransaction: 1 }]) {
    const error = thrownBy(() => manager.registerSynch(value as never));
    assert.instance(error, ConfigurationError);
    assert.match(error.message, 'newTransaction, beforeCompletion and afterCompletion');
  }
  assert.is(manager.registeredSynchs(), false);
});

test('zope 17: the synchronizers of one asynchronous context are told nothing of another', async () => {
  const log: string[] = [];
  const coordinator = new TransactionCoordinator();
  await coordinator.context(async () => {
    const unregister = coordinator.registerSynch(listening(log));
    assert.is(coordinator.registeredSynchs(), true);
    await coordinator.context(async () => {
      assert.is(coordinator.registeredSynchs(), false);
      await coordinator.begin();
      await coordinator.commit();
    });
    assert.equal(log, []);
    await coordinator.begin();
    await coordinator.commit();
    unregister();
    assert.is(coordinator.registeredSynchs(), false);
  });
  assert.is(coordinator.registeredSynchs(), false);
  assert.equal(log, ['sync.newTransaction', 'sync.beforeCompletion', 'sync.afterCompletion']);
});

test('the synchronizers of a context are told of the transactions of run in it, and can be unregistered in any of them', async () => {
  const log: string[] = [];
  const coordinator = new TransactionCoordinator();
  await coordinator.context(async () => {
    const sync = listening(log);
    coordinator.registerSynch(sync);
    await coordinator.run(() => coordinator.run(() => log.push('inner'), { propagation: 'requires-new' }));
    assert.equal(log, [
      'sync.newTransaction',
      'sync.newTransaction',
      'inner',
      'sync.beforeCompletion',
      'sync.afterCompletion',
      'sync.beforeCompletion',
      'sync.afterCompletion',
    ]);
    log.length = 0;
    await coordinator.run(() => coordinator.unregisterSynch(sync));
    assert.equal(log, ['sync.newTransaction']);
    coordinator.registerSynch(sync);
    coordinator.clearSynchs();
    await coordinator.run(() => undefined);
    assert.equal(log, ['sync.newTransaction']);
  });
});
