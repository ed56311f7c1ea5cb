// Protects the votes of those that come behind resources which were asked at once: each vote counts for who gave it, whoever decides by its vote
// is asked when all others have said yes, and what is to be done after the decision is asked for once.
import {
  type DataManager,
  DecisionFailedError,
  type DecisionLog,
  MemoryDecisionLog,
  MemoryStore,
  type RecoverableResource,
  TransactionCoordinator,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { each, gate, recording, turns } from './recording.ts';

const test = suite('votes behind those that were asked at once');

/** Two databases that are asked at once, in a transaction that writes in both. */
function process() {
  const decisionLog = new MemoryDecisionLog();
  const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
  const stores = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const write = (): void => {
    for (const store of stores) store.set('key', 'x');
  };
  return { coordinator, stores, write };
}

for (const async of [false, true]) {
  const answering = async ? 'promises' : 'at once';

  test(`who votes read-only behind two databases is released, and who votes to commit is told to finish (${answering})`, async () => {
    const { coordinator, stores, write } = process();
    const log: string[] = [];
    await coordinator.run((txn) => {
      write();
      txn.join(recording(log, '~reader', { async, vote: 'read-only' }));
      txn.join(recording(log, '~~writer', { async, vote: 'commit' }));
    });
    const both = (step: 'tpcBegin' | 'commit' | 'tpcVote') => each(step, '~reader', '~~writer');
    assert.equal(log, [...both('tpcBegin'), ...both('commit'), ...both('tpcVote'), '~~writer.tpcFinish']);
    assert.equal(
      stores.map(({ committed }) => committed.get('key')),
      ['x', 'x'],
    );
  });

  test(`messages are asked for once, whoever has to be waited for (${answering})`, async () => {
    const { coordinator, write } = process();
    let asked = 0;
    const outbox = () => {
      asked++;
      return [];
    };
    await coordinator.run((txn) => {
      write();
      for (const name of ['~mails', '~~others']) txn.join(recording([], name, { async }));
      txn.join({ ...recording([], '~~~messages', { async }), outbox });
    });
    assert.is(asked, 1);
  });
}

/** A database as far as the coordinator sees it. */
function database(name: string, manager: DataManager): DataManager {
  const recoverable: RecoverableResource = {
    name,
    listPrepared: () => Promise.resolve([]),
    commitPrepared: () => Promise.resolve(),
    rollbackPrepared: () => Promise.resolve(),
  };
  return { ...manager, recoverable };
}

for (const saysYes of [true, false]) {
  const answering = saysYes ? 'yes' : 'no';

  test(`the database that takes the decision along commits once the others have answered, and they say ${answering}`, async () => {
    const log: string[] = [];
    const decisionLog: DecisionLog = new MemoryDecisionLog();
    decisionLog.carries = (manager) => manager.recoverable?.name === 'carrier';
    decisionLog.decideWith = () => Promise.resolve(void log.push('decided'));
    const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
    const [a, b] = [gate(), gate()];
    const no = new Error('no');
    const committing = coordinator.run(
      (txn) => {
        txn.join(database('carrier', recording([], 'carrier', { changed: true })));
        txn.join(database('a', recording(log, 'a', { changed: true, waits: { tpcVote: a.promise } })));
        txn.join(database('b', recording(log, 'b', { changed: true, waits: { tpcVote: b.promise } })));
      },
      { attempts: 1 },
    );
    const ended = committing.then(
      () => 'committed',
      (error: unknown) => error,
    );
    await assert.eventually(() => assert.equal(log.slice(-2), ['a.tpcVote', 'b.tpcVote']));
    a.open();
    await turns(5);
    assert.not.ok(log.includes('decided'));
    if (saysYes) b.open();
    else b.fail(no);
    assert.is(await ended, saysYes ? 'committed' : no);
    assert.is(log.includes('decided'), saysYes);
  });

  test(`the only database that was changed commits once those that were read have answered, and they say ${answering}`, async () => {
    const log: string[] = [];
    const coordinator = new TransactionCoordinator();
    const read = gate();
    const no = new Error('no');
    const ended = coordinator
      .run(
        (txn) => {
          const changed = recording(log, 'changed', { changed: true, onePhase: true });
          txn.join(database('changed', changed));
          txn.join(database('read', recording(log, 'read', { changed: false, waits: { tpcVote: read.promise } })));
        },
        { attempts: 1 },
      )
      .then(
        () => 'committed',
        (error: unknown) => error,
      );
    await assert.eventually(() => assert.is(log.at(-1), 'read.tpcVote'));
    await turns(5);
    assert.not.ok(log.includes('changed.tpcVote'));
    if (saysYes) read.open();
    else read.fail(no);
    assert.is(await ended, saysYes ? 'committed' : no);
    assert.is(log.includes('changed.tpcVote'), saysYes);
  });
}

for (const others of [0, 1]) {
  test(`who takes the decision along with its own commit votes last and is no participant (${others} beside it)`, async () => {
    const calls: string[] = [];
    const recoverable: RecoverableResource = new MemoryStore({ name: 'carrier', role: 'recoverable' });
    const carrier: DataManager = { ...recording(calls, 'a', { changed: true }), recoverable };
    const log = new MemoryDecisionLog();
    const decisionLog: DecisionLog = Object.assign(log, {
      carries: (manager: DataManager) => manager === carrier,
      decideWith: (...[, , decision]: Parameters<NonNullable<DecisionLog['decideWith']>>) => {
        calls.push(`decided for ${decision.participants.length}`);
        return log.decide(decision);
      },
    });
    const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
    const received: string[] = [];
    coordinator.delivers({ name: 'mail', deliver: async ({ payload }) => void received.push(payload) });
    const store = new MemoryStore({ name: 'b', role: 'recoverable', coordinator });
    const txn = await coordinator.run((current) => {
      current.join(carrier);
      if (others === 1) store.set('key', 'x');
      const outbox = () => [{ target: 'mail', payload: 'hello' }];
      current.join({ ...recording(calls, 'mails', { changed: true }), outbox });
      return current;
    });
    assert.is(txn.outcome!.way, others === 0 ? 'one-phase' : 'last-resource');
    assert.equal(
      calls.filter((call) => /tpcVote|decided/.test(call)),
      ['mails.tpcVote', `decided for ${others}`],
    );
    assert.equal(received, ['hello']);
    await coordinator.close();
  });
}

test('whose own commit should have taken the decision along, and was refused by its database, says why in its words', async () => {
  const refusal = new Error('duplicate key');
  const recoverable: RecoverableResource = new MemoryStore({ name: 'carrier', role: 'recoverable' });
  const carrier: DataManager = { ...recording([], 'a', { changed: true }), recoverable };
  const decisionLog: DecisionLog = Object.assign(new MemoryDecisionLog(), {
    carries: (manager: DataManager) => manager === carrier,
    decideWith: () => Promise.reject(new DecisionFailedError('it could not be written', { cause: refusal })),
  });
  const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog, recovery: false });
  const store = new MemoryStore({ name: 'b', role: 'recoverable', coordinator });
  const work = coordinator.run((txn) => {
    txn.join(carrier);
    store.set('key', 'x');
  });
  assert.is(await assert.rejects(work), refusal);
  assert.is(store.committed.size, 0);
  assert.equal(await store.listPrepared(), []);
  await coordinator.close();
});
