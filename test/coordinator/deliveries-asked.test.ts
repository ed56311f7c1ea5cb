// Protects the outbox from what it need not be asked, what is kept of a failure and told of it, and that what was delivered is deleted, once.
import {
  MemoryDecisionLog,
  MemoryStore,
  type OutboxTarget,
  type TransactionError,
  TransactionCoordinator,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('what an outbox is asked');

const REMOVAL_MS = 500;

const original = { ...environment };
let removals: { readonly callback: () => void; readonly referenced: boolean }[] = [];
test.before.each(() => {
  removals = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    if (delayMs !== REMOVAL_MS) return original.setTimer(callback, delayMs, referenced);
    const timer = { callback, referenced };
    removals.push(timer);
    return timer;
  };
  environment.clearTimer = (timer) => {
    if (removals.includes(timer as never)) removals = removals.filter((other) => other !== timer);
    else original.clearTimer(timer);
  };
});
test.after.each(() => void Object.assign(environment, original));

/** A process over one database, whose recovery runs when the test says so, and what it asks its outbox. */
function process(targets: readonly OutboxTarget[]) {
  const log = new MemoryDecisionLog();
  const { outbox } = log;
  const calls: string[] = [];
  for (const name of ['claim', 'hold', 'remove', 'failed', 'list'] as const) {
    const call = outbox[name].bind(outbox) as (...given: unknown[]) => Promise<never>;
    Object.assign(outbox, {
      [name]: (...given: unknown[]) => {
        const [about] = given;
        const payloads = Array.isArray(about)
          ? about.map((key) => payloadOf(key))
          : name === 'failed'
            ? [payloadOf(about)]
            : [];
        calls.push([name, ...payloads].join(' '));
        return call(...given);
      },
    });
  }
  const payloadOf = (key: unknown): string => {
    const { gid, sequence } = key as { gid: string; sequence: number };
    const found = log.store.messages.find(({ message }) => message.gid === gid && message.sequence === sequence);
    return found?.message.payload ?? 'nothing';
  };
  const errors: TransactionError[] = [];
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: false,
    onError: (error) => void errors.push(error as TransactionError),
  });
  for (const target of targets) coordinator.delivers(target);
  const database = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  /** Each goes to the target with its first letter. */
  const send = (...payloads: string[]): Promise<string> =>
    coordinator.run((txn) => {
      txn.join({
        ...recording([], 'messages'),
        outbox: () => payloads.map((payload) => ({ target: payload[0]!, payload })),
      });
      database.set('key', payloads);
      return txn.id;
    });
  const makeDue = (): void => {
    for (const waiting of log.store.messages) waiting.dueMs = 0;
  };
  const asked = (): string[] => calls.splice(0);
  return { log, outbox, coordinator, errors, send, makeDue, asked };
}

/** A target that fails for these payloads. */
function target(name: string, failing: Set<string> = new Set(), more: Partial<OutboxTarget> = {}) {
  const received: string[] = [];
  const deliver: OutboxTarget['deliver'] = async ({ payload }) => {
    if (failing.has(payload)) throw new Error(`no ${payload}`);
    received.push(payload);
  };
  return { name, deliver, received, ...more };
}

test('who delivers nothing claims nothing', async () => {
  const one = process([]);
  await one.coordinator.recover();
  assert.equal(one.asked(), []);
  await one.coordinator.close();
});

test('what goes well is deleted, and nothing else is asked; a pass that finds nothing claims once', async () => {
  const one = process([target('a'), target('b')]);
  await one.send('a1', 'b1', 'a2');
  assert.equal(one.asked().toSorted(), ['remove a1 a2', 'remove b1']);
  await one.coordinator.recover();
  assert.equal(one.asked(), ['claim']);
  await one.coordinator.close();
  assert.equal(one.asked(), []);
});

