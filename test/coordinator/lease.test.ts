// Protects the right to decide: it is kept for as long as a process lives and its store is there, asked for anew by one that was taken for dead, and
// what somebody else has decided meanwhile is followed.
import {
  CommitOutcomeUnknownError,
  DecisionFailedError,
  FencedError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryStore,
  TransactionCoordinator,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, turns } from './recording.ts';

const test = suite('the right to decide');

const LEASE_MS = 30_000;
const RENEWAL_MS = LEASE_MS / 3;

const original = { ...environment };
/** Renewals that are due when the test says so. */
let renewals: { readonly callback: () => void; readonly referenced: boolean }[] = [];

async function passRenewal(): Promise<void> {
  const due = renewals;
  renewals = [];
  for (const { callback } of due) callback();
  await turns(2);
}

test.before.each(() => {
  renewals = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    if (delayMs !== RENEWAL_MS) return original.setTimer(callback, delayMs, referenced);
    const timer = { callback, referenced };
    renewals.push(timer);
    return timer;
  };
  environment.clearTimer = (timer) => {
    if (renewals.includes(timer as never)) renewals = renewals.filter((other) => other !== timer);
    else original.clearTimer(timer);
  };
});
test.after.each(() => void Object.assign(environment, original));

/** A process that decides over two databases, and what its log is asked. */
function process(decisionTimeoutMs = 20_000) {
  const log = new MemoryDecisionLog();
  const errors: Error[] = [];
  const calls: string[] = [];
  for (const name of ['register', 'renew'] as const) {
    const call = log[name].bind(log) as (...given: unknown[]) => Promise<never>;
    log[name] = (...given: unknown[]) => {
      calls.push(name);
      return call(...given);
    };
  }
  const coordinator = new TransactionCoordinator({
    decisionLog: log,
    recovery: { leaseMs: LEASE_MS, everyMs: 2_000_000_000 },
    decisionTimeoutMs,
    onError: (error) => void errors.push(error),
  });
  const [a, b] = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const both = (key: string, attempts = 1): Promise<void> =>
    coordinator.run(
      () => {
        a!.set(key, 'x');
        b!.set(key, 'x');
      },
      { attempts, backoff: false },
    );
  const has = (key: string): boolean[] => [a!, b!].map(({ committed }) => committed.has(key));
  return { log, coordinator, errors, calls, both, has, a: a!, b: b! };
}

/** Lets one call of a log fail, as when the store can't be reached; returns the function that ends that. */
function breakCall(log: MemoryDecisionLog, name: 'register' | 'renew' | 'decisionsOf'): () => void {
  const call: unknown = log[name];
  const fail = (): Promise<never> => Promise.reject(new Error(`no ${name}: the store is away`));
  Object.assign(log, { [name]: fail });
  return () => void Object.assign(log, { [name]: call });
}

test('it is renewed until the process closes, and that keeps no process alive', async () => {
  const one = process();
  await one.both('first');
  for (let renewal = 0; renewal < 3; renewal++) {
    assert.equal(
      renewals.map(({ referenced }) => referenced),
      [false],
    );
    await passRenewal();
  }
  assert.equal(one.calls, ['register', 'renew', 'renew', 'renew']);
  await one.coordinator.close();
  assert.equal(renewals, []);
  assert.equal(await one.log.nodes(), []);
});

test('a renewal that fails is reported, and the next one is made', async () => {
  const one = process();
  await one.both('first');
  const mend = breakCall(one.log, 'renew');
  await passRenewal();
  assert.equal(
    one.errors.map(({ message }) => message),
    ['no renew: the store is away'],
  );
  mend();
  await passRenewal();
  assert.equal(one.calls, ['register', 'renew']);
  assert.equal(renewals.length, 1);
  await one.both('second');
  assert.equal(one.has('second'), [true, true]);
  await one.coordinator.close();
});

test('a process that learns by a renewal that it was taken for dead says so, and goes on under a new identity', async () => {
  const one = process();
  await one.both('first');
  const { incarnation } = one.coordinator.inspect().decisions!;
  await one.log.fence(incarnation!);
  await passRenewal();
  assert.equal(
    one.errors.map((error) => error instanceof FencedError),
    [true],
  );
  assert.match(one.errors[0]!.message, `this one (${incarnation}) did not and was taken for dead`);
  const { incarnation: next, store } = one.coordinator.inspect().decisions!;
  assert.is(store, one.log.store.identity);
  assert.ok(next !== undefined && next !== incarnation);
  assert.equal(renewals.length, 1, 'one lease is renewed, not two');
  await one.both('second');
  assert.equal(one.has('second'), [true, true]);
  await one.coordinator.close();
});

test('a process that was taken for dead and can’t register says so, and the next transaction registers', async () => {
  const one = process();
  await one.both('first');
  await one.log.fence(one.coordinator.inspect().decisions!.incarnation!);
  const mend = breakCall(one.log, 'register');
  await assert.rejects(one.both('second'), FencedError);
  await turns(2);
  assert.is(one.errors.at(-1)!.message, 'no register: the store is away');
  assert.is(one.coordinator.inspect().decisions!.incarnation, undefined);
  // Nothing is there that could be renewed.
  await passRenewal();
  assert.equal(one.calls, ['register']);
  mend();
  await one.both('third');
  assert.equal(
    [one.has('second'), one.has('third')],
    [
      [false, false],
      [true, true],
    ],
  );
  await passRenewal();
  assert.equal(one.calls, ['register', 'register', 'renew']);
  await one.coordinator.close();
});

