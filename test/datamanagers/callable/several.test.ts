// Protects several functions after one commit from each other: each is called whatever becomes of the others, all failures are told, and none
// is called of what was undone.
import { onCommit, outboxed, TransactionCoordinator } from 'unanimous';
import { recording, suppressedBy } from '../../coordinator/recording.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('several functions after a commit');

test('of those that are stored nowhere each is called, and every failure is told with what it failed with', async () => {
  const coordinator = new TransactionCoordinator();
  const called: string[] = [];
  const errors = { first: new Error('first failed'), second: new Error('second failed') };
  const fail = (name: 'first' | 'second') => outboxed(name, () => Promise.reject(errors[name]), { coordinator });
  const [first, second] = [fail('first'), fail('second')];
  const third = outboxed('third', async (payload) => void called.push(String(payload)), { coordinator });
  const error = await assert.rejects(
    coordinator.run(() => {
      first('x');
      second('x');
      third('x');
    }),
  );
  assert.equal(called, ['x']);
  const told = error.cause as Error;
  assert.match(told.message, "'function:first' (first failed) and 'function:second' (second failed) did");
  assert.is(told.cause, errors.first);
  assert.equal(suppressedBy(told), [errors.second]);
});

test('what is rolled back with a savepoint that found it joined already is not called', async () => {
  const coordinator = new TransactionCoordinator();
  const called: unknown[] = [];
  const call = outboxed('call', async (payload) => void called.push(payload), { coordinator });
  await coordinator.run(async (txn) => {
    call('kept');
    const savepoint = await txn.savepoint();
    call('undone');
    await savepoint.rollback();
  });
  assert.equal(called, ['kept']);
});

test('onCommit calls nothing where the commit fails', async () => {
  const called: string[] = [];
  const coordinator = new TransactionCoordinator();
  const full = new Error('full');
  const failing = coordinator.run((txn) => {
    txn.join(recording([], 'a', { fails: { tpcVote: full } }));
    onCommit(() => called.push('called'), { coordinator });
  });
  assert.is(await assert.rejects(failing), full);
  assert.equal(called, []);
});
