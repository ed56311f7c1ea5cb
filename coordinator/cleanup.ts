/** What is undone when somebody says no (zope 69-75). */
import { suppress } from './errors.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type { DataManager } from './types.ts';

/** What is known of each data manager while its commit runs. */
export type Voted = ReadonlySet<DataManager> | undefined;

/**
 * Calls `abort` on those that have not voted, then `tpcAbort` on all but those released by a read-only vote. An error stops
 * nothing and is hung on `cause` (zope 74, departure from 75).
 */
export async function cleanUp(
  txn: Transaction,
  managers: readonly DataManager[],
  voted: Voted,
  cause: Error,
  released?: ReadonlySet<DataManager>,
): Promise<void> {
  for (const manager of managers) {
    if (voted !== undefined && voted.has(manager)) continue;
    await attempt(() => manager.abort(txn), cause);
  }
  for (const manager of managers) {
    if (released !== undefined && released.has(manager)) continue;
    await attempt(() => manager.tpcAbort(txn), cause);
  }
}

/** Runs one step of a cleanup; its error is hung on `cause`. */
export function attempt(step: () => unknown, cause: Error): Promise<void> | undefined {
  try {
    const answer = step();
    if (isThenable(answer)) {
      return Promise.resolve(answer).then(undefined, (failure: unknown) => void suppress(cause, failure));
    }
  } catch (failure) {
    suppress(cause, failure);
  }
  return undefined;
}