test('what fails is written down, what is behind it given back, and what others have is not touched', async () => {
  const failing = new Set(['a2']);
  const one = process([target('a', failing), target('b')]);
  await one.send('a1', 'a2', 'a3', 'b1');
  const asked = one.asked();
  assert.equal(asked.filter((call) => call.includes('a')).toSorted(), ['failed a2', 'hold a3', 'remove a1']);
  assert.equal(
    asked.filter((call) => call.endsWith('b1')),
    ['remove b1'],
  );
  // While it waits, what comes behind it is left to recovery; the other target is asked nothing more.
  await one.send('b2');
  assert.equal(one.asked(), ['remove b2']);
  await one.send('a4');
  assert.equal(one.asked(), ['hold a4']);
  failing.clear();
  one.makeDue();
  assert.is((await one.coordinator.recover()).delivered, 3);
  assert.equal(one.asked(), ['claim', 'remove a2 a3 a4', 'list']);
  await one.coordinator.recover();
  assert.equal(one.asked(), ['claim']);
  await one.coordinator.close();
});

test('a pass of recovery says how much it has delivered, to all targets together', async () => {
  const [a, b] = [target('a'), target('b')];
  const one = process([a, b]);
  for (const payloads of [['a1', 'a2'], ['b1']]) {
    one.outbox.store(
      `shop:${one.log.store.identity}:dead:${payloads.length}`,
      payloads.map((payload) => ({ target: payload[0]!, payload })),
    );
  }
  one.makeDue();
  assert.is((await one.coordinator.recover()).delivered, 3);
  assert.equal([a.received, b.received], [['a1', 'a2'], ['b1']]);
  await one.coordinator.close();
});

test('what its target knows again is deleted by a timer that keeps no process alive, or by whoever closes; by recovery at once', async () => {
  const one = process([target('a', new Set(), { knowsAgain: true })]);
  await one.send('a1');
  await one.send('a2');
  // The decisions have a timer of the same delay.
  assert.equal([one.asked(), removals.map(({ referenced }) => referenced)], [[], [false, false]]);
  await one.coordinator.close();
  assert.equal([one.asked(), removals], [['remove a1 a2'], []]);
  const other = process([target('a', new Set(), { knowsAgain: true })]);
  other.outbox.store(`shop:${other.log.store.identity}:dead:1`, [{ target: 'a', payload: 'a3' }]);
  other.makeDue();
  await other.coordinator.recover();
  assert.equal([other.asked(), removals], [['claim', 'remove a3'], []]);
  await other.coordinator.close();
});

test('a failure is kept in a form that any store can hold, and told with its message, target and transaction', async () => {
  const why = `a\0b\uD800c${'d'.repeat(3_000)}`;
  const error = new Error(why);
  const one = process([{ name: 'a', deliver: () => Promise.reject(error) }]);
  const gid = await one.send('a1');
  assert.is(one.log.store.messages[0]!.message.error, `a\uFFFDb\uFFFDc${'d'.repeat(1_995)}`);
  const [told] = one.errors;
  assert.match(told!.message, `message 1 of transaction ${gid} to 'a' was not (`);
  assert.equal([told!.cause === error, told!.xid, told!.resource], [true, gid, 'a']);
  await one.coordinator.close();
});

test('whoever waits for its messages is told that they are left to recovery, for which target and transaction', async () => {
  const postponed: [string, TransactionError][] = [];
  const failing = new Set(['a1']);
  const listening: Partial<OutboxTarget> = {
    postponed: (gid, reason) => void postponed.push([gid, reason as TransactionError]),
  };
  const one = process([target('a', failing, listening), target('b', failing, listening)]);
  await one.send('a1');
  assert.equal(postponed, []);
  const gid = await one.send('a2', 'b1', 'a3');
  assert.equal(
    postponed.map(([id, { message, xid, resource }]) => [
      id,
      message.includes(`those of transaction ${gid}`),
      xid,
      resource,
    ]),
    [[gid, true, gid, 'a']],
  );
  await one.coordinator.close();
});

test('what can’t be given back is told', async () => {
  const one = process([target('a', new Set(['a1']))]);
  await one.send('a1');
  assert.equal(one.asked(), ['failed a1']);
  one.errors.length = 0;
  const away = new Error('the store is away');
  one.outbox.hold = () => Promise.reject(away);
  await one.send('a2');
  assert.equal(one.errors, [away]);
  await one.coordinator.close();
});
