// Protects the decision store from what it need not be asked, and the process from what its store answers: when decisions are deleted, what is
// given back at the end, who is told of what fails there, and what counts of a decision that somebody else was first to take.
import {
  CommitOutcomeUnknownError,
  type DataManager,
  DecisionFailedError,
  type DecisionLog,
  InDoubtError,
  MemoryDecisionLog,
  MemoryStore,
  type RecoverableResource,
  TransactionCoordinator,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, turns } from './recording.ts';

const test = suite('what a decision store is asked');

const FORGET_MS = 500;
const PAUSE_MS = 100;

const original = { ...environment };
interface Waiting {
  readonly callback: () => void;
  readonly delayMs: number;
  readonly referenced: boolean;
}
/** Timers of these two kinds, which go off when a test says so. */
let timers: Waiting[] = [];

test.before.each(() => {
  timers = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    if (delayMs !== FORGET_MS && delayMs !== PAUSE_MS) return original.setTimer(callback, delayMs, referenced);
    const timer = { callback, delayMs, referenced };
    timers.push(timer);
    return timer;
  };
  environment.clearTimer = (timer) => {
    if (timers.includes(timer as Waiting)) timers = timers.filter((other) => other !== timer);
    else original.clearTimer(timer);
  };
});
test.after.each(() => void Object.assign(environment, original));

function goOff(): void {
  for (const { callback } of timers.splice(0)) callback();
}

/** A process that decides over two databases, and what it asks its log of `names`. */
function process(names: readonly (keyof DecisionLog)[] = []) {
  const log: DecisionLog & MemoryDecisionLog = new MemoryDecisionLog();
  const calls: unknown[] = [];
  for (const name of names) {
    const call = log[name] as (...given: unknown[]) => unknown;
    Object.assign(log, {
      [name]: (...given: unknown[]) => {
        calls.push([name, ...given]);
        return call.apply(log, given);
      },
    });
  }
  const errors: Error[] = [];
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: false,
    onError: (error) => void errors.push(error),
  });
  const [a, b] = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const both = (): Promise<string> =>
    coordinator.run(
      (txn) => {
        a!.set('key', txn.id);
        b!.set('key', txn.id);
        return txn.id;
      },
      { attempts: 1 },
    );
  return { log, calls, errors, coordinator, a: a!, b: b!, both };
}

/** A database whose own commit takes the decision along, as that of the decision store's session does. */
function carrying(log: DecisionLog, calls: string[]): DataManager {
  const recoverable: RecoverableResource = new MemoryStore({ name: 'carrier', role: 'recoverable' });
  const carrier: DataManager = { ...recording(calls, 'carrier', { changed: true }), recoverable };
  log.carries = (manager) => manager === carrier;
  return carrier;
}

test('decisions that all have followed are deleted together a little later, and what is left of them at the end', async () => {
  const { coordinator, calls, both } = process(['forget']);
  const first = [await both(), await both()];
  assert.equal(
    timers.map(({ delayMs, referenced }) => [delayMs, referenced]),
    [[FORGET_MS, false]],
    'one timer, which keeps no process alive',
  );
  assert.equal(calls, []);
  goOff();
  assert.equal(calls, [['forget', first]]);
  const last = await both();
  await coordinator.close();
  assert.equal(calls.slice(1), [['forget', [last]]]);
  assert.equal(timers, [], 'nothing is left to go off');
});

test('where nothing was decided nothing is deleted, and who was never registered gives nothing back', async () => {
  const { coordinator, calls } = process(['forget', 'fence', 'close']);
  await coordinator.close();
  assert.equal(calls, [['close']]);
});

test('what can’t be deleted or given back at the end is reported, and the log is closed all the same', async () => {
  const { coordinator, log, calls, errors, both } = process(['close']);
  await both();
  const [locked, gone] = [new Error('locked'), new Error('gone')];
  log.forget = () => Promise.reject(locked);
  log.fence = () => Promise.reject(gone);
  await coordinator.close();
  assert.equal(errors, [locked, gone]);
  assert.equal(calls, [['close']]);
});

test('where a log stores no messages, everyone does by itself what comes after the decision', async () => {
  const memory = new MemoryDecisionLog();
  const stored: unknown[] = [];
  const decide = memory.decide.bind(memory);
  memory.decide = (decision) => {
    stored.push(decision.messages);
    return decide(decision);
  };
  const decisionLog: DecisionLog = new Proxy(memory, {
    get: (log, name) => {
      const value: unknown = name === 'outbox' ? undefined : Reflect.get(log, name);
      return typeof value === 'function' ? value.bind(log) : value;
    },
  });
  const coordinator = new TransactionCoordinator({ decisionLog, recovery: false });
  const sent: string[] = [];
  coordinator.delivers({ name: 'mail', deliver: async ({ payload }) => void sent.push(payload) });
  const [a, b] = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const calls: string[] = [];
  const mails: DataManager = { ...recording(calls, 'mails'), outbox: () => [{ target: 'mail', payload: 'hello' }] };
  const txn = await coordinator.run((current) => {
    current.join(mails);
    a!.set('key', 'x');
    b!.set('key', 'x');
    return current;
  });
  assert.equal([txn.isStored(mails), stored, sent], [false, [[]], []]);
  assert.ok(calls.includes('mails.tpcFinish'));
  await coordinator.close();
});

