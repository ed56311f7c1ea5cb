// When a sandbox opens and ends, and who is refused: without a database.
import {
  ConfigurationError,
  type DataManager,
  MemoryDecisionLog,
  MemoryStore,
  type Transaction,
  TransactionClosed,
  TransactionCoordinator,
  outboxed,
} from 'unanimous';
import { RecordingDataManager, rollback, rollbackPerTest } from 'unanimous/testing';
import { assert, suite } from '../../../support/suite.ts';
import { says } from '../../sql/helpers.ts';

const test = suite('when a sandbox opens and ends');
const coordinator = new TransactionCoordinator();
const store = new MemoryStore<string, number>({ coordinator });
const set = (value: number): Promise<void> => coordinator.run(() => store.set('n', value));
const ONE = says(/a coordinator has one sandbox at a time/);

test.before(() => set(0));
test.after.each(() => {
  assert.is(store.committed.get('n'), 0, 'nothing is left');
  assert.is(coordinator.sandbox, undefined, 'no sandbox is open');
});

test('it holds from begin to end, in whatever context a transaction begins; afterwards transactions are for good', async () => {
  const sandbox = rollbackPerTest({ coordinator });
  assert.is(sandbox.isOpen, false);
  await coordinator.context(() => sandbox.begin());
  assert.is(sandbox.isOpen, true);
  await set(1);
  await coordinator.context(() => set(2));
  assert.is(store.committed.get('n'), 2);
  await coordinator.context(() => sandbox.end());
  assert.is(sandbox.isOpen, false);
  assert.is(store.committed.get('n'), 0);
  await set(3);
  assert.is(store.committed.get('n'), 3);
  await set(0);
});

test('begin is refused while it is open, and then only the last end closes it: nobody is left without', async () => {
  const sandbox = rollbackPerTest({ coordinator });
  const begun = await Promise.allSettled([sandbox.begin(), sandbox.begin(), sandbox.begin()]);
  assert.equal(
    begun.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  );
  assert.ok(ONE((begun[1] as PromiseRejectedResult).reason));
  await sandbox.end();
  await sandbox.end();
  assert.is(sandbox.isOpen, true);
  await set(1);
  await sandbox.end();
  assert.is(sandbox.isOpen, false);
  await sandbox.end();
});

test('another one on the same coordinator is refused and its end closes nothing; on another coordinator it opens', async () => {
  await rollback(
    async () => {
      const other = rollbackPerTest({ coordinator });
      await assert.rejects(other.begin(), ONE);
      await other.end();
      await assert.rejects(
        rollback(() => undefined, { coordinator }),
        ONE,
      );
      await rollback(() => undefined, { coordinator: new TransactionCoordinator() });
      await set(1);
    },
    { coordinator },
  );
});

test('it isn’t opened while a transaction is, which would be outside of it', async () => {
  await coordinator.run(async () => {
    await assert.rejects(
      rollback(() => undefined, { coordinator }),
      says(/opens while no transaction is open, .* 1 are/),
    );
  });
});

test('work that outlives the function which it was started in begins no transaction, in this sandbox’s time or in another’s', async () => {
  let go!: () => void;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  let late!: Promise<unknown>;
  await rollback(
    () => {
      late = gate.then(() => set(1));
    },
    { coordinator },
  );
  late.catch(() => undefined);
  await rollback(
    async () => {
      go();
      await assert.rejects(late, TransactionClosed);
    },
    { coordinator },
  );
});

test('nothing begins while it ends', async () => {
  const seen: unknown[] = [];
  const sandbox = rollbackPerTest({ coordinator });
  await sandbox.begin();
  await coordinator.context(async () => {
    const txn = await coordinator.begin();
    const abort = (): Promise<unknown> =>
      coordinator
        .run(() => store.set('n', 1), { propagation: 'requires-new' })
        .catch((error: unknown) => seen.push(error));
    txn.join(new RecordingDataManager({ does: { abort } }));
    await assert.rejects(sandbox.end(), says(/was left active/));
  });
  assert.is(seen.length, 1);
  assert.ok(says(/it is being ended/)(seen[0]));
});

test('what a test throws comes first; what the end finds hangs on it', async () => {
  const failed = new Error('the test failed') as Error & { suppressed?: unknown[] };
  let left!: Promise<void>;
  const body = (): Promise<never> => {
    left = coordinator.context(async () => {
      await coordinator.begin({ note: 'left' });
      await new Promise((resolve) => setImmediate(resolve));
    });
    return Promise.reject(failed);
  };
  await assert.rejects(rollback(body, { coordinator }), (error: unknown) => error === failed);
  assert.ok(says(/\(left\) was left active/)(failed.suppressed?.[0]));
  await left;
});

test('a commit that failed and was left so is no fault of the test', async () => {
  await rollback(
    async () => {
      const txn = await coordinator.begin();
      txn.addBeforeCommitHook(() => {
        throw new Error('no');
      });
      store.set('n', 1);
      await assert.rejects(txn.commit(), says(/^no$/));
      // As it is where nobody calls abort().
      assert.is(txn.status, 'commit failed');
    },
    { coordinator },
  );
});

test('what it returns is what the function returns; it is called with the sandbox', async () => {
  assert.is(await rollback((sandbox) => (sandbox.isOpen ? 7 : 8), { coordinator }), 7);
  const sandbox = rollbackPerTest({ coordinator });
  assert.is(await sandbox.run((same) => same), sandbox);
});

