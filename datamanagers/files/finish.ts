/** Putting files in place, when there is no way back. */
import { rename, unlink } from 'node:fs/promises';
import { TransactionError, toError } from '../../coordinator/errors.ts';
import { type Change, type Changes, pathsOf, syncFolders } from './changes.ts';
import type { FileResult } from './errors.ts';
import { isSame, look } from './look.ts';

/** What became of the changes; `unsynced` where it isn't certain that what was done outlives a power failure. */
export interface Finished {
  readonly results: readonly FileResult[];
  readonly unsynced: Error | undefined;
}

/**
 * Makes the changes in order, whatever becomes of one; but what works on a file whose own change failed isn't tried: a file would be
 * overwritten that was to be renamed first.
 */
export async function makeAll(changes: Changes): Promise<Finished> {
  const results: FileResult[] = [];
  const blocked = new Set<string>();
  const touched = new Set<string>();
  const done: string[] = [];
  for (const change of changes.list) {
    const paths = pathsOf(change);
    if (paths.some((path) => blocked.has(path))) {
      for (const path of paths) blocked.add(path);
      results.push(resultOf(change, 'not tried'));
      continue;
    }
    try {
      for (const path of paths) {
        // What this transaction itself has changed by now, it may change again.
        if (!touched.has(path) && !isSame(await look(path), changes.seen(path))) throw changedSince(path);
        touched.add(path);
      }
      await make(change);
      done.push(...paths);
      results.push(resultOf(change, 'done'));
    } catch (thrown) {
      for (const path of paths) blocked.add(path);
      results.push(resultOf(change, 'failed', toError(thrown)));
    }
  }
  const unsynced = await syncFolders(done).then(
    () => undefined,
    (error: unknown) => toError(error),
  );
  return { results, unsynced };
}

function make(change: Change): Promise<void> {
  switch (change.operation) {
    case 'write':
      return rename(change.staged, change.path);
    case 'rename':
      return rename(change.path, change.to);
    case 'unlink':
      return unlink(change.path);
  }
}

/** Nobody's data is overwritten unseen, not even now: rather is this one's left beside it. */
function changedSince(path: string): TransactionError {
  return new TransactionError(`${path} was changed or replaced by somebody else since the vote`);
}

export function resultOf(change: Change, outcome: FileResult['outcome'], error?: Error): FileResult {
  const { operation, path } = change;
  return {
    operation,
    path,
    ...(operation === 'rename' ? { to: change.to } : {}),
    ...(operation === 'write' && outcome !== 'done' ? { staged: change.staged } : {}),
    outcome,
    ...(error === undefined ? {} : { error }),
  };
}
