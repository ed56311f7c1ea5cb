// Protects the machine as a whole: random programs of writes, savepoints, rollbacks, hooks, dooms and failures over several stores end
// as a model of a few lines says: all stores hold everything, or all hold nothing, and every hook ran as often as it must.
import fc from 'fast-check';
import { type Awaitable, type DataManager, type Savepoint, type Transaction, TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';

const test = suite('model');

const STORES = ['a', 'b', 'c'] as const;

type Operation =
  | { readonly kind: 'write'; readonly store: number; readonly value: number }
  | { readonly kind: 'savepoint' }
  | { readonly kind: 'rollback'; readonly index: number }
  | { readonly kind: 'hook'; readonly value: number }
  | { readonly kind: 'doom' };

interface Program {
  readonly operations: readonly Operation[];
  readonly end: 'commit' | 'abort';
  /** The store and step that say no, if any. */
  readonly failing: { readonly store: number; readonly step: 'tpcBegin' | 'commit' | 'tpcVote' } | undefined;
  /** Which stores answer by promises. */
  readonly async: readonly boolean[];
}

const program: fc.Arbitrary<Program> = fc.record({
  operations: fc.array(
    fc.oneof(
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('write' as const), store: fc.nat(2), value: fc.nat(9) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('savepoint' as const) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('rollback' as const), index: fc.nat(4) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('hook' as const), value: fc.nat(9) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('doom' as const) }) },
    ),
    { maxLength: 25 },
  ),
  end: fc.constantFrom('commit' as const, 'commit' as const, 'abort' as const),
  failing: fc.option(
    fc.record({ store: fc.nat(2), step: fc.constantFrom('tpcBegin' as const, 'commit' as const, 'tpcVote' as const) }),
    { nil: undefined, freq: 3 },
  ),
  async: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
});

/** A list that joins at its first change, before it records it (zope 131), and undoes what it must. */
class Store {
  readonly name: string;
  readonly committed: number[] = [];
  readonly #async: boolean;
  readonly #failingStep: string | undefined;
  #working: number[] = [];

  constructor(name: string, async: boolean, failingStep: string | undefined) {
    this.name = name;
    this.#async = async;
    this.#failingStep = failingStep;
  }

  write(txn: Transaction, value: number): void {
    txn.getOrJoin(this, () => this.#join());
    this.#working.push(value);
  }

  #join(): DataManager {
    const clear = (): Awaitable<void> => this.#answer('abort', () => (this.#working = []));
    return {
      sortKey: this.name,
      tpcBegin: () => this.#answer('tpcBegin'),
      commit: () => this.#answer('commit'),
      tpcVote: () => this.#answer('tpcVote'),
      tpcFinish: () =>
        this.#answer('tpcFinish', () => {
          this.committed.push(...this.#working);
          this.#working = [];
        }),
      tpcAbort: clear,
      abort: clear,
      savepoint: () => {
        const { length } = this.#working;
        return { rollback: () => this.#answer('rollback', () => (this.#working.length = length)) };
      },
    };
  }

  #answer(step: string, act: () => unknown = () => undefined): Awaitable<void> {
    const run = (): void => {
      if (step === this.#failingStep) throw new Error(`${this.name} says no`);
      act();
    };
    return this.#async ? Promise.resolve().then(run) : run();
  }
}

/** What must come of a program, by the simplest means. */
function model({ operations, end, failing }: Program): { committed: boolean; stores: number[][]; hooks: number[] } {
  let state = { stores: STORES.map((): number[] => []), hooks: [] as number[] };
  const saved: (typeof state)[] = [];
  let doomed = false;
  for (const operation of operations) {
    if (operation.kind === 'write') state.stores[operation.store]!.push(operation.value);
    else if (operation.kind === 'hook') state.hooks.push(operation.value);
    else if (operation.kind === 'savepoint') saved.push(structuredClone(state));
    else if (operation.kind === 'doom') doomed = true;
    else if (operation.index < saved.length) {
      state = structuredClone(saved[operation.index]!);
      saved.length = operation.index + 1;
    }
  }
  const no = failing !== undefined && state.stores[failing.store]!.length > 0;
  const committed = end === 'commit' && !doomed && !no;
  return { committed, stores: committed ? state.stores : STORES.map(() => []), hooks: state.hooks };
}

/** Whether the failing store has joined although it has nothing left: then the model can't tell. */
function joinedEmpty(txn: Transaction, stores: readonly Store[], { failing }: Program, expected: number[][]): boolean {
  return (
    failing !== undefined && expected[failing.store]!.length === 0 && txn.joined(stores[failing.store]) !== undefined
  );
}

async function check(given: Program): Promise<void> {
  const expected = model(given);
  const manager = new TransactionManager();
  const stores = STORES.map(
    (name, index) =>
      new Store(name, given.async[index]!, given.failing?.store === index ? given.failing.step : undefined),
  );
  const hooks: number[] = [];
  const told: boolean[] = [];
  const txn = await manager.begin();
  txn.addAfterCommitHook((committed) => told.push(committed));
  const savepoints: Savepoint[] = [];
  for (const operation of given.operations) {
    if (operation.kind === 'write') stores[operation.store]!.write(txn, operation.value);
    else if (operation.kind === 'hook') txn.addBeforeCommitHook((value) => hooks.push(value), operation.value);
    else if (operation.kind === 'savepoint') savepoints.push(await txn.savepoint());
    else if (operation.kind === 'doom') txn.doom();
    else if (operation.index < savepoints.length) {
      await savepoints[operation.index]!.rollback();
      const valid = savepoints.map((savepoint) => savepoint.valid);
      assert.equal(
        valid,
        savepoints.map((_, index) => index <= operation.index),
      );
      savepoints.length = operation.index + 1;
    }
  }
  const untold = joinedEmpty(txn, stores, given, expected.stores);
  const doomed = txn.isDoomed();
  let committed = true;
  await txn[given.end]().catch(() => (committed = false));
  if (given.end === 'abort') committed = false;
  const outcome = untold ? committed : expected.committed;
  assert.is(committed, outcome);
  assert.equal(
    stores.map((store) => store.committed),
    outcome ? expected.stores : STORES.map(() => []),
  );
  const began = given.end === 'commit' && !doomed;
  assert.equal(hooks, began ? expected.hooks : []);
  assert.equal(told, began ? [outcome] : []);
  await txn.abort();
  assert.is(txn.status, outcome ? 'committed' : 'aborted');
  assert.is(manager.current, undefined);
  assert.is(txn.resources.length, 0);
  // What is over leaves no trace in the next one.
  const next = await manager.begin();
  await next.commit();
  assert.equal(
    stores.map((store) => store.committed),
    outcome ? expected.stores : STORES.map(() => []),
  );
}

test('zope 131: random programs over stores that join at their first change end as the model says', async () => {
  await fc.assert(fc.asyncProperty(program, check), { numRuns: 2000 });
});
