// Data managers, synchronizers and hooks that write every call into one list, so that a test compares whole sequences.
import type { Awaitable, DataManager, DataManagerSavepoint, Synchronizer, Transaction, Vote } from 'unanimous';

export type Step =
  | 'tpcBegin'
  | 'commit'
  | 'tpcVote'
  | 'tpcFinish'
  | 'tpcAbort'
  | 'abort'
  | 'savepoint'
  | 'rollback'
  | 'hold';

/** How a recording data manager departs from one that says yes to everything, at once, and has no capabilities. */
export interface Recipe {
  /** Default: its name. */
  readonly sortKey?: string | (() => string);
  /** What the steps named here throw. */
  readonly fails?: { readonly [S in Step]?: unknown };
  /** Answers with promises. */
  readonly async?: boolean;
  /** Waits for this in the steps named here. */
  readonly waits?: { readonly [S in Step]?: Promise<unknown> };
  /** Is called in the steps named here. */
  readonly does?: { readonly [S in Step]?: (txn: Transaction) => void };
  readonly vote?: Vote;
  readonly savepoints?: boolean;
  readonly holds?: boolean;
  readonly shouldRetry?: (error: Error) => boolean;
  readonly lastResource?: boolean;
  readonly onePhase?: boolean;
  readonly changed?: boolean;
  readonly cancel?: (reason: Error) => void;
}

/** Makes a data manager that writes `name.step` into `log` for each call. */
export function recording(log: string[], name: string, recipe: Recipe = {}): DataManager {
  const finish = <T>(step: Step, value: T): T => {
    if (recipe.fails !== undefined && Object.hasOwn(recipe.fails, step)) throw recipe.fails[step];
    return value;
  };
  const take = <T>(step: Step, txn: Transaction, value: T): Awaitable<T> => {
    log.push(`${name}.${step}`);
    recipe.does?.[step]?.(txn);
    const wait = recipe.waits?.[step];
    if (wait !== undefined) return wait.then(() => finish(step, value));
    if (recipe.async === true) return Promise.resolve().then(() => finish(step, value));
    return finish(step, value);
  };
  const { shouldRetry, lastResource, onePhase, changed, cancel } = recipe;
  return {
    sortKey: recipe.sortKey ?? name,
    tpcBegin: (txn) => take('tpcBegin', txn, undefined),
    commit: (txn) => take('commit', txn, undefined),
    tpcVote: (txn) => take('tpcVote', txn, recipe.vote),
    tpcFinish: (txn) => take('tpcFinish', txn, undefined),
    tpcAbort: (txn) => take('tpcAbort', txn, undefined),
    abort: (txn) => take('abort', txn, undefined),
    ...(recipe.savepoints === true && {
      savepoint: (txn: Transaction): Awaitable<DataManagerSavepoint> =>
        take('savepoint', txn, { rollback: () => take('rollback', txn, undefined) }),
    }),
    ...(recipe.holds === true && { hold: (txn: Transaction) => take('hold', txn, undefined) }),
    ...(shouldRetry !== undefined && { shouldRetry }),
    ...(lastResource !== undefined && { lastResource }),
    ...(onePhase !== undefined && { onePhase }),
    ...(changed !== undefined && { changed }),
    ...(cancel !== undefined && { cancel }),
  };
}

export type Moment = 'newTransaction' | 'beforeCompletion' | 'afterCompletion';

/** Makes a synchronizer that writes `name.moment`, fails where told to, and calls what it is given. */
export function listening(
  log: string[],
  name = 'sync',
  recipe: {
    readonly fails?: { readonly [M in Moment]?: unknown };
    readonly does?: { readonly [M in Moment]?: (txn: Transaction) => unknown };
  } = {},
): Required<Synchronizer> {
  const hear = (moment: Moment, txn: Transaction): Awaitable<void> => {
    log.push(`${name}.${moment}`);
    if (recipe.fails !== undefined && Object.hasOwn(recipe.fails, moment)) throw recipe.fails[moment];
    return recipe.does?.[moment]?.(txn) as Awaitable<void>;
  };
  return {
    newTransaction: (txn) => hear('newTransaction', txn),
    beforeCompletion: (txn) => hear('beforeCompletion', txn),
    afterCompletion: (txn) => hear('afterCompletion', txn),
  };
}

/** The calls of one step, for each of several data managers: `each('tpcBegin', 'a', 'b')` is `['a.tpcBegin', 'b.tpcBegin']`. */
export function each(step: Step, ...names: string[]): string[] {
  return names.map((name) => `${name}.${step}`);
}

/** All that a commit over these data managers calls when nothing fails. */
export function wholeCommit(...names: string[]): string[] {
  return (['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'] as const).flatMap((step) => each(step, ...names));
}

/** A promise and its handles. */
export interface Gate<T = void> {
  readonly promise: Promise<T>;
  readonly open: (value: T) => void;
  readonly fail: (error: unknown) => void;
}

/** A promise that a test settles when it wants to. */
export function gate<T = void>(): Gate<T> {
  let open!: (value: T) => void;
  let fail!: (error: unknown) => void;
  const promise = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

/** Lets every promise job that is due run. */
export function turns(count = 1): Promise<void> {
  let turn = Promise.resolve();
  for (let done = 0; done < count; done++) turn = turn.then(() => new Promise((resolve) => setImmediate(resolve)));
  return turn;
}

/** Throws what may be no Error. */
export function raise(thrown: unknown): never {
  throw thrown;
}

/** What `fn` throws. */
export function thrownBy(fn: () => unknown): any {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error('expected something to be thrown');
}

/** The errors that hang on `error`. */
export function suppressedBy(error: unknown): readonly unknown[] {
  return (error as { suppressed?: readonly unknown[] }).suppressed ?? [];
}
