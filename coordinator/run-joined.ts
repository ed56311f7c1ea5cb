/** Running a function inside a transaction that somebody else began. */
import { ConfigurationError, DoomedTransaction, suppress, toError } from './errors.ts';
import { Deadline, signalError } from './deadline.ts';
import { type NestedFrame, frameClosed, wakeWaiting } from './nested-frame.ts';
import type { Transaction } from './transaction.ts';
import type { Awaitable, RunOptions } from './types.ts';

/**
 * Takes part: what the function did can't be told from the rest, so an error that leaves it dooms the transaction (as EJB's and
 * Spring's rollback-only), lest a caller that catches the error commits half of it.
 */
export async function runJoined<T>(
  txn: Transaction,
  frame: NestedFrame | undefined,
  fn: (txn: Transaction) => Awaitable<T>,
  options: RunOptions,
): Promise<T> {
  refuseImpossible(txn, options);
  const deadline = deadlineOf(txn, options);
  try {
    return await (deadline === undefined ? fn(txn) : deadline.race(fn(txn)));
  } catch (thrown) {
    // Inside of a nested run its rollback undoes the damage; else only the rollback of all does, be it from a hook of the commit.
    if (frame !== undefined && !frame.closed) frame.failure ??= toError(thrown);
    else if (txn.status === 'active') txn.doom(toError(thrown));
    throw thrown;
  } finally {
    deadline?.clear();
  }
}

/** The calling code's place in the transaction, and how to call a function in another one. */
export interface Place {
  readonly frame: NestedFrame | undefined;
  readonly inside: <R>(frame: NestedFrame, fn: () => R) => R;
}

/**
 * Takes part behind a savepoint: an error that leaves the function undoes what it did, and nothing else. Siblings take turns.
 */
export async function runNested<T>(
  txn: Transaction,
  place: Place,
  fn: (txn: Transaction) => Awaitable<T>,
  options: RunOptions,
): Promise<T> {
  refuseImpossible(txn, options);
  const { frame: parent } = place;
  while (txn.innermost !== parent) {
    if (parent?.closed === true) throw frameClosed(txn);
    txn.requireOpen('nest a run in');
    await new Promise<void>((resolve) => txn.innermost!.waiting.push(resolve));
  }
  const frame: NestedFrame = { parent, closed: false, failure: undefined, waiting: [] };
  txn.innermost = frame;
  let deadline: Deadline | undefined;
  try {
    const savepoint = await txn.savepoint();
    deadline = deadlineOf(txn, options);
    try {
      const work = place.inside(frame, () => fn(txn));
      const value = await (deadline === undefined ? work : deadline.race(work));
      if (frame.failure !== undefined) throw doomedFrame(txn, frame.failure);
      return value;
    } catch (thrown) {
      if (savepoint.valid) {
        // Asked while those are joined who know, as in zope 30: what joined in the nested run leaves with it.
        if (thrown instanceof Error && wouldRetry(txn, thrown)) txn.rememberRetryable(thrown);
        await savepoint.rollback().catch((failure: unknown) => void suppress(toError(thrown), failure));
      }
      throw thrown;
    }
  } finally {
    deadline?.clear();
    frame.closed = true;
    txn.innermost = parent;
    wakeWaiting(frame);
  }
}

/** Who can't answer says no. */
function wouldRetry(txn: Transaction, error: Error): boolean {
  try {
    return txn.isRetryableError(error);
  } catch {
    return false;
  }
}

function doomedFrame(txn: Transaction, cause: Error): DoomedTransaction {
  return new DoomedTransaction(
    `a nested run can end well when everything in it did; a function that took part in it threw (${cause.message}), so the nested run is rolled back`,
    { cause, xid: txn.id },
  );
}

function deadlineOf(txn: Transaction, { timeoutMs, signal }: RunOptions): Deadline | undefined {
  return timeoutMs === undefined && signal === undefined ? undefined : new Deadline(txn, timeoutMs, signal);
}

/** What a transaction began with can't be changed by who takes part in it. Nothing was done yet, so the transaction goes on. */
function refuseImpossible(txn: Transaction, options: RunOptions): void {
  if (options.signal?.aborted === true) throw signalError(options.signal, txn.id);
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
