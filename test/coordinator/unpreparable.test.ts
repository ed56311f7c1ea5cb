// Protects a commit over several resources from halves: who can't prepare is refused by name where somebody else can, and the right to decide
// is given back also by whoever closes while it is being asked for.
import { ConfigurationError, MemoryDecisionLog, MemoryStore, TransactionCoordinator } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, turns } from './recording.ts';

const test = suite('who can not prepare');

test('somebody who can only commit in one phase beside one who prepares is refused by name, though there is a decision log', async () => {
  const decisionLog = new MemoryDecisionLog();
  const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
  const bank = new MemoryStore({ name: 'bank', role: 'recoverable', coordinator });
  const calls: string[] = [];
  const work = coordinator.run(
    (txn) => {
      bank.set('key', 'x');
      txn.join(recording(calls, 'ledger', { lastResource: true, changed: true }));
    },
    { attempts: 1 },
  );
  const error = await assert.rejects(work, ConfigurationError);
  assert.match(error.message, "and ledger can't");
  assert.match(error.message, /this transaction has changed .*bank.*, so nothing is committed/);
  assert.is(bank.committed.size, 0);
  assert.not.ok(calls.includes('ledger.tpcFinish'));
  assert.is(decisionLog.store.decisions.size, 0);
  await coordinator.close();
});

test('who has changed nothing is not asked for messages', async () => {
  const decisionLog = new MemoryDecisionLog();
  const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
  const bank = new MemoryStore({ name: 'bank', role: 'recoverable', coordinator });
  const asked: string[] = [];
  const mails = (name: string, changed: boolean) => ({
    ...recording([], name, { changed }),
    outbox: () => {
      asked.push(name);
      return [];
    },
  });
  await coordinator.run((txn) => {
    bank.set('key', 'x');
    txn.join(mails('unchanged', false));
    txn.join(mails('changed', true));
  });
  assert.equal(asked, ['changed']);
  await coordinator.close();
});

test('who closes while the decision store is being opened waits for that, and gives the right to decide back', async () => {
  const decisionLog = new MemoryDecisionLog();
  const opened = gate();
  const { register } = decisionLog;
  decisionLog.register = async (...identity) => {
    await opened.promise;
    return register.apply(decisionLog, identity);
  };
  const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
  const beginning = coordinator.begin().then((txn) => txn.abort());
  let isClosed = false;
  const closing = coordinator.close().then(() => (isClosed = true));
  await Promise.resolve();
  assert.not.ok(isClosed);
  opened.open();
  await beginning.catch(() => undefined);
  await closing;
  assert.equal(await decisionLog.nodes(), []);
});

for (const succeeds of [true, false]) {
  test(`so does who closes while a call of recover() registers the process, where that ${succeeds ? 'succeeds' : 'fails'}`, async () => {
    const decisionLog = new MemoryDecisionLog();
    const answered = gate();
    const asked = gate();
    const { register } = decisionLog;
    decisionLog.register = async (...identity) => {
      asked.open();
      await answered.promise;
      await register.apply(decisionLog, identity);
    };
    const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
    const recovering = coordinator.recover().catch((error: unknown) => error);
    await asked.promise;
    let isClosed = false;
    const closing = coordinator.close().then(() => (isClosed = true));
    await turns(2);
    assert.not.ok(isClosed);
    if (succeeds) answered.open();
    else answered.fail(new Error('the store is away'));
    await closing;
    assert.equal(await decisionLog.nodes(), []);
    const ended = await recovering;
    assert.is(ended instanceof Error, !succeeds);
  });
}
