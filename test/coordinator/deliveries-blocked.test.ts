// Protects the moment from which messages are delivered right after their commit again, once one before them has failed: not while anything of
// this process may wait before them, and not later than that for what belongs to others, is dead, or is for somebody else.
import {
  type ListedMessage,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  type OutboxTarget,
  TransactionCoordinator,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, recording } from './recording.ts';

const test = suite('messages behind one that has failed');

const original = { ...environment };
/** Time passes where a test says so. */
let laterMs = 0;
test.before.each(() => {
  laterMs = 0;
  const startMs = Math.ceil(original.now());
  environment.now = () => startMs + laterMs;
  environment.random = () => 0;
});
test.after.each(() => void Object.assign(environment, original));

interface Options {
  readonly deliveryAttempts?: number;
  /** What the target of mails has besides. */
  readonly mail?: Partial<OutboxTarget>;
}

/** A process that sends messages in the same transaction as it writes to a database. */
async function process({ deliveryAttempts = 20, mail = {} }: Options = {}) {
  const store = new MemoryDecisionStore();
  const log = new MemoryDecisionLog(store);
  const errors: Error[] = [];
  // The pass that runs by itself is over before anything is sent.
  const begun = gate();
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: { everyMs: 2_000_000_000, deliveryAttempts, onPass: () => begun.open() },
    onError: (error) => void errors.push(error),
  });
  const received: string[] = [];
  /** What can't be delivered now. */
  const failing = new Set<string>();
  const deliver: OutboxTarget['deliver'] = async ({ payload }) => {
    if (failing.has(payload)) throw new Error(`no ${payload}`);
    received.push(payload);
  };
  coordinator.delivers({ name: 'mail', deliver, ...mail });
  coordinator.delivers({ name: 'text', deliver });
  const database = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  const send = (...messages: string[]): Promise<void> =>
    coordinator.run((txn) => {
      const outbox = () => messages.map((payload) => ({ target: payload.split(' ')[0]!, payload }));
      txn.join({ ...recording([], 'messages'), outbox });
      database.set('key', messages);
    });
  await begun.promise;
  return { log, outbox: log.outbox, store, coordinator, errors, received, failing, send };
}

type Process = Awaited<ReturnType<typeof process>>;

/** One whose first mail has failed and was dropped by an operator, so that nothing of its own waits any more. */
async function blocked(one: Process): Promise<void> {
  one.failing.add('mail 1');
  await one.send('mail 1');
  await one.send('mail 2');
  assert.equal(one.received, []);
  await one.outbox.drop(await one.outbox.list(10), { by: 'an operator', forced: false });
}

/** Whether a mail that is committed now is delivered at once. */
async function delivers(one: Process): Promise<boolean> {
  const { length } = one.received;
  await one.send('mail now');
  return one.received.length > length;
}

test('without a pass of recovery it goes on being left to that; after one that finds nothing it is delivered at once', async () => {
  const one = await process();
  await blocked(one);
  assert.is(await delivers(one), false);
  await one.outbox.drop(await one.outbox.list(10), { by: 'an operator', forced: false });
  await one.coordinator.recover();
  assert.is(await delivers(one), true);
});

/** What waits as somebody else may have left it. */
const waits = (about: Partial<ListedMessage>): ListedMessage => ({
  gid: 'shop:store:other:1',
  sequence: 1,
  target: 'mail',
  payload: 'p',
  attempts: 0,
  isDead: false,
  createdAt: new Date(),
  ageMs: 1,
  dueInMs: 20_000,
  ...about,
});

