// Random programs over the public calls of a coordinator.
import fc from 'fast-check';

/** Where a store can say no. */
export const STEPS = [
  'tpcBegin',
  'commit',
  'tpcVote',
  'tpcFinish',
  'tpcAbort',
  'abort',
  'savepoint',
  'rollback',
] as const;
export type StoreStep = (typeof STEPS)[number];

export interface StoreKind {
  /** Whether it answers by promises. */
  readonly isAsync: boolean;
  readonly hasSavepoints: boolean;
  readonly hasCancel: boolean;
  readonly failsIn: StoreStep | undefined;
}

export const HOOKS = ['beforeCommit', 'afterCommit', 'beforeAbort', 'afterAbort'] as const;
export type HookKind = (typeof HOOKS)[number];

export const PROPAGATIONS = [
  'required',
  'requires-new',
  'nested',
  'mandatory',
  'supports',
  'not-supported',
  'never',
] as const;
export type Propagation = (typeof PROPAGATIONS)[number];

/** What ends a function from outside: a signal, one that was aborted before, or a time. */
export const DEADLINES = ['signal', 'aborted', 'time'] as const;
export type DeadlineKind = (typeof DEADLINES)[number];

/** A function that is run. */
export interface Call {
  readonly propagation: Propagation;
  readonly attempts: number;
  readonly deadline: DeadlineKind | undefined;
  readonly operations: readonly Operation[];
  /**
   * `transient` throws a transient error in the first attempts, as many as `failures` says; `late` returns when the deadline, where there is
   * one, has just passed.
   */
  readonly end: 'return' | 'throw' | 'transient' | 'late';
  readonly failures: number;
}

export type Operation =
  | { readonly kind: 'write'; readonly store: number; readonly value: number }
  | { readonly kind: 'savepoint'; readonly optimistic: boolean }
  /** To a savepoint of whatever function and transaction, valid or not, counted from the last one. */
  | { readonly kind: 'rollback'; readonly back: number }
  /** `add` adds another one of its kind when it is called, `join` writes to the last store. */
  | {
      readonly kind: 'hook';
      readonly hook: HookKind;
      readonly does: 'nothing' | 'throw' | 'add' | 'join';
      readonly id: number;
    }
  | { readonly kind: 'doom' | 'commit' | 'abort' }
  | { readonly kind: 'note'; readonly text: string }
  /** An error that leaves it is caught, or goes on up. */
  | { readonly kind: 'call'; readonly call: Call; readonly isCaught: boolean }
  /** Nested runs that are started at once. */
  | { readonly kind: 'together'; readonly calls: readonly Call[] };

export interface SynchronizerKind {
  readonly throwsIn: 'beforeCompletion' | 'afterCompletion' | undefined;
}

export interface Program {
  readonly stores: readonly StoreKind[];
  readonly synchronizers: readonly SynchronizerKind[];
  /** One after the other, in one context. */
  readonly calls: readonly Call[];
}

/** How many stores a program has; hooks that join write to the last one. */
export const STORES = 4;

const store: fc.Arbitrary<StoreKind> = fc.record({
  isAsync: fc.boolean(),
  hasSavepoints: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  hasCancel: fc.boolean(),
  failsIn: fc.option(fc.constantFrom(...STEPS), { nil: undefined, freq: 2 }).map((step) => step),
});
const solidStore: fc.Arbitrary<StoreKind> = store.map((kind) => ({ ...kind, failsIn: undefined }));

const write = fc.record({ kind: fc.constant('write' as const), store: fc.nat(STORES - 2), value: fc.nat(9) });
const savepoint = fc.record({ kind: fc.constant('savepoint' as const), optimistic: fc.boolean() });
const rollback = fc.record({ kind: fc.constant('rollback' as const), back: fc.nat(3) });
const simple: fc.WeightedArbitrary<Operation>[] = [
  { weight: 8, arbitrary: write },
  { weight: 3, arbitrary: savepoint },
  { weight: 3, arbitrary: rollback },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('hook' as const),
      hook: fc.constantFrom(...HOOKS),
      does: fc.constantFrom('nothing' as const, 'nothing' as const, 'throw' as const, 'add' as const, 'join' as const),
      id: fc.nat(99),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('note' as const), text: fc.constantFrom('one', ' two ') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('doom' as const) }) },
];
const ending: fc.WeightedArbitrary<Operation> = {
  weight: 1,
  arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'abort' as const) }),
};

/** What takes several steps to go wrong: savepoints behind savepoints, and rollbacks to any of them, again and again. */
const savepoints: fc.Arbitrary<Operation[]> = fc.array<Operation>(
  fc.oneof({ weight: 3, arbitrary: write }, { weight: 3, arbitrary: savepoint }, { weight: 4, arbitrary: rollback }),
  { minLength: 3, maxLength: 12 },
);

/** Mostly a bit of everything, at times savepoints only. */
function orSavepoints(operations: fc.Arbitrary<Operation[]>): fc.Arbitrary<Operation[]> {
  return fc.oneof({ weight: 5, arbitrary: operations }, { weight: 1, arbitrary: savepoints });
}

function call(operations: fc.Arbitrary<Operation[]>): fc.Arbitrary<Call> {
  return fc.record({
    propagation: fc.constantFrom(...PROPAGATIONS),
    attempts: fc.integer({ min: 1, max: 3 }),
    deadline: fc.oneof(
      { weight: 7, arbitrary: fc.constant(undefined) },
      { weight: 2, arbitrary: fc.constantFrom('signal' as const, 'time' as const) },
      { weight: 1, arbitrary: fc.constantFrom(...DEADLINES) },
    ),
    operations: orSavepoints(operations),
    end: fc.constantFrom(
      'return' as const,
      'return' as const,
      'return' as const,
      'throw' as const,
      'transient' as const,
      'late' as const,
    ),
    failures: fc.integer({ min: 1, max: 3 }),
  });
}

function deeper(inner: fc.Arbitrary<Call>): fc.WeightedArbitrary<Operation>[] {
  const nested = inner.map((each): Call => ({ ...each, propagation: 'nested' }));
  return [
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('call' as const), call: inner, isCaught: fc.boolean() }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('together' as const),
        calls: fc.array(nested, { minLength: 2, maxLength: 3 }),
      }),
    },
  ];
}

const leaf = call(fc.array(fc.oneof(...simple), { maxLength: 5 }));
const middle = call(fc.array(fc.oneof(...simple, ...deeper(leaf)), { maxLength: 6 }));
const outer = call(fc.array(fc.oneof(...simple, ...simple, ending, ...deeper(middle)), { maxLength: 9 }));

/** Programs with at most two stores that fail, so that something also succeeds. */
export const programs: fc.Arbitrary<Program> = fc.record({
  stores: fc.oneof(
    fc.tuple(store, solidStore, solidStore, solidStore),
    fc.tuple(solidStore, solidStore, store, store),
    fc.tuple(solidStore, solidStore, solidStore, solidStore),
  ),
  synchronizers: fc.array(
    fc.record({
      throwsIn: fc.oneof(
        { weight: 6, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constantFrom('beforeCompletion' as const, 'afterCompletion' as const) },
      ),
    }),
    { maxLength: 2 },
  ),
  calls: fc.array(outer, { minLength: 1, maxLength: 3 }),
});
