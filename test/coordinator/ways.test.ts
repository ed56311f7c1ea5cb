// Protects the choice of a commit's way where mistakes would show only after a crash: who counts as able to prepare, who is a participant of the
// decision, whose messages are stored with it, and in which order many are called.
import {
  ConfigurationError,
  type DataManager,
  type DecisionLog,
  MemoryDecisionLog,
  MemoryStore,
  type RecoverableResource,
  TooManyLastResourcesError,
  TransactionCoordinator,
  TransactionManager,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { type Recipe, each, recording } from './recording.ts';

const test = suite('ways of a commit');

/** A process with one database that can prepare, and what it writes down with each decision, where it can. */
function process(decides = true) {
  const log: DecisionLog & MemoryDecisionLog = new MemoryDecisionLog();
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    ...(decides ? { decisionLog: log, recovery: false } : {}),
  });
  const decisions: unknown[] = [];
  const { decide } = log;
  log.decide = (decision) => {
    decisions.push([decision.participants, decision.messages?.map(({ payload }) => payload)]);
    return decide.call(log, decision);
  };
  const sent: string[] = [];
  coordinator.delivers({ name: 'mail', deliver: async ({ payload }) => void sent.push(payload) });
  const bank = new MemoryStore<string, string>({ name: 'bank', role: 'recoverable', coordinator });
  return { log, coordinator, decisions, sent, bank };
}

/** A data manager that can be found again after a crash. */
function database(calls: string[], name: string, recipe: Recipe): DataManager {
  const recoverable: RecoverableResource = {
    name,
    listPrepared: () => Promise.resolve([]),
    commitPrepared: () => Promise.resolve(),
    rollbackPrepared: () => Promise.resolve(),
  };
  return { ...recording(calls, name, recipe), recoverable };
}

const mails = (calls: string[], payloads: readonly string[] | undefined): DataManager => ({
  ...recording(calls, 'mails'),
  outbox: () => payloads?.map((payload) => ({ target: 'mail', payload })),
});

test('zope 65: of a hundred data managers, each is called in the order of its sort key, and those with the same in the order of joining', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  const names = Array.from({ length: 100 }, (_, index) => `${(index * 37) % 10}-${String(index).padStart(2, '0')}`);
  for (const name of names) txn.join(recording(log, name, { sortKey: name[0]! }));
  await txn.commit();
  // The names are sorted by key, then by the number of joining.
  assert.equal(
    log.filter((call) => call.endsWith('.tpcVote')),
    each('tpcVote', ...names.toSorted()),
  );
});

for (const decides of [true, false]) {
  for (const changed of [true, undefined]) {
    const when = `${changed === true ? 'has changes' : 'doesn’t say whether it has changes'}, with${decides ? '' : 'out'} a decision log`;
    test(`who can only commit in one phase is refused beside one that prepares, before anyone votes: it ${when}`, async () => {
      const { coordinator, bank, decisions } = process(decides);
      const calls: string[] = [];
      const work = coordinator.run(
        (txn) => {
          bank.set('key', 'x');
          txn.join(recording(calls, 'ledger', { lastResource: true, ...(changed === true ? { changed } : {}) }));
          txn.join(recording(calls, 'plain'));
        },
        { attempts: 1 },
      );
      const error = await assert.rejects(work, ConfigurationError);
      const what = decides ? "and ledger can't" : 'needs a place to write the decision down';
      assert.match(error.message, what);
      assert.match(error.message, 'has changed ledger and bank, so nothing is committed');
      assert.match(error.message, '(allowUnsafeCommit: true of the coordinator takes that risk)');
      assert.equal([error.phase, calls.includes('ledger.tpcVote'), bank.committed.size], ['tpcVote', false, 0]);
      assert.equal([await bank.listPrepared(), decisions], [[], []]);
      await coordinator.close();
    });
  }
}

