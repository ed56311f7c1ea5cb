// Protects a memory store from two transactions that vote at the same time, of which one has read everything that the other one changes.
import { MemoryStore, TransientError, transaction } from 'unanimous';
import { recording } from '../../coordinator/recording.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('what seldom happens to a memory store');

test('whoever changes something while another one has voted that has read all of it is told to try again', async () => {
  const store = new MemoryStore({ name: 'store' });
  await transaction.run(() => store.set('a', 1));
  let refused: unknown;
  await transaction.run(async (txn) => {
    store.set('count', store.entries().size);
    const meanwhile = (): Promise<unknown> =>
      transaction
        .context(() => transaction.run(() => store.set('b', 2), { attempts: 1 }))
        .catch((error: unknown) => (refused = error));
    txn.join({ ...recording([], '~~~last'), tpcVote: async () => void (await meanwhile()) });
  });
  assert.instance(refused, TransientError);
  assert.match((refused as Error).message, /is being changed by a transaction that has voted/);
  assert.equal(
    [...store.committed],
    [
      ['a', 1],
      ['count', 1],
    ],
  );
});
