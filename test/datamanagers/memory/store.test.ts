import fc from 'fast-check';
import {
  ConfigurationError,
  HeuristicError,
  InDoubtError,
  MemoryStore,
  NoTransaction,
  TransactionClosed,
  TransientError,
  transaction,
} from 'unanimous';
import { RecordingDataManager } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';

const test = suite('a memory store');
const once = { attempts: 1 };
const apart = { attempts: 1, propagation: 'requires-new' } as const;

async function filled(entries: Record<string, unknown>, options = {}): Promise<MemoryStore> {
  const store = new MemoryStore(options);
  await transaction.run(() => Object.entries(entries).forEach(([key, value]) => store.set(key, value)), once);
  return store;
}

test('a transaction sees its own changes, and others see them once it has committed', async () => {
  const store = await filled({ a: 1, b: 2 });
  await transaction.run(() => {
    store.set('a', 10);
    store.delete('b');
    store.set('c', undefined);
    assert.equal([store.get('a'), store.get('b'), store.has('b'), store.has('c')], [10, undefined, false, true]);
    assert.equal(
      [...store.entries()],
      [
        ['a', 10],
        ['c', undefined],
      ],
    );
    assert.equal(
      [...store.committed],
      [
        ['a', 1],
        ['b', 2],
      ],
    );
  }, once);
  assert.equal(
    [...store.committed],
    [
      ['a', 10],
      ['c', undefined],
    ],
  );
});

test('what is committed is a snapshot, which later commits leave alone', async () => {
  const store = await filled({ a: 1 });
  const before = store.committed;
  await transaction.run(() => store.set('a', 2), once);
  assert.is(before.get('a'), 1);
});

test('a transaction sees what was committed when it began, however long it takes', async () => {
  const store = await filled({ a: 1, b: 1 });
  await transaction.run(async () => {
    assert.is(store.get('a'), 1);
    await transaction.run(() => (store.set('a', 2), store.set('b', 2)), apart);
    assert.is(store.get('b'), 1);
  }, once);
  assert.is(store.committed.get('b'), 2);
});

for (const [what, read] of Object.entries({
  value: (store: MemoryStore) => store.get('a'),
  'presence of a key': (store: MemoryStore) => store.has('a'),
  'set of all entries': (store: MemoryStore) => store.entries(),
})) {
  for (const [how, change] of Object.entries({
    sets: (store: MemoryStore) => store.set('a', 2),
    deletes: (store: MemoryStore) => store.delete('a'),
  })) {
    test(`a transaction that has read a ${what} fails where somebody ${how} it before its vote`, async () => {
      const store = await filled(how === 'sets' && what === 'presence of a key' ? {} : { a: 1 });
      const error = await assert.rejects(
        transaction.run(async () => {
          read(store);
          store.set('b', 1);
          await transaction.run(() => change(store), apart);
        }, once),
        TransientError,
      );
      assert.is(error.resource, 'memory');
      assert.is(error.phase, 'tpcVote');
      assert.not.ok(store.committed.has('b'));
    });
  }
}

test('what is written without being read conflicts with nothing: the later one stays', async () => {
  const store = await filled({});
  await transaction.run(async () => {
    store.set('a', 'first');
    await transaction.run(() => store.set('a', 'second'), apart);
  }, once);
  assert.is(store.committed.get('a'), 'first');
});

test('an entry that is read and stays the same is no conflict, be it NaN', async () => {
  const store = await filled({ a: Number.NaN });
  await transaction.run(async () => {
    store.set('b', store.get('a'));
    await transaction.run(() => (store.set('c', 1), store.set('a', Number.NaN)), apart);
  }, once);
  assert.equal([...store.committed.keys()], ['a', 'c', 'b']);
});

test('increments at the same time are all counted, by trying again', async () => {
  const store = await filled({ n: 0 });
  const increment = (): Promise<void> =>
    transaction.run(
      async () => {
        const n = store.get('n') as number;
        await new Promise((resolve) => setImmediate(resolve));
        store.set('n', n + 1);
      },
      { attempts: 50, backoff: { baseMs: 1, maxMs: 5 } },
    );
  await Promise.all(Array.from({ length: 10 }, increment));
  assert.is(store.committed.get('n'), 10);
});

/** While one that has voted waits for others to vote. */
async function whileVoted(
  work: (store: MemoryStore) => void,
  meanwhile: (store: MemoryStore) => void,
): Promise<{ store: MemoryStore; error: unknown }> {
  const store = await filled({ x: 0, y: 0 });
  let error: unknown;
  await transaction.run((txn) => {
    work(store);
    const tpcVote = async (): Promise<void> => {
      error = await transaction.run(() => meanwhile(store), apart).catch((thrown: unknown) => thrown);
    };
    txn.join(new RecordingDataManager({ sortKey: '~', does: { tpcVote } }));
  }, once);
  return { store, error };
}