test('what was given its id while the store was away is refused over several resources before anyone votes, also where the store is back', async () => {
  const { coordinator, log, a, b } = process();
  const { open } = log;
  log.open = () => Promise.reject(new Error('away'));
  const calls: string[] = [];
  const work = coordinator.run(
    async (txn) => {
      assert.match(txn.id, 'shop:-:');
      txn.join(recording(calls, 'other'));
      a.set('key', 'x');
      b.set('key', 'x');
      log.open = open;
      await coordinator.recover();
    },
    { attempts: 1 },
  );
  const error = await assert.rejects(work, DecisionFailedError);
  assert.match(error.message, 'could not be reached when it began');
  assert.not.ok(calls.includes('other.tpcVote'));
  assert.equal([a.committed.size, await a.listPrepared(), log.store.decisions.size], [0, [], 0]);
  await coordinator.close();
});

test('a decision that is known not to be written is not looked up: its log says why, in its own words', async () => {
  const { coordinator, log, calls, a, both } = process(['decisionsOf']);
  const refusal = new DecisionFailedError('it could not be written', { cause: new Error('the disk is full') });
  log.decide = () => Promise.reject(refusal);
  assert.is(await assert.rejects(both()), refusal);
  assert.equal([calls, a.committed.size, await a.listPrepared()], [[], 0, []]);
  await coordinator.close();
});

test('and what the database that should have taken it along has refused is not looked up either', async () => {
  const { coordinator, log, calls, a } = process(['decisionsOf']);
  const cause = new Error('duplicate key');
  log.decideWith = () => Promise.reject(new DecisionFailedError('it could not be written', { cause }));
  const work = coordinator.run((txn) => {
    txn.join(carrying(log, []));
    a.set('key', 'x');
  });
  assert.is(await assert.rejects(work), cause);
  assert.equal([calls, a.committed.size], [[], 0]);
  await coordinator.close();
});

test('what a database would have committed along with a decision that an operator took before is lost, which is said; all else is committed', async () => {
  const { coordinator, log, a } = process();
  const { decide } = log;
  log.decideWith = async (_carrier, _txn, decision) => {
    await log.actByHand({ action: 'commit', by: 'an operator', forced: true }, decision);
    return decide.call(log, decision);
  };
  const calls: string[] = [];
  let runs = 0;
  const work = coordinator.run((txn) => {
    runs++;
    txn.join(carrying(log, calls));
    a.set('key', 'x');
  });
  const error = await assert.rejects(work, InDoubtError);
  const cause = error.cause as CommitOutcomeUnknownError;
  assert.instance(cause, CommitOutcomeUnknownError);
  assert.match(cause.message, 'what it has changed in the database of the decision store is not part of that');
  assert.equal([cause.xid, cause.phase, cause.resource], [error.xid, 'tpcVote', 'the decision store']);
  assert.instance(cause.cause, DecisionFailedError);
  assert.equal([runs, error.unfinished, calls.includes('carrier.tpcAbort')], [1, ['a'], true]);
  await coordinator.recover();
  assert.is(a.committed.get('key'), 'x');
  await coordinator.close();
});

test('a process stays alive while it looks for a decision whose answer was lost', async () => {
  const { coordinator, log, a, both } = process();
  await both();
  const { decide, settle } = log;
  log.decide = async (decision) => {
    await decide.call(log, decision);
    throw new Error('the answer was lost');
  };
  const asked = gate();
  log.settle = () => {
    asked.open();
    return Promise.reject(new Error('unreachable'));
  };
  const committing = both();
  await asked.promise;
  await turns(2);
  assert.equal(
    timers.filter(({ delayMs }) => delayMs === PAUSE_MS).map(({ referenced }) => referenced),
    [true],
  );
  log.settle = settle;
  goOff();
  const id = await committing;
  assert.is(a.committed.get('key'), id);
  await coordinator.close();
});

test('a decision that somebody has not followed yet is not deleted by whoever took it: recovery would roll that one back', async () => {
  const { coordinator, log, calls, a, b } = process(['forget']);
  const gid = await coordinator.run((txn) => {
    a.set('key', 'x');
    b.set('key', 'x');
    const manager = txn.resources[1]! as { tpcFinish: unknown };
    manager.tpcFinish = () => Promise.reject(new Error('b is down'));
    return txn.id;
  });
  assert.equal(timers, []);
  await coordinator.close();
  assert.equal([calls, [...log.store.decisions.keys()], b.committed.size], [[], [gid], 0]);
});

test('and of what was refused nothing is deleted: what was decided instead must stay', async () => {
  const { coordinator, log, calls, both } = process(['forget']);
  const { decide } = log;
  log.decide = async (decision) => {
    await log.settle(decision);
    return decide.call(log, decision);
  };
  await assert.rejects(both(), DecisionFailedError);
  assert.equal(timers, []);
  await coordinator.close();
  assert.equal([calls, log.store.decisions.size], [[], 1]);
});