const others: [string, Partial<ListedMessage>, boolean][] = [
  ['one that another process delivers right now', {}, true],
  ['one that has failed', { attempts: 1 }, false],
  ['one that has failed, and is due', { attempts: 1, dueInMs: 0 }, false],
  ['one that is due, and nobody has tried yet', { dueInMs: 0 }, false],
  ['a dead one', { attempts: 20, isDead: true, dueInMs: 0 }, true],
  ['one that has failed, for another target', { attempts: 1, target: 'text' }, true],
  ['one that has failed, of another application', { attempts: 1, gid: 'other:store:other:1' }, true],
];
for (const [what, about, isFree] of others) {
  test(`${what} ${isFree ? 'keeps nothing' : 'keeps what is committed behind it'}`, async () => {
    const one = await process();
    await blocked(one);
    const { list } = one.outbox;
    const identity = one.store.identity;
    const found = waits(about);
    one.outbox.list = async () => [{ ...found, gid: found.gid.replace('store', identity) }];
    await one.coordinator.recover();
    one.outbox.list = list;
    assert.is(await delivers(one), isFree);
  });
}

test('one of its own that nobody has tried, and that could not be given back, keeps what is committed behind it, though the one before is dead', async () => {
  const one = await process({ deliveryAttempts: 1 });
  one.failing.add('mail 1');
  const { hold } = one.outbox;
  one.outbox.hold = () => Promise.reject(new Error('the store is away'));
  await one.send('mail 1', 'mail 2');
  one.outbox.hold = hold;
  assert.equal(one.errors.map(({ message }) => message).slice(-1), ['the store is away'], 'it is told');
  await one.coordinator.recover();
  const waiting = await one.outbox.list(10);
  assert.equal(
    waiting.map(({ payload, isDead, dueInMs }) => [payload, isDead, dueInMs > 0]),
    [
      ['mail 1', true, false],
      ['mail 2', false, true],
    ],
  );
  assert.is(await delivers(one), false);
  laterMs = 30_000;
  await one.coordinator.recover();
  assert.equal(one.received, ['mail 2', 'mail now']);
});

test('who could not delete what was delivered last keeps nothing: all of it is through', async () => {
  const one = await process();
  const { remove } = one.outbox;
  one.outbox.remove = () => Promise.reject(new Error('the store is away'));
  await one.send('mail 1');
  one.outbox.remove = remove;
  assert.equal(one.received, ['mail 1']);
  assert.is(await delivers(one), true);
});

test('a target whose order doesn’t matter is kept by nothing, also where its failure can’t be written down', async () => {
  const one = await process({ mail: { anyOrder: true } });
  const { failed } = one.outbox;
  one.outbox.failed = () => Promise.reject(new Error('the store is away'));
  one.failing.add('mail 1');
  await one.send('mail 1');
  one.outbox.failed = failed;
  assert.is(await delivers(one), true);
});

test('and recovery delivers of such a target what is due, though one before it has to wait', async () => {
  for (const anyOrder of [true, false]) {
    const one = await process({ mail: { anyOrder } });
    one.failing.add('mail 1');
    await one.send('mail 1');
    // What a process has left that was killed right then.
    one.outbox.store('shop:' + one.store.identity + ':dead:1', [{ target: 'mail', payload: 'mail 2' }]);
    one.store.messages[1]!.dueMs = 0;
    const { delivered } = await one.coordinator.recover();
    assert.equal([delivered, one.received], anyOrder ? [1, ['mail 2']] : [0, []]);
  }
});

test('what has failed rests before it is tried again, longer each time, also where others wait behind it', async () => {
  const one = await process({ deliveryAttempts: 12 });
  environment.random = () => 0.5;
  const rests: (number | undefined)[] = [];
  const { failed } = one.outbox;
  one.outbox.failed = (message, error, retryInMs) => {
    rests.push(retryInMs);
    return failed.call(one.outbox, message, error, retryInMs);
  };
  one.failing.add('mail 1');
  await one.send('mail 1', 'mail 2');
  await one.coordinator.recover();
  assert.is(rests.length, 1, 'it is not due yet');
  while (rests.at(-1) !== undefined) {
    laterMs += rests.at(-1)!;
    await one.coordinator.recover();
  }
  // An eighth is left out, by chance: half of what may be.
  const seconds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600];
  assert.equal(rests, [...seconds.map((each) => each * 875), undefined]);
  await one.coordinator.recover();
  assert.equal(one.received, ['mail 2']);
});