test('transactions that learn at once that their process was taken for dead say it once, and have one new identity', async () => {
  const one = process();
  await one.both('first');
  await one.log.fence(one.coordinator.inspect().decisions!.incarnation!);
  const refused = await Promise.allSettled(['k1', 'k2', 'k3'].map((key) => one.both(key)));
  assert.equal(
    refused.map((each) => each.status === 'rejected' && each.reason instanceof FencedError),
    [true, true, true],
  );
  assert.is(one.errors.length, 1);
  assert.equal(one.calls, ['register', 'register']);
  await one.coordinator.close();
});

test('who closes while it renews, or while it registers anew, leaves no renewal behind and keeps no right to decide', async () => {
  for (const name of ['renew', 'register'] as const) {
    const one = process();
    await one.both('first');
    const held = gate();
    const call = one.log[name].bind(one.log) as (...given: unknown[]) => Promise<never>;
    Object.assign(one.log, { [name]: (...given: unknown[]) => held.promise.then(() => call(...given)) });
    if (name === 'register') await one.log.fence(one.coordinator.inspect().decisions!.incarnation!);
    await passRenewal();
    const closing = one.coordinator.close();
    await turns(2);
    held.open();
    await closing;
    await turns(2);
    assert.equal(renewals, [], name);
    assert.equal(await one.log.nodes(), [], name);
  }
});

test('who could not renew its lease in time takes nobody for dead until the time of a lease after it could, as the store was away for others, too', async () => {
  const startMs = Math.ceil(original.now());
  let laterMs = 0;
  environment.now = () => startMs + laterMs;
  const renewAfter = async (ms: number): Promise<void> => {
    laterMs = ms;
    await passRenewal();
  };
  const fenced = async (): Promise<readonly string[]> => (await one.coordinator.recover()).fenced;
  const one = process();
  await one.both('first');
  // The pass that runs by itself comes before.
  await new Promise<void>((resolve) => void original.setTimer(resolve, 5, true));
  await one.log.register('silent', 'another process', LEASE_MS);
  const mend = breakCall(one.log, 'renew');
  for (const part of [1, 2, 3]) await renewAfter(part * RENEWAL_MS);
  laterMs = LEASE_MS + 1;
  assert.equal(await fenced(), [], 'its own is overdue');
  mend();
  const backMs = LEASE_MS + 2;
  for (const part of [0, 1, 2]) {
    await renewAfter(backMs + part * RENEWAL_MS);
    assert.equal(await fenced(), [], `${laterMs}`);
  }
  laterMs = backMs + LEASE_MS - 1;
  assert.equal(await fenced(), []);
  await renewAfter(backMs + LEASE_MS);
  assert.equal(await fenced(), ['silent']);
  await one.coordinator.close();
});

/** Somebody decides by hand right before the process does. */
function decideByHand({ log }: ReturnType<typeof process>, action: 'commit' | 'abort'): void {
  const { decide } = log;
  log.decide = async (decision) => {
    log.decide = decide;
    await log.actByHand({ action, by: 'an operator', forced: true }, decision);
    return decide.call(log, decision);
  };
}

test('who was too late to decide follows what an operator has decided, also where that can’t be read at once', async () => {
  const one = process();
  await one.both('first');
  decideByHand(one, 'commit');
  const { decisionsOf } = one.log;
  let asked = 0;
  one.log.decisionsOf = (gids) =>
    ++asked < 3 ? Promise.reject(new Error('the store is away')) : decisionsOf.call(one.log, gids);
  await one.both('second');
  assert.equal([asked, one.has('second')], [3, [true, true]]);
  await one.coordinator.close();
});

test('and where that can’t be read in time, it holds what is prepared, until recovery ends it as decided', async () => {
  const one = process(200);
  await one.both('first');
  decideByHand(one, 'commit');
  const mend = breakCall(one.log, 'decisionsOf');
  const error = await assert.rejects(one.both('second'), InDoubtError);
  assert.instance(error.cause, CommitOutcomeUnknownError);
  const cause = error.cause as CommitOutcomeUnknownError;
  assert.match(cause.message, 'was taken before this process could');
  assert.equal([cause.xid, cause.phase, cause.resource], [error.xid, 'tpcVote', 'the decision store']);
  assert.equal([one.has('second'), (await one.a.listPrepared()).length], [[false, false], 1]);
  mend();
  await one.coordinator.recover();
  assert.equal(one.has('second'), [true, true]);
  await one.coordinator.close();
});

test('what it would have sent is not sent by a decision of somebody else, so nobody may try it again', async () => {
  const one = process();
  await one.both('first');
  const sent: string[] = [];
  one.coordinator.delivers({ name: 'mail', deliver: async ({ payload }) => void sent.push(payload) });
  decideByHand(one, 'commit');
  let runs = 0;
  const work = one.coordinator.run((txn) => {
    runs++;
    one.a.set('second', 'x');
    txn.join({ ...recording([], 'mails'), outbox: () => [{ target: 'mail', payload: 'hello' }] });
  });
  const error = await assert.rejects(work, InDoubtError);
  assert.match((error.cause as Error).message, 'what it would have sent is not part of that');
  await one.coordinator.recover();
  assert.equal([runs, one.a.committed.has('second'), sent], [1, true, []]);
  await one.coordinator.close();
});

test('and rolls back where that was to roll back', async () => {
  const one = process();
  await one.both('first');
  decideByHand(one, 'abort');
  await assert.rejects(one.both('second'), DecisionFailedError);
  assert.equal(one.has('second'), [false, false]);
  await one.coordinator.close();
});
