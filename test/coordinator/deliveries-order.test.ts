// Protects the order of messages where the decision store fails along with the one that they are for: what is committed next comes behind all
// that has not been delivered, also where that could not be written down. The simulation has found each of these.
import {
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  type Outbox,
  type OutboxTarget,
  TransactionCoordinator,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('the order of messages');

/** A process whose receiver and whose store can be made to fail. */
function process() {
  const log = new MemoryDecisionLog(new MemoryDecisionStore());
  const received: string[] = [];
  const failing = { receiver: false };
  const target: OutboxTarget = {
    name: 'mail',
    deliver: async ({ payload }) => {
      if (failing.receiver) throw new Error('not now');
      received.push(payload);
    },
  };
  const coordinator = new TransactionCoordinator({
    decisionLog: log,
    recovery: { everyMs: 2_000_000_000 },
    onError: () => undefined,
  });
  const database = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  coordinator.delivers(target);
  const send = (payload: string): Promise<void> =>
    coordinator.run((txn) => {
      txn.join({ ...recording([], 'mails'), outbox: () => [{ target: 'mail', payload }] });
      database.set('key', payload);
    });
  return { outbox: log.outbox, coordinator, received, failing, send };
}

/** Lets calls of the outbox fail, as when the store can't be reached; returns the function that ends that. */
function breakCalls(outbox: Outbox, names: readonly (keyof Outbox)[]): () => void {
  const fail = (): Promise<never> => Promise.reject(new Error('the store is gone'));
  for (const name of names) Object.defineProperty(outbox, name, { value: fail, configurable: true });
  return () => {
    for (const name of names) delete (outbox as Partial<Outbox>)[name];
  };
}

test('a failure that can’t be written down keeps what is committed behind it', async () => {
  const { outbox, received, failing, send } = process();
  failing.receiver = true;
  const mend = breakCalls(outbox, ['failed']);
  await send('one');
  mend();
  failing.receiver = false;
  await send('two');
  assert.equal(received, []);
});

test('what could be neither delivered nor given back is not taken for somebody else’s', async () => {
  const { outbox, coordinator, received, failing, send } = process();
  failing.receiver = true;
  const mend = breakCalls(outbox, ['failed', 'hold']);
  await send('one');
  mend();
  failing.receiver = false;
  // It finds nothing that is due: the claim of the first one hasn't run out.
  await coordinator.recover();
  await send('two');
  assert.equal(received, []);
});

test('a look at what waits from before a failure doesn’t end the order', async () => {
  const { outbox, coordinator, received, failing, send } = process();
  failing.receiver = true;
  await send('one');
  failing.receiver = false;
  await outbox.drop(await outbox.list(1), { by: 'an operator', forced: false });
  const { list } = outbox;
  // Nothing waits, and the answer comes when the next one has failed.
  Object.defineProperty(outbox, 'list', {
    configurable: true,
    value: async (limit: number) => {
      delete (outbox as Partial<Outbox>).list;
      const waiting = await list.call(outbox, limit);
      failing.receiver = true;
      await send('two');
      failing.receiver = false;
      return waiting;
    },
  });
  await coordinator.recover();
  await send('three');
  assert.equal(received, []);
});

test('and goes on when all is delivered', async () => {
  const { outbox, coordinator, received, failing, send } = process();
  failing.receiver = true;
  const mend = breakCalls(outbox, ['failed']);
  await send('one');
  mend();
  failing.receiver = false;
  await send('two');
  await coordinator.recover();
  await send('three');
  assert.equal(received, ['one', 'two', 'three']);
});
