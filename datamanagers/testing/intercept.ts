/** Stepping between a data manager and whoever calls it. */
import { isThenable } from '../../coordinator/thenable.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { DataManager, DataManagerSavepoint } from '../../coordinator/types.ts';

/** A call of a data manager; `rollback` is that of a savepoint which it has made. */
export type DataManagerPhase =
  | 'tpcBegin'
  | 'commit'
  | 'tpcVote'
  | 'tpcFinish'
  | 'tpcAbort'
  | 'abort'
  | 'savepoint'
  | 'rollback'
  | 'hold';

/** All phases that are methods of a data manager. */
const METHODS = ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish', 'tpcAbort', 'abort', 'savepoint', 'hold'] as const;

/** Stands in for a call: what it returns or throws, the caller gets. `proceed` makes the real call. */
export type Around = (phase: DataManagerPhase, proceed: () => unknown, txn: Transaction | undefined) => unknown;

/**
 * Puts `around` around every phase, in place: the object stays the one that has joined, or that a session will find again. What it
 * can't do (`savepoint`, `hold`), it still can't.
 */
export function intercept<D extends DataManager>(manager: D, around: Around): D {
  for (const method of METHODS) {
    const original = manager[method] as ((txn: Transaction) => unknown) | undefined;
    if (typeof original !== 'function') continue;
    const replacement = (txn: Transaction): unknown =>
      around(
        method,
        () => (method === 'savepoint' ? madeBy(original.call(manager, txn), around) : original.call(manager, txn)),
        txn,
      );
    Object.defineProperty(manager, method, { value: replacement, configurable: true, writable: true });
  }
  return manager;
}

/** The savepoint that a data manager has made, with `around` around its rollback. */
function madeBy(answer: unknown, around: Around): unknown {
  if (isThenable(answer)) return answer.then((made) => madeBy(made, around));
  const made = answer as DataManagerSavepoint;
  return { rollback: () => around('rollback', () => made.rollback(), undefined) };
}
