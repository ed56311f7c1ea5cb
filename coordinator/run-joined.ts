/** Running a function inside a transaction that somebody else began. */
import { ConfigurationError, suppress, toError } from './errors.ts';
import { Deadline } from './deadline.ts';
import type { Transaction } from './transaction.ts';
import type { Awaitable, RunOptions } from './types.ts';

/**
 * Takes part: what the function did can't be told from the rest, so an error that leaves it dooms the transaction (as EJB's and
 * Spring's rollback-only), lest a caller that catches the error commits half of it.
 */
export async function runJoined<T>(
  txn: Transaction,
  fn: (txn: Transaction) => Awaitable<T>,
  options: RunOptions,
): Promise<T> {
  refuseConflicts(txn, options);
  const deadline = deadlineOf(txn, options);
  try {
    return await (deadline === undefined ? fn(txn) : deadline.race(fn(txn)));
  } catch (thrown) {
    if (txn.status === 'active' && !txn.ending) txn.doom(toError(thrown));
    throw thrown;
  } finally {
    deadline?.clear();
  }
}

/** Takes part behind a savepoint: an error that leaves the function undoes what it did, and nothing else. */
export async function runNested<T>(
  txn: Transaction,
  fn: (txn: Transaction) => Awaitable<T>,
  options: RunOptions,
): Promise<T> {
  refuseConflicts(txn, options);
  const savepoint = await txn.savepoint();
  const deadline = deadlineOf(txn, options);
  try {
    return await (deadline === undefined ? fn(txn) : deadline.race(fn(txn)));
  } catch (thrown) {
    if (savepoint.valid) {
      await savepoint.rollback().catch((failure: unknown) => void suppress(toError(thrown), failure));
    }
    throw thrown;
  } finally {
    deadline?.clear();
  }
}

function deadlineOf(txn: Transaction, { timeoutMs, signal }: RunOptions): Deadline | undefined {
  return timeoutMs === undefined && signal === undefined ? undefined : new Deadline(txn, timeoutMs, signal);
}

/** What a transaction began with can't be changed by who takes part in it. */
function refuseConflicts(txn: Transaction, options: RunOptions): void {
  const { isolation, readOnly, deferrable } = options;
  const outer = txn.options;
  const conflict =
    isolation !== undefined && isolation !== outer.isolation
      ? (['isolation', isolation, outer.isolation] as const)
      : readOnly === false && outer.readOnly === true
        ? (['readOnly', readOnly, outer.readOnly] as const)
        : deferrable !== undefined && deferrable !== (outer.deferrable ?? false)
          ? (['deferrable', deferrable, outer.deferrable] as const)
          : undefined;
  if (conflict === undefined) return;
  const [option, wanted, had] = conflict;
  throw new ConfigurationError(
    `who takes part in a transaction must agree with how it began; '${String(wanted)}' was asked as ${option}, the active one has ${
      had === undefined ? "the database's default" : `'${String(had)}'`
    }: use the propagation 'requires-new', or begin the outer one with it`,
    { xid: txn.id },
  );
}
