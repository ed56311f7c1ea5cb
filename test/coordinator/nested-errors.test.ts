// Protects what is known of the errors of nested runs: the error of the function is the one that is told and tried again, whatever a data manager
// does when it is asked about it.
import { TransactionCoordinator } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { raise, recording } from './recording.ts';

const test = suite('errors of nested runs');

test('a data manager that throws when it is asked about an error hides neither that error nor the rollback', async () => {
  const coordinator = new TransactionCoordinator();
  const log: string[] = [];
  const error = new Error('the function’s own');
  await coordinator.run(async (txn) => {
    const nested = coordinator.run(
      () => {
        txn.join(recording(log, 'a', { shouldRetry: () => raise(new Error('the data manager’s')) }));
        throw error;
      },
      { propagation: 'nested' },
    );
    assert.is(await assert.rejects(nested), error);
  });
  assert.equal(log, ['a.abort']);
});

test('each of several errors that data managers of nested runs would try again is tried again', async () => {
  for (const last of [0, 1]) {
    const coordinator = new TransactionCoordinator();
    const errors = [new Error('one'), new Error('two')];
    let attempts = 0;
    const work = coordinator.run(
      async (txn) => {
        attempts++;
        for (const error of errors) {
          const nested = (): never => {
            txn.join(recording([], 'a', { shouldRetry: () => true }));
            throw error;
          };
          assert.is(await assert.rejects(coordinator.run(nested, { propagation: 'nested' })), error);
        }
        throw errors[last]!;
      },
      { attempts: 2, backoff: false },
    );
    assert.is(await assert.rejects(work), errors[last]);
    assert.is(attempts, 2);
  }
});

test('nor is that error tried again for its sake: who can’t answer says no', async () => {
  const coordinator = new TransactionCoordinator();
  let attempts = 0;
  const failing = new Error('any');
  const nested = (): Promise<void> =>
    coordinator.run(
      (txn) => {
        attempts++;
        const shouldRetry = (): never => raise(new Error('asked too much'));
        txn.join(recording([], 'a', { savepoints: true, shouldRetry }));
        throw failing;
      },
      { propagation: 'nested' },
    );
  const work = coordinator.run(() => nested(), { attempts: 3, backoff: false });
  assert.is(await assert.rejects(work), failing);
  assert.is(attempts, 1);
});
