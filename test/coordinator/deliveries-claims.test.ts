// Protects the claims of messages, and what is remembered of them, while deliveries take long, are many, or the decision store fails: nobody else
// delivers what is being delivered, nothing is claimed that is over, and the order stays.
import { MemoryDecisionLog, MemoryStore, type OutboxTarget, TransactionCoordinator } from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, turns } from './recording.ts';

const test = suite('claims of messages');

/** How often claims are renewed, and after what time what its target knows again is deleted, in milliseconds. */
const RENEWAL_MS = 10_000;
const REMOVAL_MS = 500;

const original = { ...environment };
/** Time passes where a test says so. */
let nowMs = 0;
/** Timers of these delays run when the test says so. */
let timers: { readonly delayMs: number; readonly referenced: boolean; readonly callback: () => void }[] = [];
const waitingFor = (delayMs: number): number => timers.filter((timer) => timer.delayMs === delayMs).length;

/** Lets the time of the timers of this delay come. */
async function pass(delayMs: number): Promise<void> {
  const due = timers.filter((timer) => timer.delayMs === delayMs);
  timers = timers.filter((timer) => !due.includes(timer));
  for (const { callback } of due) callback();
  await turns(2);
}

test.before.each(() => {
  nowMs = original.now();
  timers = [];
  environment.now = () => nowMs;
  environment.setTimer = (callback, delayMs, referenced) => {
    if (delayMs !== RENEWAL_MS && delayMs !== REMOVAL_MS) return original.setTimer(callback, delayMs, referenced);
    const timer = { delayMs, referenced, callback };
    timers.push(timer);
    return timer;
  };
  environment.clearTimer = (timer) => {
    if (timers.includes(timer as never)) timers = timers.filter((other) => other !== timer);
    else original.clearTimer(timer);
  };
});
test.after.each(() => void Object.assign(environment, original));

type Deliver = OutboxTarget['deliver'];

/** A process with a database and a receiver, and what it holds claims of. */
function process(receiver: Partial<OutboxTarget> & { readonly deliver: Deliver }) {
  const log = new MemoryDecisionLog();
  const { outbox, store } = log;
  const errors: string[] = [];
  const coordinator = new TransactionCoordinator({
    decisionLog: log,
    recovery: { everyMs: 2_000_000_000 },
    onError: (error) => void errors.push(error.message),
  });
  const database = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  coordinator.delivers({ name: 'mail', ...receiver });
  /** The payloads whose claims were renewed, renewal by renewal. */
  const held: string[][] = [];
  const hold = outbox.hold.bind(outbox);
  outbox.hold = (keys, forMs) => {
    const isOneOf = ({ gid, sequence }: (typeof keys)[number]): boolean =>
      keys.some((key) => key.gid === gid && key.sequence === sequence);
    if (forMs > 0)
      held.push(store.messages.flatMap(({ message }) => (isOneOf(message) ? [`${message.payload} ${forMs}`] : [])));
    return hold(keys, forMs);
  };
  const sendTo = (target: string, payloads: readonly string[]): Promise<void> =>
    coordinator.run((txn) => {
      txn.join({ ...recording([], 'messages'), outbox: () => payloads.map((payload) => ({ target, payload })) });
      database.set(payloads[0]!, 'sent');
    });
  const send = (...payloads: string[]): Promise<void> => sendTo('mail', payloads);
  /** As if the claims of all messages, and the times to wait for the next try, had run out. */
  const makeDue = (): void => {
    for (const waiting of store.messages) waiting.dueMs = 0;
  };
  return { log, outbox, store, coordinator, errors, held, send, sendTo, makeDue };
}

const letters = (count: number, name = 'letter'): string[] =>
  Array.from({ length: count }, (_, index) => `${name} ${index + 1}`);

test('the claim of what is being delivered is renewed for as long as that takes, and not when it is over', async () => {
  const wait = gate();
  const one = process({ deliver: () => wait.promise });
  const sending = one.send('a');
  await turns(2);
  assert.equal(one.held, [], 'nothing yet: it was stored just now');
  await pass(RENEWAL_MS);
  await pass(RENEWAL_MS);
  assert.equal(one.held, [['a 30000'], ['a 30000']]);
  assert.ok(
    timers.every(({ referenced }) => !referenced),
    'that keeps no process alive',
  );
  wait.open();
  await sending;
  await pass(RENEWAL_MS);
  assert.equal(one.held.length, 2);
  assert.is(waitingFor(RENEWAL_MS), 0, 'nothing is left to be renewed');
  assert.equal(one.errors, []);
});

test('and again for a delivery that comes later', async () => {
  let wait = Promise.resolve();
  const one = process({ deliver: () => wait });
  await one.send('quick');
  await pass(RENEWAL_MS);
  assert.equal([one.held, waitingFor(RENEWAL_MS)], [[], 0]);
  const slow = gate();
  wait = slow.promise;
  const sending = one.send('slow');
  await turns(2);
  await pass(RENEWAL_MS);
  assert.equal(one.held, [['slow 30000']]);
  slow.open();
  await sending;
});

