/** Checks what joins a transaction. */
import { ConfigurationError, describe, list } from './errors.ts';
import type { DataManager } from './types.ts';

const METHODS = ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish', 'tpcAbort', 'abort'] as const;

/** The sort key of a data manager. @throws ConfigurationError when it is none, or has no text as its sort key. */
export function checkedSortKey(manager: DataManager): string {
  if (typeof manager !== 'object' || manager === null) {
    throw new ConfigurationError(
      `a data manager must be an object with the methods ${list(METHODS)}, not ${describe(manager)}`,
    );
  }
  // Spelt out: this is on the way of every join.
  const isComplete =
    typeof manager.tpcBegin === 'function' &&
    typeof manager.commit === 'function' &&
    typeof manager.tpcVote === 'function' &&
    typeof manager.tpcFinish === 'function' &&
    typeof manager.tpcAbort === 'function' &&
    typeof manager.abort === 'function';
  if (!isComplete) {
    const missing = METHODS.filter((name) => typeof manager[name] !== 'function');
    throw new ConfigurationError(
      `a data manager must have the methods ${list(METHODS)}; ${describe(manager)} lacks ${list(missing)} and can't join`,
    );
  }
  const sortKey: unknown = typeof manager.sortKey === 'function' ? manager.sortKey() : manager.sortKey;
  if (typeof sortKey !== 'string') {
    throw new ConfigurationError(
      `the sortKey of a data manager must be a string or a function that returns one, not ${describe(sortKey)}; ${describe(manager)} can't join`,
    );
  }
  return sortKey;
}