test('one that has not changed, or doesn’t say so, is no participant of the decision', async () => {
  const { coordinator, bank, decisions } = process();
  const other = new MemoryStore<string, string>({ name: 'other', role: 'recoverable', coordinator });
  await coordinator.run((txn) => {
    bank.set('key', 'x');
    other.set('key', 'x');
    txn.join(database([], 'unchanged', { changed: false }));
    txn.join(database([], 'silent', {}));
    txn.join(recording([], 'plain', { changed: true }));
  });
  assert.equal(decisions, [[['bank', 'other'], []]]);
  await coordinator.close();
});

test('the decision store’s own database may be one that can only commit in one phase, as the decision goes with its commit', async () => {
  const { coordinator, log, bank, decisions } = process();
  const calls: string[] = [];
  const carrier = recording(calls, 'carrier', { lastResource: true, changed: true });
  log.carries = (manager) => manager === carrier;
  log.decideWith = (_carrier, _txn, decision) => log.decide(decision);
  const txn = await coordinator.run((current) => {
    current.join(carrier);
    bank.set('key', 'x');
    return current;
  });
  assert.equal([txn.way, decisions, bank.committed.get('key')], ['last-resource', [[['bank'], []]], 'x']);
  await coordinator.close();
});

test('two that can only commit in one phase are refused beside the decision store as well, by name', async () => {
  const { coordinator } = process();
  const calls: string[] = [];
  const work = coordinator.run((txn) => {
    for (const name of ['one', 'two']) txn.join(recording(calls, name, { lastResource: true, changed: true }));
  });
  const error = await assert.rejects(work, TooManyLastResourcesError);
  assert.match(error.message, 'one and two can only commit in one phase');
  assert.equal([error.phase, typeof error.xid], ['tpcVote', 'string']);
  assert.not.ok(calls.includes('one.tpcVote'));
  await coordinator.close();
});

test('zope 140: those that are allowed to commit one after the other are told that their vote is their commit', async () => {
  const manager = new TransactionManager({ allowUnsafeLastResources: true });
  const txn = await manager.begin();
  for (const name of ['a', 'b']) txn.join(recording([], name, { lastResource: true, changed: true }));
  await txn.commit();
  assert.equal(txn.outcome, { result: 'committed', way: 'last-resource' });
});

const beside: [string, (calls: string[]) => DataManager][] = [
  ['a database that was only read', (calls) => database(calls, 'a', { changed: false })],
  ['a database that doesn’t say whether it has changes', (calls) => database(calls, 'a', {})],
  ['changes that nobody could find again', (calls) => recording(calls, 'a', { changed: true })],
];
for (const [what, make] of beside) {
  test(`beside ${what} nothing is decided, so messages are not stored but sent by whoever has them`, async () => {
    const { coordinator, decisions, sent } = process();
    const calls: string[] = [];
    const mail = mails(calls, ['hello']);
    const txn = await coordinator.run((current) => {
      current.join(make(calls));
      current.join(mail);
      return current;
    });
    assert.equal([txn.isStored(mail), decisions, sent], [false, [], []]);
    assert.ok(calls.includes('mails.tpcFinish'));
    await coordinator.close();
  });
}

test('who hands over no messages, or none this time, does what it does by itself', async () => {
  for (const payloads of [undefined, []]) {
    const { coordinator, bank, decisions } = process();
    const mail = mails([], payloads);
    const txn = await coordinator.run((current) => {
      current.join(mail);
      bank.set('key', 'x');
      return current;
    });
    assert.equal([txn.isStored(mail), txn.way, decisions], [false, 'one-phase', []]);
    await coordinator.close();
  }
});

test('what is stored with a decision is what was handed over, by each in its turn', async () => {
  const { coordinator, bank, decisions, sent } = process();
  await coordinator.run((txn) => {
    txn.join({ ...mails([], ['three']), sortKey: 'z' });
    txn.join(mails([], ['one', 'two']));
    bank.set('key', 'x');
  });
  assert.equal(decisions, [[['bank'], ['one', 'two', 'three']]]);
  assert.equal(sent, ['one', 'two', 'three']);
  await coordinator.close();
});
