// Protects what happens before a decision store is there, or where it can't be reached: whoever can do without it does, and what was made known
// early is known.
import { type DataManager, MemoryDecisionLog, MemoryStore, TransactionCoordinator } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('before the decision store');

/** A data manager that sends a mail: by the outbox, or by itself. */
function mails(log: string[]): DataManager {
  return { ...recording(log, 'mails'), outbox: () => [{ target: 'mail', payload: 'hello' }] };
}

test('whoever was made known to deliver before there was a decision log delivers with it', async () => {
  const coordinator = new TransactionCoordinator();
  const received: string[] = [];
  coordinator.delivers({ name: 'mail', deliver: async ({ payload }) => void received.push(payload) });
  coordinator.configure({ decisionLog: new MemoryDecisionLog(), recovery: false });
  const store = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  await coordinator.run((txn) => {
    store.set('key', 'x');
    txn.join(mails([]));
  });
  assert.equal(received, ['hello']);
  await coordinator.close();
});

test('where the decision store can’t be reached, what could be stored there is done by itself beside one database', async () => {
  const decisionLog = new MemoryDecisionLog();
  decisionLog.open = () => Promise.reject(new Error('the store is away'));
  const coordinator = new TransactionCoordinator({ decisionLog, recovery: false });
  const received: string[] = [];
  coordinator.delivers({ name: 'mail', deliver: async ({ payload }) => void received.push(payload) });
  const store = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  const log: string[] = [];
  const txn = await coordinator.run((current) => {
    store.set('key', 'x');
    current.join(mails(log));
    return current;
  });
  assert.is(txn.status, 'committed');
  assert.is(store.committed.get('key'), 'x');
  assert.equal([received, log.includes('mails.tpcFinish')], [[], true]);
  await coordinator.close();
});
