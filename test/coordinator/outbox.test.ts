// Protects the outbox: what must be done after a commit is stored with the decision, done at once, and else done by recovery, at least
// once; and never for what was rolled back.
import {
  type DataManager,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  type OutboxMessage,
  type OutboxTarget,
  type StoredMessage,
  type Transaction,
  TransactionCoordinator,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('outbox');

class Target implements OutboxTarget {
  readonly name: string;
  readonly delivered: StoredMessage[] = [];
  fails: Error | undefined = undefined;
  readonly knowsAgain: boolean;

  constructor(name: string, knowsAgain = false) {
    this.name = name;
    this.knowsAgain = knowsAgain;
  }

  async deliver(message: StoredMessage): Promise<void> {
    if (this.fails !== undefined) throw this.fails;
    this.delivered.push(message);
  }

  get payloads(): string[] {
    return this.delivered.map(({ payload }) => payload);
  }
}

/** A process with a database, and a target of messages. */
function process(store = new MemoryDecisionStore(), deliveryAttempts = 3) {
  const log = new MemoryDecisionLog(store);
  const errors: string[] = [];
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: { everyMs: 2_000_000_000, deliveryAttempts },
    onError: (error) => void errors.push(error.message),
  });
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  const b = new MemoryStore({ name: 'b', role: 'recoverable', coordinator });
  const mail = new Target('mail');
  coordinator.delivers(mail);
  return { store, log, coordinator, a, b, mail, errors };
}

/** Joins a data manager that hands these over. */
function handOver(txn: Transaction, calls: string[], ...payloads: string[]): DataManager {
  const messages: OutboxMessage[] = payloads.map((payload) => ({ target: 'mail', payload }));
  const manager = { ...recording(calls, 'mails'), outbox: () => messages };
  txn.join(manager);
  return manager;
}

test('what is handed over is delivered once the transaction has committed, in order, before commit() returns, and then gone', async () => {
  const { store, coordinator, a, mail } = process();
  const calls: string[] = [];
  let stored: boolean | undefined;
  const txn = await coordinator.run((current) => {
    const manager = handOver(current, calls, 'one', 'two');
    manager.tpcVote = () => void (stored = current.isStored(manager));
    a.set('key', 'x');
    return current;
  });
  assert.is(stored, true, 'its vote knows that it needn’t do it by itself');
  assert.equal(mail.payloads, ['one', 'two']);
  assert.equal(
    mail.delivered.map(({ gid, sequence, attempts }) => [gid, sequence, attempts]),
    [
      [txn.id, 1, 0],
      [txn.id, 2, 0],
    ],
  );
  assert.is(a.committed.get('key'), 'x');
  assert.equal(store.messages, []);
  assert.is(txn.outcome!.way, 'two-phase', 'one database that is not the store’s prepares for its sake');
});

test('what its target would know again is deleted a little later, many at once, and when the process closes', async () => {
  const { coordinator, a, log, store } = process();
  const cache = new Target('mail', true);
  coordinator.delivers(cache);
  const removals: number[] = [];
  const remove = log.outbox.remove.bind(log.outbox);
  log.outbox.remove = (messages) => {
    removals.push(messages.length);
    return remove(messages);
  };
  const send = (payload: string): Promise<void> =>
    coordinator.run((txn) => {
      a.set('key', payload);
      handOver(txn, [], payload);
    });
  for (const payload of ['1', '2', '3']) await send(payload);
  assert.equal(cache.payloads, ['1', '2', '3']);
  assert.equal(removals, [], 'nobody has waited for that');
  await assert.eventually(() => store.messages.length === 0);
  assert.equal(removals, [3]);
  await send('4');
  await coordinator.close();
  assert.equal(removals, [3, 1]);
});

test('it is stored with the decision: before the first resource finishes', async () => {
  const { store, coordinator, a } = process();
  let seen: unknown;
  await coordinator.run((txn) => {
    handOver(txn, [], 'one');
    txn.join(
      recording([], '!', { does: { tpcFinish: () => (seen = store.messages.map(({ message }) => message.payload)) } }),
    );
    a.set('key', 'x');
  });
  assert.equal(seen, ['one']);
});

