/** Functions as a data manager: one to vote with, one to finish with, one to undo with. */
import {
  ConfigurationError,
  TransactionClosed,
  TransactionError,
  describe,
  list,
  suppress,
  toError,
} from '../../coordinator/errors.ts';
import { type Rule, type Rules, aDelay, aFunction, aString, checkOptions } from '../../coordinator/options.ts';
import { inOrder, isThenable } from '../../coordinator/thenable.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { Awaitable, DataManager, DataManagerSavepoint, SandboxConduct, Vote } from '../../coordinator/types.ts';
import { Patience } from '../support/patience.ts';

/** A function that takes part in a transaction. What it returns is awaited where it is a promise, and else ignored. */
export type TransactionCallable = (txn: Transaction) => unknown;

/** Options of one function. */
export interface CallableOptions {
  /** What errors call it; default the function's own name. */
  name?: string | undefined;
  /** How long its promise is waited for, in milliseconds; default 60,000. After that it counts as failed. */
  timeoutMs?: number | undefined;
  /**
   * Whether the whole transaction may be tried again after this error: asked, as every data manager is, of any error that
   * ends the transaction, not only of this function's. Default: it never says so.
   */
  shouldRetry?: ((error: Error) => boolean) | undefined;
}

/** The functions that a {@link CallableDataManager} is made with. */
export interface Callables {
  /** See {@link CallableDataManager.onVote}. */
  vote?: TransactionCallable | undefined;
  /** See {@link CallableDataManager.onFinish}. */
  finish?: TransactionCallable | undefined;
  /** See {@link CallableDataManager.onAbort}. */
  abort?: TransactionCallable | undefined;
}

/** Options of a {@link CallableDataManager}: those of its functions, and its place. */
export interface CallableDataManagerOptions extends CallableOptions {
  /** Its place among the data managers; default `~~callable`, which is behind those of all databases. */
  sortKey?: string | undefined;
}

type Kind = 'vote' | 'finish' | 'abort';

interface Registered {
  readonly kind: Kind;
  readonly fn: TransactionCallable;
  readonly name: string;
  readonly timeoutMs: number;
  readonly shouldRetry: ((error: Error) => boolean) | undefined;
}

const aCallable: Rule = { ...aFunction, requires: 'a function of the transaction' };
const callableRules: Rules<Callables> = { vote: aCallable, finish: aCallable, abort: aCallable };
/** @internal */
export const callableOptionRules: Rules<CallableOptions> = { name: aString, timeoutMs: aDelay, shouldRetry: aFunction };
const dataManagerRules: Rules<CallableDataManagerOptions> = { ...callableOptionRules, sortKey: aString };

const DEFAULT_TIMEOUT_MS = 60_000;

/** Behind `~sql:`, the keys of sessions: what finishes there finds the databases committed. */
const DEFAULT_SORT_KEY = '~~callable';

/**
 * Functions that take part in one transaction, each kind in the order in which it was given:
 *
 * - **vote** functions are called when all have handed over their changes; one that throws says no, and nothing is committed;
 * - **finish** functions are called once all have voted yes. They must not fail: one that does lets the others be called all the
 *   same, and the commit rejects with `InDoubtError`;
 * - **abort** functions are called once if the transaction doesn't commit.
 *
 * Nothing of it counts as a change: one database beside it still commits in one phase, before the first finish function is called.
 * Where the outcome can't be known (the reply of the last resource was lost), neither finish nor abort functions are called.
 *
 * The functions `onVote`, `onFinish` and `onAbort` make and join these by themselves.
 */
export class CallableDataManager implements DataManager {
  /** Its place among the others. */
  readonly sortKey: string;
  /** Kept until the transaction is over: `shouldRetry` is asked after the functions have been called. */
  readonly #registered: Registered[] = [];
  /** Of the vote, which a deadline may cut short. */
  readonly #patience = new Patience();
  #closed = false;
  #ended = false;

  /**
   * @param callables up to one function of each kind; {@link onVote}, {@link onFinish} and {@link onAbort} add more.
   * @throws ConfigurationError for what is no function, and for unknown or impossible options.
   */
  constructor(callables: Callables = {}, options: CallableDataManagerOptions = {}) {
    checkOptions('new CallableDataManager()', callables, callableRules);
    checkOptions('new CallableDataManager()', options, dataManagerRules);
    const { sortKey = DEFAULT_SORT_KEY, ...each } = options;
    this.sortKey = sortKey;
    if (callables.vote !== undefined) this.onVote(callables.vote, each);
    if (callables.finish !== undefined) this.onFinish(callables.finish, each);
    if (callables.abort !== undefined) this.onAbort(callables.abort, each);
  }

  /** Adds a function that says no by throwing. @throws as {@link onFinish} does. */
  onVote(fn: TransactionCallable, options: CallableOptions = {}): void {
    this.#add('vote', fn, options);
  }

  /**
   * Adds a function that is called once all have voted yes.
   * @throws ConfigurationError when it is no function, or for unknown or impossible options.
   * @throws TransactionClosed once the end of the transaction has begun.
   */
  onFinish(fn: TransactionCallable, options: CallableOptions = {}): void {
    this.#add('finish', fn, options);
  }

  /** Adds a function that is called once if the transaction doesn't commit. @throws as {@link onFinish} does. */
  onAbort(fn: TransactionCallable, options: CallableOptions = {}): void {
    this.#add('abort', fn, options);
  }