test('in implicit mode transactions are in it as well', async () => {
  const implicit = new TransactionCoordinator({ explicit: false });
  const own = new MemoryStore<string, number>({ coordinator: implicit });
  await rollback(
    () =>
      implicit.context(async () => {
        own.set('n', 1);
        await implicit.commit();
        assert.is(own.committed.get('n'), 1);
      }),
    { coordinator: implicit },
  );
  assert.is(own.committed.size, 0);
});

test('a decision log that the coordinator gets later counts as well, and nothing is written to it', async () => {
  const late = new TransactionCoordinator();
  const two = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator: late }));
  const log = new MemoryDecisionLog();
  await rollback(
    async () => {
      late.configure({ decisionLog: log, recovery: false });
      const { outcome } = await late.run((txn) => {
        for (const each of two) each.set('n', 1);
        return txn;
      });
      assert.equal(outcome, { result: 'committed', way: 'two-phase' });
    },
    { coordinator: late },
  );
  assert.equal(await log.decisions(10), []);
  assert.equal(
    two.map(({ committed }) => committed.size),
    [0, 0],
  );
  await late.close();
});

test('a decision log of one’s own takes along what it does elsewhere: its part votes, and nothing is decided for good', async () => {
  const own = new TransactionCoordinator();
  const other = new MemoryStore({ name: 'other', role: 'recoverable', coordinator: own });
  const calls: string[] = [];
  const carrying = new RecordingDataManager({
    name: 'carrying',
    log: calls,
    changed: true,
    onePhase: true,
    recoverable: new MemoryStore({ name: 'carrying', role: 'recoverable' }),
  });
  const decisionLog = Object.assign(new MemoryDecisionLog(), {
    carries: (manager: unknown) => manager === carrying,
    decideWith: () => Promise.resolve(void calls.push('decided for good')),
  });
  own.configure({ decisionLog, recovery: false });
  await rollback(
    async () => {
      const { outcome } = await own.run((txn) => {
        txn.join(carrying);
        other.set('n', 1);
        return txn;
      });
      assert.is(outcome?.result, 'committed');
      assert.is(other.committed.size, 1);
    },
    { coordinator: own },
  );
  assert.equal(calls, ['carrying.tpcBegin', 'carrying.commit', 'carrying.tpcVote', 'carrying.tpcFinish']);
  assert.equal([other.committed.size, await decisionLog.decisions(10)], [0, []]);
  await own.close();
});

test('a decision log that stores no messages stores none in a sandbox: what is called then needs no decision', async () => {
  const ways: unknown[] = [];
  for (const outbox of [true, false]) {
    const own = new TransactionCoordinator();
    const kept = new MemoryStore({ name: 'kept', role: 'recoverable', coordinator: own });
    const decisionLog = new MemoryDecisionLog();
    if (!outbox) Object.defineProperty(decisionLog, 'outbox', { value: undefined });
    own.configure({ decisionLog, recovery: false });
    const call = outboxed('note', () => undefined, { coordinator: own });
    const way = (): Promise<unknown> =>
      own.run((txn) => {
        kept.set('n', 1);
        call({});
        return txn;
      });
    const outside = ((await way()) as Transaction).outcome;
    await rollback(async () => assert.equal(((await way()) as Transaction).outcome, outside), { coordinator: own });
    ways.push(outside?.way);
    await own.close();
  }
  assert.equal(ways, ['two-phase', 'one-phase']);
});

test('a data manager that says nothing of sandboxes makes savepoints as ever, and returns to them', async () => {
  const calls: string[] = [];
  const stranger: DataManager = {
    sortKey: 'stranger',
    tpcBegin: () => undefined,
    commit: () => undefined,
    tpcVote: () => undefined,
    tpcFinish: () => undefined,
    tpcAbort: () => undefined,
    abort: () => undefined,
    savepoint: () => ({ rollback: () => void calls.push('returned') }),
  };
  await rollback(
    () =>
      coordinator.run(async (txn) => {
        txn.join(stranger);
        const savepoint = await txn.savepoint();
        await savepoint.rollback();
      }),
    { coordinator },
  );
  assert.equal(calls, ['returned']);
});

test('a last resource without changes is asked for its vote, which sends nothing; one with changes isn’t', async () => {
  for (const changed of [false, true]) {
    const calls: string[] = [];
    const last: DataManager = {
      sortKey: 'last',
      lastResource: true,
      changed,
      tpcBegin: () => undefined,
      commit: () => undefined,
      tpcVote: () => void calls.push('voted'),
      tpcFinish: () => void calls.push('finished'),
      tpcAbort: () => undefined,
      abort: () => undefined,
      sandboxed: () => ({ planned: () => ['work'] }),
    };
    await rollback(() => coordinator.run((txn) => txn.join(last)), { coordinator });
    assert.equal(calls, changed ? [] : ['voted']);
  }
});

test('unknown and impossible options are refused by name', async () => {
  assert.throws(() => rollbackPerTest({ coordinater: coordinator } as never), says(/coordinater/));
  assert.throws(() => rollbackPerTest({ coordinator: {} as never }), says(/a TransactionCoordinator/));
  await assert.rejects(
    rollback(() => undefined, { letThrough: store as never }),
    ConfigurationError,
  );
});
