/** One sequence of transactions, one at a time (zope 1-16). */
import {
  AlreadyInTransaction,
  ConfigurationError,
  NoTransaction,
  TransactionStateError,
  describe,
  suppress,
  toError,
} from './errors.ts';
import { events, isEndObserved } from './events.ts';
import { environment } from './environment.ts';
import { Deadline, signalError } from './deadline.ts';
import type { Decisions } from './decisions.ts';
import { NO_OPTIONS, type Rules, aBoolean, aFunction, checkOptions, transactionRules } from './options.ts';
import { type OnError, emitWarning } from './report.ts';
import { type Attempt, NO_RUN_OPTIONS, attemptsOf, checkAttempts, runOptionRules, runOwned } from './run.ts';
import type { Sandbox } from './sandbox.ts';
import type { Savepoint } from './savepoint.ts';
import { Synchronizers } from './synchronizers.ts';
import { isThenable } from './thenable.ts';
import { Transaction } from './transaction.ts';
import type { AttemptOptions, Awaitable, RunOptions, Synchronizer, TransactionOptions } from './types.ts';
import type { Watch } from './watch.ts';
import { XidSource } from './xid.ts';

/** Options of a manager; the coordinator's hold for the manager of each of its contexts. */
export interface ManagerOptions {
  /** Explicit mode (default true): nothing happens outside of `begin()` and an end. `false` is zope's implicit mode (zope 6). */
  explicit?: boolean | undefined;
  /** Told of errors that nobody can be thrown: of after-hooks, for one. Default: a process warning. */
  onError?: OnError | undefined;
  /** Lets several resources that can only commit in one phase take part, one after the other, as zope does (zope 140). */
  allowUnsafeLastResources?: boolean | undefined;
  /**
   * Commits changes of several durable resources without writing the decision down, as zope does: a crash between their commits leaves
   * half of them.
   */
  allowUnsafeCommit?: boolean | undefined;
}

export const managerRules: Rules<ManagerOptions> = {
  explicit: aBoolean,
  onError: aFunction,
  allowUnsafeLastResources: aBoolean,
  allowUnsafeCommit: aBoolean,
};

let processIds: XidSource | undefined;

/** The plain machine: begins transactions, knows the current one, and tells synchronizers of them. */
export class TransactionManager {
  /** Explicit mode; see {@link ManagerOptions.explicit}. */
  explicit: boolean;
  /** @internal */ readonly synchronizers: Synchronizers;
  /** @internal */ allowUnsafeLastResources: boolean;
  /** @internal */ allowUnsafeCommit: boolean;
  #onError: OnError;
  #current: Transaction | undefined = undefined;

  /** @throws ConfigurationError for unknown or impossible options. */
  constructor(options: ManagerOptions = {}, /** @internal */ synchronizers?: Synchronizers) {
    // A coordinator has checked its options once for all of its contexts.
    if (synchronizers === undefined) checkOptions('new TransactionManager()', options, managerRules);
    this.explicit = options.explicit ?? true;
    this.#onError = options.onError ?? emitWarning;
    this.allowUnsafeLastResources = options.allowUnsafeLastResources ?? false;
    this.allowUnsafeCommit = options.allowUnsafeCommit ?? false;
    this.synchronizers = synchronizers ?? new Synchronizers();
  }

  /** The current transaction, or undefined; never throws, never makes one. */
  get current(): Transaction | undefined {
    return this.#current;
  }