test('what has voted is not passed by one that reads what it writes, nor by one that writes what it has read', async () => {
  const copies = (from: string, to: string) => (store: MemoryStore) => store.set(to, (store.get(from) as number) + 1);
  for (const meanwhile of [copies('y', 'z'), (store: MemoryStore) => store.set('x', 7)]) {
    const { store, error } = await whileVoted(copies('x', 'y'), meanwhile);
    assert.instance(error, TransientError);
    assert.match((error as Error).message, /has voted/);
    assert.equal(
      [...store.committed],
      [
        ['x', 0],
        ['y', 1],
      ],
    );
  }
  const { store, error } = await whileVoted(copies('x', 'y'), (other) => other.set('z', 1));
  assert.is(error, undefined);
  assert.is(store.committed.get('z'), 1);
});

test('transactions that read and write at random are as though they had come one after the other', async () => {
  const steps = fc.array(fc.record({ writes: fc.boolean(), key: fc.constantFrom('a', 'b', 'c'), pauses: fc.nat(2) }), {
    maxLength: 6,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 2, maxLength: 5 }), async (plans) => {
      const store = new MemoryStore();
      const committed: { key: string; wrote?: number; read?: unknown }[][] = [];
      let value = 0;
      await Promise.allSettled(
        plans.map((plan) =>
          transaction.run(async (txn) => {
            const done: (typeof committed)[number] = [];
            for (const { writes, key, pauses } of plan) {
              for (let turn = 0; turn < pauses; turn++) await Promise.resolve();
              if (writes) done.push({ key, wrote: ++value });
              else done.push({ key, read: store.get(key) });
              if (writes) store.set(key, value);
            }
            // Behind the store: called in the order in which what is written becomes visible.
            const tpcVote = (): Promise<void> => Promise.resolve();
            const tpcFinish = (): void => void committed.push(done);
            txn.join(new RecordingDataManager({ sortKey: '~', does: { tpcVote, tpcFinish } }));
          }, once),
        ),
      );
      // One that only reads may come before others that have finished meanwhile: those that write are in their order.
      const state = new Map<string, unknown>();
      for (const done of committed.filter((each) => each.some(({ wrote }) => wrote !== undefined))) {
        for (const { key, wrote, read } of done) {
          if (wrote === undefined) assert.is(read, state.get(key));
          else state.set(key, wrote);
        }
      }
      assert.equal(Object.fromEntries(store.committed), Object.fromEntries(state));
    }),
    { numRuns: 200 },
  );
});

test('no database has to prepare for the sake of a volatile store', async () => {
  const store = new MemoryStore();
  const way = await transaction.run(async (txn) => {
    store.set('a', 1);
    txn.join(new RecordingDataManager({ changed: true, onePhase: true }));
    await txn.commit();
    return txn.outcome?.way;
  }, once);
  assert.is(way, 'one-phase');
});

for (const [end, outcome] of [
  ['commitPrepared', undefined],
  ['rollbackPrepared', InDoubtError],
] as const) {
  test(`${end} by hand, while it is decided to commit, ${outcome === undefined ? 'is as good as its finish' : 'is told'}`, async () => {
    const store = new MemoryStore({ name: 'hand', role: 'recoverable' });
    const committed = transaction.run((txn) => {
      store.set('a', 1);
      const tpcVote = async (): Promise<void> => {
        const xids = await store.listPrepared();
        assert.equal(xids, [{ gid: txn.id, branch: 'hand' }]);
        await store[end](xids[0]!);
      };
      txn.join(new RecordingDataManager({ sortKey: '~', changed: true, does: { tpcVote } }));
    }, once);
    if (outcome === undefined) {
      await committed;
      assert.is(store.committed.get('a'), 1);
    } else {
      const error = await assert.rejects(committed, outcome);
      assert.instance(error.cause, HeuristicError);
      assert.is(store.committed.size, 0);
    }
  });
}

test('outside of a transaction, and once its end has begun, it refuses to work', async () => {
  const store = await filled({ a: 1 });
  for (const use of [
    () => store.get('a'),
    () => store.has('a'),
    () => store.entries(),
    () => store.set('a', 2),
    () => store.delete('a'),
  ]) {
    assert.throws(use, (error: unknown) => error instanceof NoTransaction);
    let late: unknown;
    await transaction.run((txn) => {
      store.get('a');
      const commit = (): void => {
        late = caught(use);
      };
      txn.join(new RecordingDataManager({ sortKey: '', does: { commit } }));
    }, once);
    assert.instance(late, TransactionClosed);
  }
  assert.is(store.committed.get('a'), 1);
});

test('its name is in its errors and in its sort key, and what it can not be made with is refused', async () => {
  const store = new MemoryStore({ name: 'cache' });
  await transaction.run((txn) => {
    store.get('a');
    assert.is(txn.joined(store)?.sortKey, 'memory:cache');
  }, once);
  for (const options of [{ role: 'durable' }, { names: 'x' }, { name: 1 }, { coordinator: {} }]) {
    assert.throws(
      () => new MemoryStore(options as never),
      (error: unknown) => error instanceof ConfigurationError,
    );
  }
});

function caught(use: () => unknown): unknown {
  try {
    use();
  } catch (error) {
    return error;
  }
  return undefined;
}