test('deliveries of several transactions are renewed together, each until it is over', async () => {
  const waits = new Map(['a', 'b'].map((payload) => [payload, gate()]));
  const one = process({ deliver: ({ payload }) => waits.get(payload)!.promise });
  const sending = [...waits.keys()].map((payload) => one.send(payload));
  await turns(2);
  assert.is(waitingFor(RENEWAL_MS), 1, 'one timer for both');
  await pass(RENEWAL_MS);
  waits.get('a')!.open();
  await sending[0];
  assert.is(waitingFor(RENEWAL_MS), 1);
  await pass(RENEWAL_MS);
  waits.get('b')!.open();
  await sending[1];
  assert.equal(one.held, [['a 30000', 'b 30000'], ['b 30000']]);
});

test('a renewal that fails is reported, and the next one is made', async () => {
  const wait = gate();
  const one = process({ deliver: () => wait.promise });
  const { hold } = one.outbox;
  one.outbox.hold = () => {
    one.outbox.hold = hold;
    return Promise.reject(new Error('the store is gone'));
  };
  const sending = one.send('a');
  await turns(2);
  await pass(RENEWAL_MS);
  assert.equal([one.errors, one.held], [['the store is gone'], []]);
  await pass(RENEWAL_MS);
  assert.equal(one.held, [['a 30000']]);
  wait.open();
  await sending;
});

test('what could not be delivered is not renewed with those that still are', async () => {
  const wait = gate();
  const one = process({
    anyOrder: true,
    deliver: ({ payload }) => (payload === 'refused' ? Promise.reject(new Error('no')) : wait.promise),
  });
  const sending = one.send('refused', 'slow', 'next');
  await turns(2);
  await pass(RENEWAL_MS);
  assert.equal(one.held, [['slow 30000', 'next 30000']], 'it is due when it is to be tried again');
  wait.open();
  await sending;
});

test('what was delivered is deleted every second, so that no more than that is delivered again after a crash', async () => {
  const stored: string[][] = [];
  const one = process({
    deliver: async () => {
      stored.push(one.store.messages.map(({ message }) => message.payload));
      nowMs += 600;
    },
  });
  await one.send('a', 'b', 'c');
  assert.equal(stored, [['a', 'b', 'c'], ['a', 'b', 'c'], ['c']]);
  assert.equal(one.store.messages, []);
});

test('what its target knows again is deleted at once where it is much, rather than kept for later', async () => {
  const one = process({ knowsAgain: true, deliver: () => Promise.resolve() });
  await one.send('one');
  assert.is(one.store.messages.length, 1);
  await one.send(...letters(999));
  assert.is(one.store.messages.length, 0);
});

test('what its target knows again and could not be deleted is reported, and delivered again', async () => {
  const received: string[] = [];
  const one = process({ knowsAgain: true, deliver: async ({ payload }) => void received.push(payload) });
  const { remove } = one.outbox;
  one.outbox.remove = () => {
    one.outbox.remove = remove;
    return Promise.reject(new Error('the store is gone'));
  };
  await one.send('a');
  await pass(REMOVAL_MS);
  assert.equal(one.errors, ['the store is gone']);
  one.makeDue();
  await one.coordinator.recover();
  assert.equal([received, one.store.messages], [['a', 'a'], []]);
});

/** A process whose receiver is away while the messages are stored, so that they are left to recovery. */
async function late(count: number, deliver: Deliver): Promise<ReturnType<typeof process>> {
  let isAway = true;
  const one = process({
    deliver: (message) => (isAway ? Promise.reject(new Error('away')) : deliver(message)),
  });
  await one.send(...letters(count));
  isAway = false;
  one.makeDue();
  return one;
}

test('a pass of recovery goes on until nothing is due', async () => {
  const received: string[] = [];
  const one = await late(250, async ({ payload }) => void received.push(payload));
  const report = await one.coordinator.recover();
  assert.is(report.delivered, 250);
  assert.equal(received, letters(250));
});

test('a pass of recovery that delivers for long claims nothing more, so that what is prepared is looked for again', async () => {
  const one = await late(250, async () => void (nowMs += 60));
  const passes: number[] = [];
  for (let pass = 0; pass < 3; pass++) passes.push((await one.coordinator.recover()).delivered);
  assert.equal(passes, [100, 100, 50]);
});

test('where more waits than is looked at, what may wait behind that keeps the order', async () => {
  const received: string[] = [];
  let isAway = true;
  const one = process({
    deliver: async ({ payload }) => {
      if (isAway) throw new Error('away');
      received.push(payload);
    },
  });
  await one.sendTo('elsewhere', letters(1_000));
  await one.send('one');
  isAway = false;
  await one.coordinator.recover();
  await one.send('two');
  assert.equal(received, []);
  // Those that nobody here delivers are gone.
  await one.outbox.drop(await one.outbox.list(1_000), { by: 'an operator', forced: true });
  one.makeDue();
  await one.coordinator.recover();
  await one.send('three');
  assert.equal(received, ['one', 'two', 'three']);
});

test('what is left to recovery stays in order, however much that is', async () => {
  const received: string[] = [];
  let isAway = true;
  const one = process({
    deliver: async ({ payload }) => {
      if (isAway) throw new Error('away');
      received.push(payload);
    },
  });
  await one.send('first');
  isAway = false;
  await one.send(...letters(1_100));
  await one.coordinator.recover();
  assert.equal(received, []);
  one.makeDue();
  await one.coordinator.recover();
  await one.send('last');
  assert.equal(received, ['first', ...letters(1_100), 'last']);
});
