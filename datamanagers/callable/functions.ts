/** `onVote`, `onFinish`, `onAbort` and `onCommit`: functions for the current transaction. */
import { transaction } from '../../coordinator/default.ts';
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { type Rules, aString, checkOptions } from '../../coordinator/options.ts';
import { aCoordinator } from '../../coordinator/session.ts';
import type { SessionCoordinator } from '../../coordinator/types.ts';
import {
  CallableDataManager,
  type CallableOptions,
  type TransactionCallable,
  callableOptionRules,
} from './data-manager.ts';

/** Options of `onVote`, `onFinish` and `onAbort`. */
export interface CallableJoinOptions extends CallableOptions {
  /** The coordinator or manager whose current transaction is meant; default the process-wide `transaction`. */
  coordinator?: SessionCoordinator | undefined;
  /**
   * Its place among the data managers. By default vote functions have `callable`, which is before all databases, and finish
   * and abort functions `~~callable`, which is behind them. Functions of one key share a data manager.
   */
  sortKey?: string | undefined;
}

const rules: Rules<CallableJoinOptions> = { ...callableOptionRules, coordinator: aCoordinator, sortKey: aString };

const commitRules: Rules<CommitHookOptions> = { coordinator: aCoordinator };

/** Before `~sql:`, the keys of sessions: a no costs no database its `PREPARE`. */
const VOTE_SORT_KEY = 'callable';
/** Behind them: when these are called, the databases have committed. */
const FINISH_SORT_KEY = '~~callable';

/**
 * Calls `fn` before the current transaction commits, when all changes have been handed over: it says no by throwing, and its
 * error is the one that the commit rejects with. Called before any database is prepared or committed.
 *
 * @throws NoTransaction without a transaction, TransactionClosed once its end has begun.
 * @throws ConfigurationError when `fn` is no function, or for unknown or impossible options.
 */
export function onVote(fn: TransactionCallable, options: CallableJoinOptions = {}): void {
  join('onVote()', VOTE_SORT_KEY, options).onVote(fn, ownOf(options));
}

/**
 * Calls `fn` when the current transaction has committed in all databases; never when it was aborted. It must not fail: if it
 * throws, the others are called all the same, and the commit rejects with `InDoubtError`, which names it. What may be lost without
 * anybody being told is better an after-commit hook.
 *
 * @throws as {@link onVote} does.
 */
export function onFinish(fn: TransactionCallable, options: CallableJoinOptions = {}): void {
  join('onFinish()', FINISH_SORT_KEY, options).onFinish(fn, ownOf(options));
}

/**
 * Calls `fn` once if the current transaction doesn't commit, by whatever that comes. Not called where a savepoint is rolled back
 * and the transaction goes on, and not where the outcome can't be known.
 *
 * @throws as {@link onVote} does.
 */
export function onAbort(fn: TransactionCallable, options: CallableJoinOptions = {}): void {
  join('onAbort()', FINISH_SORT_KEY, options).onAbort(fn, ownOf(options));
}

/** Options of `onCommit`. */
export interface CommitHookOptions {
  /** The coordinator or manager whose current transaction is meant; default the process-wide `transaction`. */
  coordinator?: SessionCoordinator | undefined;
}

/**
 * Calls `fn` when the current transaction is over and has committed: outside of it, so that it may begin another. It is awaited before
 * the commit resolves; its error is reported to `onError` and changes nothing. Not called where the transaction was aborted, nor where
 * the savepoint that it was registered behind is rolled back; lost with a process that dies in between.
 *
 * @throws NoTransaction without a transaction, TransactionClosed once it has ended.
 * @throws ConfigurationError when `fn` is no function, or for unknown or impossible options.
 */
export function onCommit(fn: () => unknown, options: CommitHookOptions = {}): void {
  checkOptions('onCommit()', options, commitRules);
  if (typeof fn !== 'function') throw new ConfigurationError(`onCommit() takes a function, not ${describe(fn)}`);
  (options.coordinator ?? transaction).enlist().addAfterCommitHook((committed) => (committed ? fn() : undefined));
}

/** The data manager of the current transaction for functions of this sort key. */
function join(where: string, defaultKey: string, options: CallableJoinOptions): CallableDataManager {
  checkOptions(where, options, rules);
  const { coordinator = transaction, sortKey = defaultKey } = options;
  // A text as the key: copies of this package in one process find each other's, and keep to one order.
  return coordinator
    .enlist()
    .getOrJoin(`unanimous:callable:1:${sortKey}`, () => new CallableDataManager({}, { sortKey }));
}

function ownOf({ coordinator: _coordinator, sortKey: _sortKey, ...own }: CallableJoinOptions): CallableOptions {
  return own;
}
