/** One transaction: what has joined it, what is known of it, and the doors to its phases. */
import { abortTransaction } from './abort.ts';
import { commitTransaction } from './commit.ts';
import { isStoredWith } from './commit-way.ts';
import { checkedSortKey } from './data-manager.ts';
import type { Deadline } from './deadline.ts';
import {
  ConcurrentUseError,
  ConfigurationError,
  DoomedTransaction,
  TransactionClosed,
  type TransactionError,
  TransactionFailedError,
  TransactionStateError,
  describe,
  isTransient,
  mayHaveCommitted,
  suppress,
  suppressedBy,
} from './errors.ts';
import { events } from './events.ts';
import { Hooks, type HookKind } from './hooks.ts';
import type { TransactionManager } from './manager.ts';
import { type NestedFrame, wakeWaiting } from './nested-frame.ts';
import { type Savepoint, makeSavepoint } from './savepoint.ts';
import { type Status, isFinished, mayFollow } from './status.ts';
import { text } from './text.ts';
import type {
  AfterAbortHook,
  AfterCommitHook,
  BeforeHook,
  CommitWay,
  DataManager,
  Outcome,
  RegisteredHook,
  ResolvedOutcome,
  TransactionOptions,
} from './types.ts';

const NO_RESOURCES: readonly DataManager[] = Object.freeze([]);
const NO_NAMES: readonly string[] = Object.freeze([]);
const CAUSE_DEPTH = 8;

/** Errors that may be tried again by the word of a data manager that has left since: few transactions have any, so they take no room in the others. */
const retryables = new WeakMap<Transaction, WeakSet<object>>();

/**
 * A unit of work over any number of data managers: all of them commit, or none. Made by `begin()` or `run()`, never by
 * `new`. Everything but {@link abort} throws {@link TransactionClosed} once it has ended (departure from zope 57, 60, 111, 127).
 */
export class Transaction {
  /** @internal */ readonly manager: TransactionManager;
  /** Options that it was begun with. */
  readonly options: TransactionOptions;
  /** Which attempt of `run` or `attempts` this is, from 1. */
  attempt = 1;

  /** @internal When it began, by the clock of the environment; undefined where nobody asks. */ startedMs:
    | number
    | undefined = undefined;
  /** @internal */ state: Status = 'active';
  /** @internal True from the call of commit() or abort() on. */ ending = false;
  /** @internal The commit or abort under way, where it didn't end synchronously. */ completion:
    | Promise<void>
    | undefined = undefined;
  /** @internal In the order of joining. */ resources: DataManager[] = NO_RESOURCES as DataManager[];
  /** @internal The sort key of each resource. */ sortKeys: string[] = NO_NAMES as string[];
  /** @internal */ hooks: Hooks | undefined = undefined;
  /** @internal True once its last hook was called. */ hooksCalled = false;
  /** @internal Why it can't be committed: the error of the step that failed. */ failure: Error | undefined = undefined;
  /** @internal Why it was doomed, where there is a reason. */ doomReason: Error | undefined = undefined;
  /** @internal */ deadline: Deadline | undefined = undefined;
  /** The way that the commit takes: known to a data manager from its vote on. */
  way: CommitWay | undefined = undefined;
  /** @internal */ pendingFinish: readonly string[] = NO_NAMES;
  /** @internal True once the outcome can't be changed any more. */ decided = false;
  /**
   * Of a transaction in doubt: how it was decided, once recovery has found that out and ended what was prepared. Never rejects.
   * Undefined where it isn't in doubt, or there is no decision store.
   */
  resolved: Promise<ResolvedOutcome> | undefined = undefined;
  /** @internal How many savepoints are being made or rolled back. */ savepointsUnderWay = 0;
  /** @internal The innermost nested run that is open. */ innermost: NestedFrame | undefined = undefined;
  /** Under which key which data manager was joined by {@link getOrJoin}. */
  #keyed: { readonly key: unknown; readonly manager: DataManager }[] | undefined = undefined;
  #savepoints: Savepoint[] | undefined = undefined;
  #data: Map<unknown, unknown> | undefined = undefined;
  #id: string | undefined = undefined;
  #user = '';
  #description = '';
  #extension: Record<string, unknown> | undefined = undefined;

  /** @internal */
  constructor(manager: TransactionManager, options: TransactionOptions) {
    this.manager = manager;
    this.options = options;
  }

