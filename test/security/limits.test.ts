// Protects from what is far more than anybody means: thousands of participants, savepoints, hooks, contexts and nested runs come to their end,
// nothing is left open afterwards, and what is too much is an error that rolls back.
import {
  ConfigurationError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  TransactionCoordinator,
  outboxed,
} from 'unanimous';
import { recording } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('limits', { timeoutMs: 60_000 });
const MANY = 10_000;
const nothing = (): void => undefined;
const coordinator = new TransactionCoordinator();
test.after.each(() => assert.equal(coordinator.inspect().transactions, []));

test('10,000 participants all commit, in the order of their keys; one that says no undoes all', async () => {
  const join = (log: string[], fails: boolean): Promise<void> =>
    coordinator.run(
      (txn) => {
        for (let number = MANY; number-- > 0;) {
          const name = String(number).padStart(5, '0');
          txn.join(recording(log, name, fails && number === MANY - 1 ? { fails: { tpcVote: new Error('no') } } : {}));
        }
      },
      { attempts: 1 },
    );
  const log: string[] = [];
  await join(log, false);
  const finished = log.filter((line) => line.endsWith('.tpcFinish'));
  assert.is(finished.length, MANY);
  assert.equal(finished, finished.toSorted());
  const undone: string[] = [];
  await assert.rejects(join(undone, true), { message: 'no' });
  assert.is(undone.filter((line) => line.endsWith('.tpcAbort')).length, MANY);
  assert.is(undone.filter((line) => line.endsWith('.tpcFinish')).length, 0);
});

test('10,000 savepoints can be made, and the first be returned to', async () => {
  const log: string[] = [];
  await coordinator.run(async (txn) => {
    txn.join(recording(log, 'a', { savepoints: true }));
    const first = await txn.savepoint();
    for (let count = 1; count < MANY; count++) await txn.savepoint();
    await first.rollback();
  });
  assert.is(log.filter((line) => line === 'a.savepoint').length, MANY);
  assert.is(log.filter((line) => line === 'a.rollback').length, 1);
});

test('participants that join between savepoints, hundreds of each, are told apart: who joined later leaves', async () => {
  const log: string[] = [];
  await coordinator.run(async (txn) => {
    const savepoints = [];
    for (let count = 0; count < 600; count++) {
      savepoints.push(await txn.savepoint());
      txn.join(recording(log, `p${count}`, { savepoints: true }));
    }
    // They leave, join again, and leave again.
    await savepoints[599]!.rollback();
    await savepoints[500]!.rollback();
    assert.is(txn.resources.length, 500);
    const again = recording(log, 'again', { savepoints: true });
    for (let round = 0; round < 3; round++) {
      txn.join(again);
      await savepoints[500]!.rollback();
    }
    assert.is(txn.resources.length, 500);
    await savepoints[0]!.rollback();
    assert.is(txn.resources.length, 0);
  });
  assert.is(log.filter((line) => line === 'again.abort').length, 3);
  assert.equal(
    log.filter((line) => line.endsWith('.tpcFinish')),
    [],
  );
});

test('100,000 hooks are called, and 10,000 that fail change no outcome', async () => {
  let called = 0;
  let reported = 0;
  const own = new TransactionCoordinator({ onError: () => void reported++ });
  const txn = await own.run((current) => {
    for (let count = 0; count < 10 * MANY; count++) current.addBeforeCommitHook(() => void called++);
    for (let count = 0; count < MANY; count++) {
      current.addAfterCommitHook(() => {
        throw new Error('too late');
      });
    }
    return current;
  });
  assert.equal([called, reported, txn.status], [10 * MANY, MANY, 'committed']);
});

test('10,000 contexts at once each have their own transaction', async () => {
  let waiting = 0;
  let open: () => void = nothing;
  const all = new Promise<void>((resolve) => (open = resolve));
  const ids = await Promise.all(
    Array.from({ length: MANY }, () =>
      coordinator.run(async (txn) => {
        if (++waiting === MANY) open();
        await all;
        assert.is(coordinator.get(), txn);
        return txn.id;
      }),
    ),
  );
  assert.is(new Set(ids).size, MANY);
});

test('runs are nested 10,000 deep where each waits for something, and too deep a recursion rolls back', async () => {
  let log: string[] = [];
  const deep = (depth: number, propagation: 'required' | 'requires-new' | 'nested'): Promise<number> =>
    coordinator.run(
      async (txn) => {
        await Promise.resolve();
        if (propagation === 'nested' && depth === MANY) txn.join(recording(log, 'a', { savepoints: true }));
        return depth === 0 ? 1 : deep(depth - 1, propagation);
      },
      { propagation },
    );
  for (const propagation of ['required', 'requires-new', 'nested'] as const)
    assert.is(await deep(MANY, propagation), 1);
  assert.is(log.filter((line) => line === 'a.savepoint').length, MANY);
  log = [];
  const endless = (): Promise<number> => coordinator.run(() => endless());
  const outer = coordinator.run((txn) => {
    txn.join(recording(log, 'a'));
    return endless();
  });
  // What Node.js says of it, for each frame that it can't run.
  await assert.rejects(outer, RangeError);
  assert.equal([log.includes('a.abort'), log.includes('a.tpcFinish')], [true, false]);
});

test('a payload that is too deep is refused before the stack or the memory is full, however it is made', async () => {
  const call = outboxed<unknown>('deep', nothing, { coordinator });
  const deep: unknown = JSON.parse(`${'['.repeat(5_000)}${']'.repeat(5_000)}`);
  let object: unknown = {};
  for (let count = 0; count < 1_000_000; count++) object = { object };
  for (const payload of [deep, object]) {
    const refused = await assert.rejects(
      coordinator.run(() => call(payload)),
      ConfigurationError,
    );
    assert.match(refused.message, '500 deep in others');
    assert.ok(refused.message.length < 500);
  }
  const cycle: unknown[] = [];
  cycle.push({ cycle });
  await assert.rejects(
    coordinator.run(() => call(cycle)),
    ConfigurationError,
  );
  await coordinator.run(() => call({ twice: [cycle.length, cycle.length], 'a\nb': [[1], [1]] }));
});

for (const tells of [true, false]) {
  const how = tells ? 'a store that tells applications apart' : 'one that does not';
  test(`${how}: decisions of others at the head of a long list keep nobody from deleting theirs`, async () => {
    const store = new MemoryDecisionStore();
    const log = new MemoryDecisionLog(store);
    if (!tells) log.decisions = async (limit) => [...store.decisions.values()].slice(0, limit);
    const identity = await log.open();
    const add = (app: string, count: number): void => {
      for (let number = 0; number < count; number++) {
        const gid = `${app}:${identity}:${'0'.repeat(20)}:${number.toString(36)}`;
        store.decisions.set(gid, {
          gid,
          incarnation: '0'.repeat(20),
          participants: ['a'],
          outcome: 'committed',
          createdAt: new Date(number),
        });
      }
    };
    add('other', 5_000);
    add('shop', 5_000);
    const resource = {
      name: 'a',
      listPrepared: async () => [],
      commitPrepared: async () => undefined,
      rollbackPrepared: async () => undefined,
    };
    const own = new TransactionCoordinator({
      app: 'shop',
      decisionLog: log,
      recovery: { everyMs: 1_000_000, resources: [resource] },
    });
    const left = (app: string): number => [...store.decisions.keys()].filter((gid) => gid.startsWith(app)).length;
    for (let pass = 0; pass < 8 && left('shop') > 0; pass++) await own.recover();
    assert.equal([left('other'), left('shop')], [5_000, 0]);
    await own.close();
  });
}
