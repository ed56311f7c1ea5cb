// Protects nested runs from hanging and from leftovers: a time limit of their own holds, and is over with them; work that is left behind may not
// come back into a run that has ended.
import { MemoryStore, TransactionClosed, TransactionCoordinator, TransactionTimeoutError } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate } from './recording.ts';

const test = suite('turns of nested runs');

test('a nested run that takes too long ends at once, and takes the whole transaction along', async () => {
  const coordinator = new TransactionCoordinator();
  const store = new MemoryStore({ coordinator });
  const whole = coordinator.run(
    async (txn) => {
      store.set('outer', 'lost');
      const never = coordinator.run(() => new Promise(() => undefined), { propagation: 'nested', timeoutMs: 20 });
      await assert.rejects(never, TransactionTimeoutError);
      assert.is(txn.status, 'doomed');
    },
    { attempts: 1 },
  );
  await assert.rejects(whole, TransactionTimeoutError);
  assert.is(store.committed.size, 0);
});

test('a nested run that is through in time keeps what it did, whatever time passes afterwards', async () => {
  const coordinator = new TransactionCoordinator();
  const store = new MemoryStore({ coordinator });
  await coordinator.run(async (txn) => {
    await coordinator.run(() => store.set('inner', 'kept'), { propagation: 'nested', timeoutMs: 30_000 });
    assert.is(txn.status, 'active');
  });
  assert.equal([...store.committed], [['inner', 'kept']]);
});

test('what is left behind by a nested run may not nest in it once it has ended', async () => {
  const coordinator = new TransactionCoordinator();
  const ended = gate();
  await coordinator.run(async () => {
    let left: Promise<unknown> | undefined;
    await coordinator.run(
      () => {
        left = ended.promise.then(() => coordinator.run(() => undefined, { propagation: 'nested' }));
      },
      { propagation: 'nested' },
    );
    ended.open();
    await assert.rejects(left!, TransactionClosed);
  });
});

test('a nested run with a signal that was aborted before does not begin, and the transaction goes on', async () => {
  const coordinator = new TransactionCoordinator();
  const store = new MemoryStore({ coordinator });
  await coordinator.run(async (txn) => {
    store.set('outer', 'kept');
    const signal = AbortSignal.abort(new Error('the caller has gone'));
    const nested = coordinator.run(() => store.set('inner', 'never'), { propagation: 'nested', signal });
    assert.match((await assert.rejects(nested)).message, 'the caller has gone');
    assert.is(txn.status, 'active');
  });
  assert.equal([...store.committed], [['outer', 'kept']]);
});
