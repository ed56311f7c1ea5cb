// Random scripts of SQL: what a service might do to one or two databases, as a tree that shrinks well. What each statement is,
// a dialect says; here they are numbers.
import fc from 'fast-check';

/** How a statement is handed over: the forms in which a driver takes one. */
export type Form = 'plain' | 'config' | 'callback' | 'array' | 'named';

/** Where it is handed over: to the session, to its pool, or to a client of the pool. */
export type Via = 'session' | 'pool' | 'client';

/** A statement of the script's palette, and what is put into it. */
export interface Use {
  readonly entry: number;
  readonly a: number;
  readonly b: number;
  readonly form: Form;
  /** Which database, where there are several. */
  readonly database: number;
}

/** What can be done within a transaction, and by a client in one of its own. */
export type SimpleStep =
  | { readonly kind: 'statement'; readonly use: Use; readonly via: Via }
  /** Asked for at once, and awaited together. */
  | { readonly kind: 'together'; readonly uses: readonly Use[]; readonly via: Via }
  /** A cursor that is read in batches and then closed, be it at its end or not. */
  | { readonly kind: 'cursor'; readonly use: Use; readonly via: Via; readonly size: number; readonly reads: number };

/** Savepoints that a client makes by statements, in a transaction of its own. */
export type OwnStep = SimpleStep | MarkStep;

export interface MarkStep {
  readonly kind: 'mark' | 'return' | 'forget';
  readonly name: 'a' | 'b';
}

export type Step =
  | SimpleStep
  | { readonly kind: 'savepoint' }
  /** To a savepoint of the transaction, valid or not, counted from the last one. */
  | { readonly kind: 'rollback'; readonly back: number }
  | { readonly kind: 'nested'; readonly steps: readonly Step[]; readonly end: 'return' | 'throw' }
  /** A client's own BEGIN, and how it ends. */
  | {
      readonly kind: 'own';
      readonly steps: readonly OwnStep[];
      readonly end: 'commit' | 'rollback' | 'release';
      readonly database: number;
    }
  /** A statement that is the coordinator's to send. */
  | { readonly kind: 'refused'; readonly text: number; readonly via: 'session' | 'pool'; readonly database: number };

export interface TransactionItem {
  readonly kind: 'transaction';
  readonly isolation: 'read committed' | 'repeatable read' | 'serializable' | undefined;
  readonly readOnly: boolean;
  readonly steps: readonly Step[];
  /** `unawaited`: a statement is under way when the function returns. */
  readonly end: 'commit' | 'throw' | 'unawaited';
  /** How often in a row. */
  readonly times: number;
}

/** Statements outside of any transaction, over the same pool. */
export interface PlainItem {
  readonly kind: 'plain';
  readonly steps: readonly { readonly use: Use; readonly via: Via }[];
}

export type Item = TransactionItem | PlainItem;

export interface Script {
  /** What it is about; the dialect says what with. */
  readonly theme: number;
  /** The statements that it uses, by their numbers in the theme: few, so that they come again. */
  readonly palette: readonly number[];
  readonly items: readonly Item[];
}

/** What scripts are made for. */
export interface Scope {
  readonly themes: number;
  readonly databases: number;
  readonly forms: readonly Form[];
  readonly hasCursors: boolean;
}

/** Statements that the coordinator refuses, as they would end or begin its transaction. */
export const REFUSED: readonly string[] = [
  'COMMIT',
  'rollback',
  '/* why */ begin',
  'commit and chain',
  'start transaction',
];