test('nothing is stored or delivered of what is rolled back', async () => {
  const { store, coordinator, a, mail } = process();
  await assert.rejects(
    coordinator.run((txn) => {
      handOver(txn, [], 'one');
      a.set('key', 'x');
      txn.join(recording([], 'z', { fails: { tpcVote: new Error('no') } }));
    }),
  );
  assert.equal([store.messages, mail.payloads, a.committed.size], [[], [], 0]);
});

test('where nothing durable has changed, everyone does it by itself', async () => {
  const { coordinator, mail } = process();
  const calls: string[] = [];
  await coordinator.run((txn) => void handOver(txn, calls, 'one'));
  assert.equal(mail.payloads, []);
  assert.ok(calls.includes('mails.tpcFinish'));
});

test('a data manager that hands nothing over does it by itself', async () => {
  const { store, coordinator, a, mail } = process();
  await coordinator.run((txn) => {
    txn.join({ ...recording([], 'mails'), outbox: () => undefined });
    a.set('key', 'x');
  });
  assert.equal([mail.payloads, store.decisions.size], [[], 0]);
});

test('a last resource that hands over is none: two of them may take part, and nobody waits for their vote', async () => {
  const { coordinator, a, b, mail } = process();
  const calls: string[] = [];
  const txn = await coordinator.run((current) => {
    for (const name of ['r1', 'r2']) {
      const manager = { ...recording(calls, name, { lastResource: true, changed: true }) };
      current.join({ ...manager, outbox: () => [{ target: 'mail', payload: name }] });
    }
    a.set('key', 'x');
    b.set('key', 'x');
    return current;
  });
  assert.is(txn.outcome!.way, 'two-phase');
  assert.equal(mail.payloads, ['r1', 'r2']);
});

test('what fails is tried again by recovery, later and later, and is dead in the end, which is reported', async () => {
  const { store, coordinator, a, mail, errors } = process();
  mail.fails = new Error('no mail server');
  const txn = await coordinator.run((current) => {
    handOver(current, [], 'one', 'two');
    a.set('key', 'x');
    return current;
  });
  assert.is(txn.status, 'committed');
  assert.equal(mail.payloads, []);
  assert.match(errors[0]!, 'no mail server');
  assert.equal(
    store.messages.map(({ message }) => [message.payload, message.attempts, message.error]),
    [
      ['one', 1, 'no mail server'],
      ['two', 0, undefined],
    ],
    'the second waits for the first',
  );
  for (const waiting of store.messages) waiting.dueMs = 0;
  await coordinator.recover();
  for (const waiting of store.messages) waiting.dueMs = 0;
  await coordinator.recover();
  assert.equal(
    store.messages.map(({ message }) => [message.attempts, message.isDead]),
    [
      [3, true],
      [0, false],
    ],
  );
  assert.match(errors.at(-1)!, 'needs an operator');
  mail.fails = undefined;
  for (const waiting of store.messages) waiting.dueMs = 0;
  const report = await coordinator.recover();
  assert.equal([report.delivered, mail.payloads], [1, ['two']], 'a dead one keeps no others');
});

test('another process delivers what a dead one has stored, once its claim has run out', async () => {
  const one = process();
  one.mail.fails = new Error('killed');
  await one.coordinator.run((txn) => {
    handOver(txn, [], 'one');
    one.a.set('key', 'x');
  });
  const other = process(one.store);
  const early = await other.coordinator.recover();
  assert.equal([early.delivered, other.mail.payloads], [0, []]);
  for (const waiting of one.store.messages) waiting.dueMs = 0;
  const report = await other.coordinator.recover();
  assert.equal([report.delivered, other.mail.payloads], [1, ['one']]);
  assert.equal(one.store.messages, []);
});