  #add(kind: Kind, fn: TransactionCallable, options: CallableOptions): void {
    if (typeof fn !== 'function') {
      throw new ConfigurationError(`${whereOf(kind)} takes a function of the transaction, not ${describe(fn)}`);
    }
    checkOptions(whereOf(kind), options, callableOptionRules);
    if (this.#closed) {
      throw new TransactionClosed(
        `a function can be added until the end of its transaction has begun; this one's has, so ${describe(fn)} will not be called`,
      );
    }
    const { name = fn.name === '' ? 'anonymous' : fn.name, timeoutMs = DEFAULT_TIMEOUT_MS, shouldRetry } = options;
    this.#registered.push({ kind, fn, name, timeoutMs, shouldRetry });
  }

  #all(kind: Kind): readonly Registered[] {
    return this.#registered.filter((each) => each.kind === kind);
  }

  /** Calls one; its promise is waited for no longer than it says. */
  #call(each: Registered, txn: Transaction, patience: Patience): unknown {
    const answer = each.fn(txn);
    if (!isThenable(answer)) return undefined;
    return patience.wait(answer, each.timeoutMs, () => {
      const ms = each.timeoutMs;
      return new TransactionError(
        `the ${each.kind} function '${each.name}' must be through within its timeoutMs; it was not after ${ms} ms, and isn't waited for any more`,
        { resource: each.name, xid: txn.id },
      );
    });
  }

  /** Calls all of a kind, whatever one of them throws; answers with what they have thrown. */
  #callAll(kind: Kind, txn: Transaction): Awaitable<Failure[]> {
    const failures: Failure[] = [];
    // Of its own: a deadline that passes now changes nothing any more.
    const patience = new Patience();
    const done = inOrder(this.#all(kind), undefined, (each) => {
      const failed = (thrown: unknown): void => void failures.push({ name: each.name, error: toError(thrown) });
      try {
        const answer = this.#call(each, txn, patience);
        return isThenable(answer) ? answer.then(undefined, failed) : undefined;
      } catch (thrown) {
        return failed(thrown);
      }
    });
    return done === undefined ? failures : done.then(() => failures);
  }

  /** From now on nothing is added. */
  tpcBegin(): void {
    this.#closed = true;
  }

  /** Nothing is handed over before the vote. */
  commit(): void {}

  /** Calls the vote functions; the first one that throws says no, and its error is the one that the caller of commit gets. */
  tpcVote(txn: Transaction): Awaitable<Vote> {
    const vote = this.#registered.every(({ kind }) => kind === 'vote') ? 'read-only' : 'commit';
    const done = inOrder(this.#all('vote'), undefined, (each) => this.#call(each, txn, this.#patience));
    return done === undefined ? vote : done.then(() => vote);
  }

  /** Calls the finish functions, all of them. @throws TransactionError that names those which failed. */
  tpcFinish(txn: Transaction): Awaitable<void> {
    this.#ended = true;
    const failures = this.#callAll('finish', txn);
    return isThenable(failures) ? failures.then((all) => refuseToFail(all, txn)) : refuseToFail(failures, txn);
  }

  /** Calls the abort functions, unless they have been called. */
  tpcAbort(txn: Transaction): Awaitable<void> {
    return this.abort(txn);
  }

  /** Calls the abort functions, unless they have been called. @throws The first error of one, with the others as `suppressed`. */
  abort(txn: Transaction): Awaitable<void> {
    this.#closed = true;
    if (this.#ended) return undefined;
    this.#ended = true;
    // Taken out by the rollback of an older savepoint: what was registered since is dropped, and the transaction goes on.
    if (!txn.resources.includes(this)) return undefined;
    const failures = this.#callAll('abort', txn);
    return isThenable(failures) ? failures.then(throwFirst) : throwFirst(failures);
  }

  /** Whether the transaction committed can't be known: whatever would be called might be wrong. */
  hold(): void {
    this.#ended = true;
  }

  /** The functions registered until now; what is added later is dropped by its rollback. */
  savepoint(): DataManagerSavepoint {
    const count = this.#registered.length;
    return {
      rollback: () => {
        this.#registered.length = count;
      },
    };
  }

  /** In a sandbox they are called as ever: they are what is tested. */
  sandboxed(): SandboxConduct {
    return { undo: () => undefined };
  }

  /** Whether one of the functions says that the transaction may be tried again. */
  shouldRetry(error: Error): boolean {
    return this.#registered.some((each) => each.shouldRetry?.(error) === true);
  }

  /** A deadline has passed: a vote that is waited for is a no. */
  cancel(reason: Error): void {
    this.#patience.cancel(reason);
  }
}

interface Failure {
  readonly name: string;
  readonly error: Error;
}

function whereOf(kind: Kind): string {
  return `on${kind.charAt(0).toUpperCase()}${kind.slice(1)}()`;
}

function throwFirst(failures: readonly Failure[]): void {
  if (failures.length === 0) return;
  const first = failures[0]!.error;
  for (const { error } of failures.slice(1)) suppress(first, error);
  throw first;
}

function refuseToFail(failures: readonly Failure[], txn: Transaction): void {
  if (failures.length === 0) return;
  const names = list(failures.map(({ name, error }) => `'${name}' (${error.message})`));
  const error = new TransactionError(
    `a finish function must not fail once all have voted yes; ${names} did, the others were called, and what was to be done must be done by hand`,
    { cause: failures[0]!.error, resource: failures[0]!.name, xid: txn.id, phase: 'tpcFinish' },
  );
  for (const failure of failures.slice(1)) suppress(error, failure.error);
  throw error;
}