  /**
   * Begins a transaction and makes it the current one (zope 1).
   *
   * @throws AlreadyInTransaction in explicit mode while there is one (zope 8). Implicit mode aborts that one first (zope 2).
   * @throws ConfigurationError for unknown or impossible options, DoomedTransaction when the signal is aborted already.
   */
  begin(options: TransactionOptions = NO_OPTIONS): Promise<Transaction> {
    try {
      return Promise.resolve(this.open(options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** @internal As {@link begin}, but synchronous unless a synchronizer or an abort has to be awaited. */
  open(options: TransactionOptions): Awaitable<Transaction> {
    const refusal = this.refusal();
    if (refusal !== undefined) throw refusal;
    if (options !== NO_OPTIONS) {
      checkOptions('begin()', options, transactionRules);
      if (options.signal?.aborted === true) throw signalError(options.signal);
      if (options.explicit !== undefined) this.explicit = options.explicit;
    }
    if (this.#current !== undefined) {
      if (!this.explicit) return this.#beginAfterAbort(this.#current, options);
      throw new AlreadyInTransaction(
        `begin() needs a context without a transaction; this one's is ${this.#current.status} (${this.#current.id}): ` +
          `commit or abort it first, or give concurrent work its own context with run() or context()`,
        { xid: this.#current.id, phase: 'begin' },
      );
    }
    const txn = this.#start(options);
    const ready = this.ready();
    if (ready !== undefined) return ready.then(() => this.#announce(txn));
    return this.synchronizers.size > 0 ? this.#announce(txn) : txn;
  }

  async #beginAfterAbort(previous: Transaction, options: TransactionOptions): Promise<Transaction> {
    // An abort leaves the manager free even where it throws; one that is refused, by a commit under way, leaves it as it is.
    await previous.abort();
    return this.begin(options);
  }

  #start(options: TransactionOptions): Transaction {
    const txn = new Transaction(this, options);
    if (options !== NO_OPTIONS) {
      if (options.note !== undefined) txn.note(options.note);
      if (options.user !== undefined) txn.setUser(options.user);
      if (options.timeoutMs !== undefined || options.signal !== undefined) {
        txn.deadline = new Deadline(txn, options.timeoutMs, options.signal);
      }
    }
    this.#current = txn;
    this.started(txn);
    if (isEndObserved()) txn.startedMs ??= environment.now();
    if (events.begin.hasSubscribers) events.begin.publish({ transaction: txn });
    return txn;
  }

  async #announce(txn: Transaction): Promise<Transaction> {
    try {
      const told = this.synchronizers.notify('newTransaction', txn);
      if (told !== undefined) await told;
    } catch (thrown) {
      const error = toError(thrown);
      await txn.abort().catch((failure: unknown) => suppress(error, failure));
      throw error;
    }
    return txn;
  }

  /** What outlives the transactions of this manager's context: what a session keeps between them is kept for this. */
  get home(): TransactionManager {
    return this;
  }

  /** @internal Calls `listener` when this context is closed, which a plain manager never is. */
  onClose(_listener: () => void): () => void {
    return () => undefined;
  }

  /** @internal Why no transaction may begin; undefined where it may. */
  protected refusal(): Error | undefined {
    return undefined;
  }

  /** @internal Where decisions are written down; a plain manager has no such place. */
  get decisions(): Decisions | undefined {
    return undefined;
  }

  /** @internal Where all that is committed is undone in the end; a plain manager has no such place. */
  get sandbox(): Sandbox | undefined {
    return undefined;
  }

  /** @internal Looks after open transactions; a plain manager has nobody for that. */
  get watch(): Watch | undefined {
    return undefined;
  }

  /** @internal What the first transaction has to wait for; undefined where there is nothing. */
  protected ready(): Promise<void> | undefined {
    return undefined;
  }

  /** @internal A transaction was started; a manager of a context binds it to the calling chain here. */
  protected started(_txn: Transaction): void {
    // A plain manager has no context.
  }

  /**
   * The current transaction; implicit mode makes one where there is none (zope 4, 5).
   * @throws NoTransaction in explicit mode where there is none (zope 7).
   */
  get(): Transaction {
    if (this.#current !== undefined) return this.#current;
    if (this.explicit) throw noTransaction();
    const refusal = this.refusal();
    if (refusal !== undefined) throw refusal;
    return this.#start(NO_OPTIONS);
  }

  /** The current transaction, for a data manager of the calling code to work in now. @throws as {@link get} does. */
  enlist(): Transaction {
    return this.get();
  }

  /** Commits the current transaction; see {@link Transaction.commit}. */
  async commit(): Promise<void> {
    return this.get().commit();
  }

  /** Aborts the current transaction; see {@link Transaction.abort}. */
  async abort(): Promise<void> {
    return this.get().abort();
  }

  /** Dooms the current transaction; see {@link Transaction.doom}. */
  doom(): void {
    this.get().doom();
  }

  /** Whether the current transaction is doomed. */
  isDoomed(): boolean {
    return this.get().isDoomed();
  }

  /** Makes a savepoint of the current transaction; see {@link Transaction.savepoint}. */
  async savepoint(optimistic = false): Promise<Savepoint> {
    return this.get().savepoint(optimistic);
  }

  /**
   * Begins, calls `fn` and commits; aborts when it throws, and tries again when the error is transient (zope 34-42).
   * Always a transaction of its own (zope 43).
   *
   * @returns what `fn` returns.
   * @throws The last attempt's error, unchanged. RangeError unless `attempts` is a whole number of at least 1 (zope 36).
   */
  async run<T>(fn: (txn: Transaction) => Awaitable<T>, options: RunOptions = NO_RUN_OPTIONS): Promise<T> {
    checkRun(fn, options, runOptionRules);
    return runOwned(this, fn, options);
  }

  /**
   * Attempts for a loop: `for await (const attempt of manager.attempts(3)) await attempt(async (txn) => { … })`. The loop
   * ends after the first success; a transient error leads to the next attempt, but for the last (zope 25-33).
   */
  attempts(number = 3, options: AttemptOptions = {}): AsyncGenerator<Attempt, void, undefined> {
    return attemptsOf((body) => body(this), number, options);
  }

  /** Leaves the manager without a current transaction. @throws TransactionStateError for one that isn't current (zope 11). */
  free(txn: Transaction): void {
    if (this.#current !== txn) {
      throw new TransactionStateError('only the current transaction can be freed; this one is not current', {
        xid: txn.id,
      });
    }
    this.#current = undefined;
  }

  /**
   * Registers a synchronizer; once, however often it is called (zope 13). In the middle of a transaction it is told of that
   * one at once (zope 12). Returns the function that unregisters it.
   */
  registerSynch(synchronizer: Synchronizer): () => void {
    const isNew = this.synchronizers.add(synchronizer);
    const unregister = (): void => {
      if (this.synchronizers.has(synchronizer)) this.synchronizers.remove(synchronizer);
    };
    if (isNew && this.#current !== undefined) {
      const told = synchronizer.newTransaction?.(this.#current);
      if (isThenable(told)) told.then(undefined, (thrown: unknown) => this.report(toError(thrown)));
    }
    return unregister;
  }

  /** Unregisters one. @throws TransactionStateError when it isn't registered (zope 13). */
  unregisterSynch(synchronizer: Synchronizer): void {
    this.synchronizers.remove(synchronizer);
  }

  /** Unregisters all (zope 14). */
  clearSynchs(): void {
    this.synchronizers.clear();
  }

  /** Whether any synchronizer is registered (zope 14). */
  registeredSynchs(): boolean {
    return this.synchronizers.size > 0;
  }

  /** @internal */
  nextId(): string {
    return (processIds ??= new XidSource()).next();
  }

  /** @internal Hands an error to `onError`; where that throws, both become warnings. */
  report(error: Error): void {
    try {
      this.#onError(error);
    } catch (failure) {
      emitWarning(suppress(error, failure));
    }
  }
}

/** @internal */
export function noTransaction(): NoTransaction {
  return new NoTransaction(
    'a transaction must have been begun in this asynchronous context; there is none: call begin(), or do the work inside run()',
  );
}

/** Checks the arguments of `run`. */
export function checkRun(fn: unknown, options: object, rules: Parameters<typeof checkOptions>[2]): void {
  if (typeof fn !== 'function') throw new ConfigurationError(`run() takes a function, not ${describe(fn)}`);
  checkOptions('run()', options, rules);
  const { attempts } = options as RunOptions;
  if (attempts !== undefined) checkAttempts(attempts);
}