test('messages for a target that this process doesn’t have are left to one that does', async () => {
  const one = process();
  await one.coordinator.run((txn) => {
    const manager = { ...recording([], 'others'), outbox: () => [{ target: 'elsewhere', payload: 'p' }] };
    txn.join(manager);
    one.a.set('key', 'x');
  });
  for (const waiting of one.store.messages) waiting.dueMs = 0;
  const report = await one.coordinator.recover();
  assert.is(report.delivered, 0);
  assert.is(one.store.messages.length, 1);
});

test('what is committed while an earlier message of its target has failed comes behind that, in order; a target without order goes on', async () => {
  const { store, coordinator, a, mail } = process(undefined, 20);
  const any = Object.assign(new Target('any'), { anyOrder: true });
  const late: string[] = [];
  Object.assign(mail, { postponed: (gid: string, reason: Error) => void late.push(`${gid}: ${reason.message}`) });
  coordinator.delivers(any);
  const commit = (payload: string): Promise<Transaction> =>
    coordinator.run((txn) => {
      const messages = ['mail', 'any'].map((target) => ({ target, payload }));
      txn.join({ ...recording([], 'both'), outbox: () => messages });
      a.set('key', payload);
      return txn;
    });
  mail.fails = any.fails = new Error('away');
  await commit('one');
  mail.fails = any.fails = undefined;
  const second = await commit('two');
  assert.equal([mail.payloads, any.payloads], [[], ['two']]);
  assert.match(late.join(), `${second.id}: messages to 'mail' are delivered in order`);
  await coordinator.recover();
  assert.equal(mail.payloads, [], 'the first one waits to be tried again, and keeps the second');
  for (const waiting of store.messages) waiting.dueMs = 0;
  await coordinator.recover();
  assert.equal(
    [mail.payloads, any.payloads],
    [
      ['one', 'two'],
      ['two', 'one'],
    ],
  );
  await commit('three');
  assert.equal(mail.payloads, ['one', 'two', 'three'], 'nothing waits any more, so it is delivered at once');
  assert.equal(store.messages, []);
});

test('what is being delivered stays its deliverer’s for as long as that takes, and is due for others when the process is done', async () => {
  const one = process();
  const other = process(one.store);
  const held: number[] = [];
  const hold = one.log.outbox.hold.bind(one.log.outbox);
  one.log.outbox.hold = (messages, forMs) => {
    held.push(messages.length, forMs);
    return hold(messages, forMs);
  };
  const setTimer = environment.setTimer;
  const timers: (() => void)[] = [];
  try {
    environment.setTimer = (callback, delayMs, referenced) => {
      if (delayMs !== 10_000) return setTimer(callback, delayMs, referenced);
      timers.push(callback);
      return undefined;
    };
    one.mail.deliver = async (message) => {
      one.mail.delivered.push(message);
      // So long that its claim would have run out.
      for (const waiting of one.store.messages) waiting.dueMs = 0;
      timers.at(-1)!();
      await other.coordinator.recover();
    };
    await one.coordinator.run((txn) => {
      handOver(txn, [], 'one', 'two');
      one.a.set('key', 'x');
    });
  } finally {
    environment.setTimer = setTimer;
  }
  assert.equal([one.mail.payloads, other.mail.payloads], [['one', 'two'], []]);
  assert.equal(held, [2, 30_000, 2, 30_000], 'what is delivered and not deleted yet among them');
});

test('a recovery that is to stop delivers what it is at, and gives the rest back', async () => {
  const one = process();
  one.mail.fails = new Error('away');
  await one.coordinator.run((txn) => {
    handOver(txn, [], 'one', 'two', 'three');
    one.a.set('key', 'x');
  });
  for (const waiting of one.store.messages) waiting.dueMs = 0;
  const two = process(one.store);
  let closed: Promise<void> | undefined;
  const deliver = two.mail.deliver.bind(two.mail);
  two.mail.deliver = (message) => {
    closed ??= two.coordinator.close();
    return deliver(message);
  };
  await two.coordinator.recover();
  await closed;
  assert.equal(two.mail.payloads, ['one']);
  const three = process(one.store);
  await three.coordinator.recover();
  assert.equal(three.mail.payloads, ['two', 'three']);
});
