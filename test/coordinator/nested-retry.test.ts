// Protects trying again where the data manager that knows an error as transient has joined in a nested run, and has left with its savepoint.
import { type DataManager, TransactionCoordinator } from 'unanimous';
import { assert, suite } from '../support/suite.ts';

const test = suite('trying again behind a nested run');

function manager(shouldRetry: (error: Error) => boolean): DataManager {
  const nothing = (): void => undefined;
  return {
    sortKey: 'a',
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: nothing,
    tpcAbort: nothing,
    abort: nothing,
    savepoint: () => ({ rollback: nothing }),
    shouldRetry,
  };
}

test('an error that a data manager of the nested run would try again is tried again, though that has left', async () => {
  for (const isTransient of [true, false]) {
    const coordinator = new TransactionCoordinator();
    let attempts = 0;
    const nested = (): Promise<void> =>
      coordinator.run(
        (txn) => {
          attempts++;
          txn.join(manager(() => isTransient));
          throw new Error('a deadlock');
        },
        { propagation: 'nested' },
      );
    await assert.rejects(
      coordinator.run(() => nested(), { attempts: 3, backoff: false }),
      { message: 'a deadlock' },
    );
    assert.is(attempts, isTransient ? 3 : 1);
  }
});

test('and no other error for its sake', async () => {
  const coordinator = new TransactionCoordinator();
  let attempts = 0;
  const work = coordinator.run(
    async () => {
      attempts++;
      const nested = coordinator.run(
        (txn) => {
          txn.join(manager(() => true));
          throw new Error('a deadlock');
        },
        { propagation: 'nested' },
      );
      await assert.rejects(nested, { message: 'a deadlock' });
      throw new Error('no money');
    },
    { attempts: 3, backoff: false },
  );
  await assert.rejects(work, { message: 'no money' });
  assert.is(attempts, 1);
});