  /** Where it is in its life. */
  get status(): Status {
    return this.state;
  }

  /** The global transaction id, at most 64 bytes; the same in every branch, log and error. */
  get id(): string {
    return (this.#id ??= this.manager.nextId());
  }

  /** Who it is done for, as set by {@link setUser}; `''` where nobody was named. */
  get user(): string {
    return this.#user;
  }
  /** @throws RangeError for null or undefined (zope 107). */
  set user(value: string) {
    this.#refuseFinished('set the user of');
    this.#user = text('user', value);
  }

  /** What it is about: the notes, one a line. */
  get description(): string {
    return this.#description;
  }
  set description(value: string) {
    this.#refuseFinished('describe');
    // As upstream: a description of nothing changes nothing (zope 107).
    if (value !== null && value !== undefined) this.#description = text('description', value);
  }

  /** Extended information, as set by {@link setExtendedInfo}. */
  get extension(): Readonly<Record<string, unknown>> {
    return (this.#extension ??= {});
  }

  /** How it ended; undefined until then. */
  get outcome(): Outcome | undefined {
    if (this.state === 'aborted' || this.state === 'commit failed') return { result: 'aborted' };
    if (this.state !== 'committed' && this.state !== 'in doubt') return undefined;
    return {
      result: this.state,
      ...(this.way === undefined ? {} : { way: this.way }),
      ...(this.pendingFinish.length === 0 ? {} : { pendingFinish: this.pendingFinish }),
    };
  }

  /**
   * Adds a data manager; joining twice is the same as once (departure from zope 61). Synchronous, so that a data manager
   * can join before its first await.
   *
   * @throws ConfigurationError when it is no data manager or its sort key is no string.
   * @throws TransactionFailedError after a failure, TransactionStateError while committing, TransactionClosed afterwards.
   */
  join(manager: DataManager): void {
    this.#refuseJoin();
    if (this.resources.includes(manager)) return;
    const sortKey = checkedSortKey(manager);
    if (this.resources === NO_RESOURCES) {
      this.resources = [manager];
      this.sortKeys = [sortKey];
    } else {
      this.resources.push(manager);
      this.sortKeys.push(sortKey);
    }
    if (this.#savepoints !== undefined) {
      for (const savepoint of this.#savepoints) savepoint.joinedLater(manager);
    }
    this.manager.sandbox?.joined(this, manager);
    if (events.join.hasSubscribers) events.join.publish({ transaction: this, resource: this.nameOf(manager) });
  }

  /**
   * The data manager that joined under `key`, usually a session; where there is none, joins what `factory` makes.
   * @throws as {@link join} does, ConfigurationError when `factory` is no function.
   */
  getOrJoin<D extends DataManager>(key: unknown, factory: (txn: this) => D): D {
    const joined = this.joined(key);
    if (joined !== undefined) return joined as D;
    this.#refuseJoin();
    if (typeof factory !== 'function') {
      throw new ConfigurationError(`getOrJoin() takes a function that makes a data manager, not ${describe(factory)}`, {
        xid: this.id,
      });
    }
    const manager = factory(this);
    this.join(manager);
    (this.#keyed ??= []).push({ key, manager });
    return manager;
  }

  /** The data manager that joined under `key`, or undefined; never joins. */
  joined(key: unknown): DataManager | undefined {
    if (this.#keyed === undefined) return undefined;
    for (const entry of this.#keyed) if (entry.key === key) return entry.manager;
    return undefined;
  }
  #refuseJoin(): void {
    const state = this.state;
    if (state === 'active' || state === 'doomed' || state === 'aborting') return;
    throw this.#refusal('join');
  }

  /** @internal Takes a data manager out again; false when it isn't in. */
  unjoin(manager: DataManager): boolean {
    const index = this.resources.indexOf(manager);
    if (index < 0) return false;
    this.resources.splice(index, 1);
    this.sortKeys.splice(index, 1);
    this.#keyed = this.#keyed?.filter((entry) => entry.manager !== manager);
    return true;
  }

  /**
   * Commits: all joined data managers, or none. See {@link DataManager} for the order of calls.
   *
   * @throws ConcurrentUseError while a savepoint is being made or rolled back; nothing has happened then.
   * @throws DoomedTransaction when it was doomed, TransactionTimeoutError when by its deadline; it stays as it is (zope 52).
   * @throws The error of the first hook, synchronizer or data manager that failed. Everything was undone then; the transaction
   * stays current in status `commit failed` until {@link abort} (zope 54, 56).
   * @throws InDoubtError when all voted yes and one failed to finish.
   */
  commit(): Promise<void> {
    if (this.state !== 'active' || this.ending) return Promise.reject(this.#refusal('commit'));
    if (this.savepointsUnderWay > 0) return Promise.reject(this.concurrentUse());
    return this.#complete(commitTransaction(this));
  }

  /**
   * Rolls everything back and ends the transaction. Does nothing where it has ended already (zope 58).
   *
   * @throws The first error of a synchronizer or data manager; the others were called all the same (zope 85, 86).
   * @throws TransactionStateError while a commit is under way.
   */
  abort(): Promise<void> {
    if (this.ending) {
      if (isFinished(this.state)) return Promise.resolve();
      if (this.state === 'aborting') return this.completion ?? Promise.resolve();
      if (this.state !== 'commit failed' || this.completion !== undefined) {
        return Promise.reject(this.#refusal('abort'));
      }
    }
    return this.#complete(abortTransaction(this));
  }

  #complete(completion: Promise<void>): Promise<void> {
    if (!isFinished(this.state)) {
      this.completion = completion;
      const done = (): void => {
        this.completion = undefined;
      };
      completion.then(done, done);
    }
    return completion;
  }

  /**
   * From now on it can only be aborted. Idempotent (zope 51).
   * @throws TransactionStateError unless it is active or doomed, TransactionClosed when it has ended.
   */
  doom(reason?: Error): void {
    if (this.state !== 'doomed') {
      if (this.state !== 'active') throw this.#refusal('doom');
      this.transition('doomed');
    }
    if (reason !== undefined) this.doomReason ??= reason;
  }

  /** Whether it can only be aborted. */
  isDoomed(): boolean {
    return this.state === 'doomed';
  }

  /**
   * Makes a savepoint over all joined data managers. With `optimistic`, those that can't make one are left out, and only
   * rolling back fails (zope 114, 117).
   *
   * @throws SavepointsUnsupportedError when one can't; the transaction has failed then and everything was undone (zope 115).
   */
  savepoint(optimistic = false): Promise<Savepoint> {
    if ((this.state !== 'active' && this.state !== 'doomed') || (this.ending && this.state !== 'active')) {
      return Promise.reject(this.#refusal('make a savepoint of'));
    }
    return makeSavepoint(this, optimistic);
  }

  /** Adds a line to the description; null is ignored (zope 106, 107). */
  note(note: string | null | undefined): void {
    this.#refuseFinished('note on');
    if (note === null || note === undefined) return;
    const line = text('note', note).trim();
    this.#description = this.#description === '' ? line : `${this.#description}\n${line}`;
  }

  /** Sets the user to `path name` (zope 109). */
  setUser(name: string, path = '/'): void {
    this.#refuseFinished('set the user of');
    this.#user = `${text('path', path)} ${text('user', name)}`;
  }

  /** Adds or overwrites extended information (zope 110). */
  setExtendedInfo(name: string, value: unknown): void {
    this.#refuseFinished('extend');
    // Defined, not assigned: a name such as __proto__ is a name like any other.
    Object.defineProperty(this.extension, name, { value, enumerable: true, configurable: true, writable: true });
  }

  /** What was kept under `key`, by identity; undefined where there is nothing, and after the end (zope 104, 105). */
  data(key: unknown): unknown {
    return this.#data?.get(key);
  }

  /** Keeps something for the life of the transaction (zope 104). */
  setData(key: unknown, value: unknown): void {
    this.#refuseFinished('keep data in');
    (this.#data ??= new Map()).set(key, value);
  }

  /** Calls `hook(...args)` when a commit begins, inside the transaction; its error fails the commit (zope 94). */
  addBeforeCommitHook<A extends unknown[]>(hook: BeforeHook<A>, ...args: A): void {
    this.#addHook('beforeCommit', hook, args);
  }
  /** Calls `hook(committed, ...args)` when a commit is over, outside the transaction; its error is reported (zope 95, 96). */
  addAfterCommitHook<A extends unknown[]>(hook: AfterCommitHook<A>, ...args: A): void {
    this.#addHook('afterCommit', hook, args);
  }
  /** Calls `hook(...args)` when an abort begins, inside the transaction; its error is reported (zope 99). */
  addBeforeAbortHook<A extends unknown[]>(hook: BeforeHook<A>, ...args: A): void {
    this.#addHook('beforeAbort', hook, args);
  }
  /** Calls `hook(...args)` when an abort is over, outside the transaction; its error is reported (departure from zope 100). */
  addAfterAbortHook<A extends unknown[]>(hook: AfterAbortHook<A>, ...args: A): void {
    this.#addHook('afterAbort', hook, args);
  }
  /** The hooks in the order in which they will run (zope 89). */
  getBeforeCommitHooks(): readonly RegisteredHook[] {
    return this.hooks?.list('beforeCommit').slice() ?? [];
  }
  /** The hooks in the order in which they will run (zope 89). */
  getAfterCommitHooks(): readonly RegisteredHook[] {
    return this.hooks?.list('afterCommit').slice() ?? [];
  }
  /** The hooks in the order in which they will run (zope 89). */
  getBeforeAbortHooks(): readonly RegisteredHook[] {
    return this.hooks?.list('beforeAbort').slice() ?? [];
  }
  /** The hooks in the order in which they will run (zope 89). */
  getAfterAbortHooks(): readonly RegisteredHook[] {
    return this.hooks?.list('afterAbort').slice() ?? [];
  }

  #addHook(kind: HookKind, hook: (...args: never[]) => unknown, args: unknown[]): void {
    // Until the hooks after the end have been called, one of them or afterCompletion may add another (zope 90).
    const stillToCall = !this.hooksCalled && kind === (this.state === 'aborted' ? 'afterAbort' : 'afterCommit');
    if (!stillToCall) this.#refuseFinished('hook into');
    if (typeof hook !== 'function') {
      throw new ConfigurationError(`a hook must be a function, not ${describe(hook)}`, { xid: this.id });
    }
    (this.hooks ??= new Hooks()).add(kind, { hook, args });
  }

  /**
   * True when trying again from the start may succeed: a {@link TransientError}, or a joined data manager says so, of the
   * error or of one of its causes (zope 112, 113). Never where one of these says that something may have been committed.
   */
  isRetryableError(error: unknown): boolean {
    this.#refuseFinished('ask');
    const candidates = causesOf(error);
    if (candidates.some((each) => mayHaveCommitted(each) || suppressedBy(each).some(mayHaveCommitted))) return false;
    return candidates.some(
      (candidate) =>
        isTransient(candidate) ||
        retryables.get(this)?.has(candidate as object) === true ||
        this.#anyoneWouldRetry(candidate),
    );
  }

  #anyoneWouldRetry(candidate: unknown): boolean {
    if (!(candidate instanceof Error)) return false;
    return this.resources.some(
      (manager) => typeof manager.shouldRetry === 'function' && manager.shouldRetry(candidate),
    );
  }

  /**
   * Aborts it unless it has ended, for `await using`. An error of that abort hangs on the error of the commit, where that has
   * failed (departure from zope 33); else it is thrown.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.completion !== undefined) await this.completion.catch(() => undefined);
    try {
      await this.abort();
    } catch (failure) {
      if (this.failure === undefined) throw failure;
      suppress(this.failure, failure);
    }
  }

  /** Whether what a data manager would do was stored as messages, which are delivered after the commit; known from its vote on. */
  isStored(manager: DataManager): boolean {
    return isStoredWith(this, manager);
  }

  // The rest is the machine's own; data managers and users see none of it.

  /** @internal Moves to another status, by the table of transitions only. */
  transition(to: Status): void {
    if (!mayFollow(this.state, to)) {
      throw new TransactionStateError(`a transaction can't go from '${this.state}' to '${to}'`, { xid: this.id });
    }
    this.state = to;
  }

  /** @internal Records that a step failed: only abort() is left. */
  fail(error: Error): void {
    this.failure ??= error;
    if (this.state !== 'commit failed') this.transition('commit failed');
  }

  /** @internal @throws unless work is accepted. */
  requireOpen(what: string): void {
    if (this.state !== 'active' && this.state !== 'doomed') throw this.#refusal(what);
  }

  /** @internal The error of a commit while a savepoint is being made or rolled back. */
  concurrentUse(): ConcurrentUseError {
    return new ConcurrentUseError(
      'to commit a transaction every savepoint() and rollback() in it must have ended; one is still under way: await it first',
      { xid: this.id, phase: 'savepoint' },
    );
  }

  /** @internal */
  failedError(): TransactionFailedError {
    const cause = this.failure;
    return new TransactionFailedError(
      `an operation on this transaction failed before and only abort() is left; it failed with:\n\n${cause?.stack ?? String(cause)}\n`,
      { cause, xid: this.id },
    );
  }

  /** @internal The error of a commit of a doomed transaction. */
  doomedError(): DoomedTransaction {
    const reason = this.doomReason;
    if (reason instanceof DoomedTransaction) return reason;
    return new DoomedTransaction(
      `a transaction can be committed while it isn't doomed; this one was doomed${reason === undefined ? '' : ` (${reason.message})`} and can only be aborted`,
      { xid: this.id, ...(reason === undefined ? {} : { cause: reason }) },
    );
  }

  /** @internal */
  nameOf(manager: DataManager): string {
    const name = manager.recoverable?.name;
    return name ?? this.sortKeys[this.resources.indexOf(manager)] ?? 'unknown';
  }

  /** @internal All hooks that are to be called have been. */
  dropHooks(): void {
    this.hooks = undefined;
    this.hooksCalled = true;
  }

  /** @internal */
  addSavepoint(savepoint: Savepoint): void {
    // A literal is as large as it has to be; an empty array makes room for many.
    if (this.#savepoints === undefined) this.#savepoints = [savepoint];
    else this.#savepoints.push(savepoint);
  }

  /** @internal */
  invalidateSavepointsAfter(savepoint: Savepoint): void {
    // One that is valid is among them.
    const savepoints = this.#savepoints!;
    for (const later of savepoints.splice(savepoints.indexOf(savepoint) + 1)) later.invalidate();
  }

  /** @internal Remembers that an error may be tried again, when those leave who know that. */
  rememberRetryable(error: Error): void {
    const errors = retryables.get(this);
    if (errors === undefined) retryables.set(this, new WeakSet([error]));
    else errors.add(error);
  }

  /** @internal The end begins: no savepoint can be returned to any more (zope 121). */
  invalidateSavepoints(): void {
    if (this.#savepoints === undefined) return;
    for (const savepoint of this.#savepoints) savepoint.invalidate();
    this.#savepoints = undefined;
  }

  /** @internal Lets go of everything and leaves the manager free for the next (zope 49, 68, 105). */
  free(): void {
    this.release();
    this.leave();
  }

  /** @internal Makes room for the next one, unless `free` of the manager was called meanwhile (zope 11). */
  leave(): void {
    if (this.manager.current === this) this.manager.free(this);
  }

  /** @internal Lets go of everything that it holds, but for the hooks that are still to be called. */
  release(): void {
    this.resources = NO_RESOURCES as DataManager[];
    this.sortKeys = NO_NAMES as string[];
    this.#keyed = undefined;
    this.#data = undefined;
    for (let frame = this.innermost; frame !== undefined; frame = frame.parent) wakeWaiting(frame);
    if (this.deadline !== undefined) {
      this.deadline.clear();
      this.deadline = undefined;
    }
  }

  #refuseFinished(what: string): void {
    if (isFinished(this.state)) throw this.#refusal(what);
  }

  #refusal(what: string): TransactionError {
    if (this.state === 'commit failed' && this.completion === undefined && what !== 'doom') return this.failedError();
    if (this.state === 'doomed' && what === 'commit') return this.doomedError();
    const details = { xid: this.id };
    if (isFinished(this.state)) {
      return new TransactionClosed(
        `to ${what} a transaction it must not have ended; this one has ended (${this.state}) and takes nothing more`,
        details,
      );
    }
    return new TransactionStateError(
      `to ${what} a transaction it must be active; this one is ${this.ending ? 'being ended' : this.state}`,
      details,
    );
  }
}

/** An error and its causes, outermost first. */
function causesOf(error: unknown): unknown[] {
  const causes = [error];
  for (let cause = error; cause instanceof Error && causes.length <= CAUSE_DEPTH;) causes.push((cause = cause.cause));
  return causes;
}