/** Scripts for a scope. */
export function scripts(scope: Scope): fc.Arbitrary<Script> {
  const database = fc.nat(scope.databases - 1);
  const use: fc.Arbitrary<Use> = fc.record({
    entry: fc.nat(7),
    a: fc.nat(9),
    b: fc.nat(5),
    form: fc.constantFrom(...scope.forms),
    database,
  });
  const via = fc.constantFrom<Via>('session', 'pool', 'client');
  const simple = (more: number, cursors: boolean): fc.WeightedArbitrary<SimpleStep>[] => [
    { weight: 10 * more, arbitrary: fc.record({ kind: fc.constant('statement' as const), use, via }) },
    {
      weight: 3 * more,
      arbitrary: fc.record({
        kind: fc.constant('together' as const),
        uses: fc.array(use, { minLength: 1, maxLength: 5 }),
        via,
      }),
    },
    {
      weight: scope.hasCursors && cursors ? more : 0,
      arbitrary: fc.record({
        kind: fc.constant('cursor' as const),
        use,
        via,
        size: fc.integer({ min: 1, max: 4 }),
        reads: fc.integer({ min: 1, max: 3 }),
      }),
    },
  ];
  const mark = fc.record({
    kind: fc.constantFrom('mark' as const, 'mark' as const, 'return' as const, 'return' as const, 'forget' as const),
    name: fc.constantFrom('a' as const, 'a' as const, 'b' as const),
  });
  const ownSteps = fc.oneof(
    fc.array(fc.oneof(...simple(1, false), { weight: 4, arbitrary: mark }), { maxLength: 6 }),
    fc.array(fc.oneof(...simple(1, false), { weight: 12, arbitrary: mark }), { minLength: 4, maxLength: 12 }),
  );
  const savepoint = fc.record({ kind: fc.constant('savepoint' as const) });
  const rollback = fc.record({ kind: fc.constant('rollback' as const), back: fc.constantFrom(0, 0, 0, 1, 1, 2, 3) });
  const flat: fc.WeightedArbitrary<Step>[] = [
    ...simple(2, true),
    { weight: 4, arbitrary: savepoint },
    { weight: 4, arbitrary: rollback },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('own' as const),
        steps: ownSteps,
        end: fc.constantFrom('commit' as const, 'rollback' as const, 'release' as const),
        database,
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('refused' as const),
        text: fc.nat(REFUSED.length - 1),
        via: fc.constantFrom('session' as const, 'pool' as const),
        database,
      }),
    },
  ];
  const deeper = (steps: fc.Arbitrary<Step[]>): fc.WeightedArbitrary<Step> => ({
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('nested' as const),
      steps,
      end: fc.constantFrom('return' as const, 'throw' as const),
    }),
  });
  // What takes several steps to go wrong: savepoints behind savepoints, and rollbacks to any of them, again and again.
  const savepoints = fc.array<Step>(
    fc.oneof(...simple(1, false), { weight: 4, arbitrary: savepoint }, { weight: 11, arbitrary: rollback }),
    { minLength: 4, maxLength: 16 },
  );
  const block = (steps: fc.WeightedArbitrary<Step>[], maxLength: number): fc.Arbitrary<Step[]> =>
    fc.oneof(
      { weight: 2, arbitrary: fc.array<Step>(fc.oneof(...steps), { maxLength }) },
      { weight: 1, arbitrary: savepoints },
    );
  const inner = block(flat, 5);
  const middle = block([...flat, deeper(inner)], 6);
  const outer = block([...flat, deeper(middle)], 10);
  const item: fc.Arbitrary<Item> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('transaction' as const),
        isolation: fc.constantFrom(
          undefined,
          undefined,
          'read committed' as const,
          'repeatable read' as const,
          'serializable' as const,
        ),
        readOnly: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
        steps: outer,
        end: fc.oneof(
          { weight: 12, arbitrary: fc.constant('commit' as const) },
          { weight: 3, arbitrary: fc.constant('throw' as const) },
          { weight: 1, arbitrary: fc.constant('unawaited' as const) },
        ),
        times: fc.oneof(
          { weight: 3, arbitrary: fc.constant(1) },
          { weight: 1, arbitrary: fc.integer({ min: 2, max: 4 }) },
        ),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('plain' as const),
        steps: fc.array(fc.record({ use, via }), { minLength: 1, maxLength: 4 }),
      }),
    },
  );
  return fc.record({
    theme: fc.nat(scope.themes - 1),
    palette: fc.array(fc.nat(99), { minLength: 1, maxLength: 8 }),
    items: fc.array(item, { minLength: 1, maxLength: 6 }),
  });
}
