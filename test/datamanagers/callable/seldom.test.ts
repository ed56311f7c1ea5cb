// Protects functions that are called after a commit in what seldom happens: payloads that would not come back as they were, and calls that
// were undone before the transaction ended.
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryStore,
  TransactionCoordinator,
  onCommit,
  outboxed,
} from 'unanimous';
import { raise, recording, suppressedBy } from '../../coordinator/recording.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('what seldom happens to functions');
const coordinator = new TransactionCoordinator();
const called: unknown[] = [];
const call = outboxed('seldom', (payload: unknown) => void called.push(payload), { coordinator });
test.before.each(() => void called.splice(0));
test.after(() => coordinator.close());

/** What a payload is refused with. */
async function refusal(payload: unknown): Promise<string> {
  const error = await assert.rejects(
    coordinator.run(() => call(payload)),
    ConfigurationError,
  );
  return error.message;
}

test('payloads that are too deep, or say themselves how they are stored, are refused by name', async () => {
  let deep: object = {};
  for (let depth = 0; depth < 600; depth++) deep = { x: deep };
  assert.match(await refusal(deep), /(\.x)+\.?… is 500 deep in others, so nothing is stored/);
  assert.match(await refusal({ a: { toJSON: () => 1 } }), /\.a is an object with toJSON\(\)/);
  assert.equal(called, []);
  let allowed: object = {};
  for (let depth = 0; depth < 400; depth++) allowed = { x: allowed };
  await coordinator.run(() => call(allowed));
  assert.equal(called, [allowed]);
});

test('calls that were undone by a rollback to a savepoint are not made, and nothing is said of them', async () => {
  const txn = await coordinator.run(async (current) => {
    const savepoint = await current.savepoint();
    call('undone');
    await savepoint.rollback();
    return current;
  });
  assert.is(txn.outcome?.result, 'committed');
  assert.equal(called, []);
});

test('of a transaction in doubt, what was to be called is named; where that was undone, nothing is', async () => {
  const said = async (undo: boolean): Promise<string> => {
    const unknown = new CommitOutcomeUnknownError('not known', { resource: 'bank' });
    const last = {
      ...recording([], '~~~bank', { savepoints: true, does: { tpcVote: () => raise(unknown) } }),
      lastResource: true,
    };
    const error = await assert.rejects(
      coordinator.run(
        async (txn) => {
          txn.join(last);
          const savepoint = await txn.savepoint();
          call('payload');
          if (undo) await savepoint.rollback();
        },
        { attempts: 1 },
      ),
    );
    const all = [error, unknown].flatMap((each) => [each].concat(suppressedBy(each)));
    return all.map((each) => (each as Error).message).join('\n');
  };
  assert.match(await said(false), /'function:seldom' .* was not called/);
  assert.not.match(await said(true), /was not called/);
  assert.equal(called, []);
});

test('of a call that is stored with a decision of which nobody knows whether it came about, nothing is said: it is made where it did', async () => {
  const log = new MemoryDecisionLog();
  const { decide, settle } = log;
  const deciding = new TransactionCoordinator({
    decisionLog: log,
    decisionTimeoutMs: 200,
    onError: () => undefined,
  });
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator: deciding });
  const stored = outboxed('stored', (payload: unknown) => void called.push(payload), { coordinator: deciding });
  log.decide = async (decision) => {
    await decide.call(log, decision);
    throw new Error('the reply was lost');
  };
  log.settle = () => Promise.reject(new Error('the store is away'));
  const error = await assert.rejects(
    deciding.run(
      () => {
        a.set('n', 1);
        stored('payload');
      },
      { attempts: 1 },
    ),
    InDoubtError,
  );
  assert.equal([error, error.cause].flatMap((each) => suppressedBy(each)).map(String), []);
  Object.assign(log, { decide, settle });
  // As if its time had come.
  await log.outbox.retry(await log.outbox.list(10));
  await assert.eventually(async () => {
    await deciding.recover();
    assert.equal(called, ['payload']);
  });
  await deciding.close();
});

test('what is to be called after a commit is called of the coordinator that is named, and not after an abort', async () => {
  const seen: string[] = [];
  await coordinator.run(() => onCommit(() => seen.push('committed'), { coordinator }));
  await assert.rejects(
    coordinator.run(() => {
      onCommit(() => seen.push('aborted'), { coordinator });
      throw new Error('thrown');
    }),
  );
  await coordinator.run(() => {
    assert.throws(() => onCommit('later' as never, { coordinator }), /takes a function/);
  });
  assert.equal(seen, ['committed']);
});
