/**
 * The contracts between the coordinator, data managers, synchronizers, hooks and sessions. All normative prose is here;
 * implementations point to it.
 */
import type { Transaction } from './transaction.ts';
import type { Xid } from './xid.ts';

/** Either a value or a promise of it. What is returned synchronously is not awaited and costs no tick. */
export type Awaitable<T> = T | Promise<T>;

/**
 * What a data manager answers in {@link DataManager.tpcVote}: `'commit'` (or nothing) promises that `tpcFinish` will
 * succeed; `'read-only'` (XA: XA_RDONLY) says that there was nothing to commit and that everything is released: the data
 * manager is not called again in this transaction, whatever its outcome.
 */
export type Vote = 'commit' | 'read-only';

/**
 * A resource that takes part in a transaction, joined by {@link Transaction.join}; one object per transaction.
 *
 * A commit calls every joined data manager in ascending `sortKey`, compared by code unit, equal keys in join order
 * (zope 63-65):
 *
 * 1. `tpcBegin` on all, `commit` on all, `tpcVote` on all. An error in any of them is a "no".
 * 2. After the last vote the outcome is decided, and `tpcFinish` is called on all, even where one of them throws.
 *
 * When one says no (zope 69-74):
 *
 * - in `tpcBegin` or `commit`: all get `abort`, then all get `tpcAbort`, also those that never began;
 * - in `tpcVote`: those that have not voted, the failing one among them, get `abort`; then all get `tpcAbort`.
 *
 * A plain abort calls `abort` on all in join order and never `tpcAbort` (zope 83, 84). `abort()` on a transaction whose
 * commit failed calls `abort` once more (zope 79). So both `abort` and `tpcAbort` must be idempotent, may come
 * without `tpcBegin`, and must not throw for having nothing to do (zope 129). After `abort` a data manager that works on
 * must join again (zope 130).
 */
export interface DataManager {
  /** Places it among the others; ASCII `~` sorts behind all letters. Read once, when it joins (departure from zope 66, 67). */
  readonly sortKey: string | (() => string);
  /** The two-phase commit begins. */
  tpcBegin(txn: Transaction): Awaitable<void>;
  /** Hand over all changes, so that only their being made durable remains. */
  commit(txn: Transaction): Awaitable<void>;
  /** Say yes by returning, after which `tpcFinish` must succeed, or no by throwing. */
  tpcVote(txn: Transaction): Awaitable<void | Vote>;
  /** All have voted yes: make it so. Must not fail; where it does, the transaction is in doubt. */
  tpcFinish(txn: Transaction): Awaitable<void>;
  /** Somebody voted no: undo everything since `tpcBegin`. */
  tpcAbort(txn: Transaction): Awaitable<void>;
  /** Undo everything since the data manager joined. */
  abort(txn: Transaction): Awaitable<void>;

  /** Capability: makes a savepoint of its state. Without it, `savepoint()` is refused while this is joined (zope 115). */
  savepoint?(txn: Transaction): Awaitable<DataManagerSavepoint>;
  /** Capability: says that an error is transient, so that the whole transaction may be tried again (zope 112). */
  shouldRetry?(error: Error): boolean;
  /**
   * Capability: true where the resource can only commit in one phase. It votes after all others, and its vote is its
   * commit (zope 138, 139). At most one such resource may have changes in a transaction.
   */
  readonly lastResource?: boolean;
  /**
   * Capability: whether there is anything to commit, asked after `commit`. A data manager that doesn't say counts as a
   * participant without a durable branch, such as a mail or a callable.
   */
  readonly changed?: boolean;
  /**
   * Capability: true where its vote may be its commit when nothing else has changes (XA: one-phase optimisation). It then
   * votes after all others, with {@link Transaction.way} `'one-phase'`.
   */
  readonly onePhase?: boolean;
  /** Capability: its branch can be prepared and found again after a crash. */
  readonly recoverable?: RecoverableResource;
  /**
   * Capability: the transaction was doomed by its deadline or signal while work is under way; stop waiting for it and
   * make the statement in flight fail with `reason`. Must not throw.
   */
  cancel?(reason: Error): void;
  /**
   * Capability: whether the last resource committed can't be known now. Keep what is prepared, give back all else (the
   * connection); nothing more is called in this transaction. Without it, such a data manager gets `tpcAbort`.
   */
  hold?(txn: Transaction): Awaitable<void>;
}

/** A state that a data manager can return to. */
export interface DataManagerSavepoint {
  /** Undo everything since the savepoint was made. May be called more than once (zope 119). */
  rollback(): Awaitable<void>;
}

/**
 * A resource manager whose prepared branches outlive connections and processes (XA: xa_recover). Recovery asks it what is
 * prepared and ends it as the decision says.
 */
export interface RecoverableResource {
  /** Stable name: the branch qualifier of this resource's part of a transaction. */
  readonly name: string;
  /** The branches of this application that are prepared now. */
  listPrepared(): Promise<Xid[]>;
  /** Commits a prepared branch, over any connection. */
  commitPrepared(xid: Xid): Promise<void>;
  /** Rolls a prepared branch back, over any connection. */
  rollbackPrepared(xid: Xid): Promise<void>;
}

/** Is told of the life of every transaction of a manager (zope 3, 12-16, 63, 82). Each method is optional. */
export interface Synchronizer {
  /** A transaction was begun by `begin()`; not called for one that implicit mode made lazily (zope 5). */
  newTransaction?(txn: Transaction): Awaitable<void>;
  /** A commit or abort begins; data managers may still join. */
  beforeCompletion?(txn: Transaction): Awaitable<void>;
  /** The commit or abort is complete, whatever its outcome. */
  afterCompletion?(txn: Transaction): Awaitable<void>;
}

/** Called before a commit or abort, inside the transaction, with the arguments it was registered with (zope 89-94, 99). */
export type BeforeHook<A extends unknown[] = never[]> = (...args: A) => unknown;
/** Called after an abort, once the transaction is over. */
export type AfterAbortHook<A extends unknown[] = never[]> = (...args: A) => unknown;
/** Called after a commit, once the transaction is over; `committed` says whether it succeeded (zope 95). */
export type AfterCommitHook<A extends unknown[] = never[]> = (committed: boolean, ...args: A) => unknown;

/** A registered hook and its arguments, as listed by `get…Hooks()`. */
export interface RegisteredHook {
  /** The function that was registered. */
  readonly hook: (...args: never[]) => unknown;
  /** The arguments that it is called with. */
  readonly args: readonly unknown[];
}

/** SQL isolation levels, by their standard names. */
export type IsolationLevel = 'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable';

/** Options of one transaction. */
export interface TransactionOptions {
  /** Isolation level that every SQL session of this transaction begins with; without it, the database's default. */
  isolation?: IsolationLevel | undefined;
  /** No session may write: sessions open `READ ONLY` where the database has it. */
  readOnly?: boolean | undefined;
  /** PostgreSQL's `DEFERRABLE`: with `serializable` and `readOnly`, wait for a snapshot that can't fail. */
  deferrable?: boolean | undefined;
  /** Milliseconds after which the transaction is doomed and what it waits for is cancelled; ignored once decided. */
  timeoutMs?: number | undefined;
  /** Dooms the transaction when it aborts, as `timeoutMs` does. */
  signal?: AbortSignal | undefined;
  /** The transaction's description; see {@link Transaction.note}. */
  note?: string | undefined;
  /** The transaction's user; see {@link Transaction.setUser}. */
  user?: string | undefined;
  /** For this context's manager: explicit or implicit mode from now on (zope 6, 19). */
  explicit?: boolean | undefined;
}

/**
 * What a function that is run in a transaction does where one is, or isn't, active already (the names are those of EJB
 * and Spring):
 *
 * - `required`: takes part in the active one, else begins its own. An error that leaves the function dooms the active one.
 * - `requires-new`: always begins its own, in a context of its own; the outer one waits untouched.
 * - `nested`: a savepoint of the active one, rolled back by an error, else begins its own.
 * - `mandatory`: takes part in the active one, else throws {@link NoTransaction}.
 * - `supports`: takes part in the active one, else runs without.
 * - `not-supported`: runs without one; the outer one waits untouched.
 * - `never`: throws {@link AlreadyInTransaction} where one is active.
 */
export type Propagation = 'required' | 'requires-new' | 'nested' | 'mandatory' | 'supports' | 'not-supported' | 'never';

/** How long to wait before the next attempt. Exponential: `baseMs * 2 ** (attempt - 1)`, at most `maxMs`, half of it random. */
export interface Backoff {
  /** Wait after the first failed attempt, in milliseconds; default 10. */
  baseMs?: number | undefined;
  /** Longest wait, in milliseconds; default 1000. */
  maxMs?: number | undefined;
}

/** Options of `run` on a plain manager. */
export interface RunOptions extends TransactionOptions {
  /** How many times the function is tried at most when a transient error ends it; default 3 (zope 34). */
  attempts?: number | undefined;
  /** Waits between attempts; `false` for none (zope 45). */
  backoff?: Backoff | false | undefined;
}

/** Options of `run` on the coordinator. */
export interface CoordinatorRunOptions extends RunOptions {
  /** What to do where a transaction is, or isn't, active already; default `required`. */
  propagation?: Propagation | undefined;
}

/** Options of `attempts`. */
export type AttemptOptions = Omit<RunOptions, 'attempts'>;

/** The way that a commit took. */
export type CommitWay =
  /** Nothing was joined, or nothing that was joined had changes. */
  | 'read-only'
  /** One resource had changes; its vote was its commit. */
  | 'one-phase'
  /** Several had changes; all were prepared but one that can't be, which voted, and so decided, last. */
  | 'last-resource'
  /** Several had changes and all were prepared before any was committed. */
  | 'two-phase';

/** How a transaction ended. */
export interface Outcome {
  /** What became of the work. */
  readonly result: 'committed' | 'aborted' | 'in doubt';
  /** The way the commit took; absent for an abort. */
  readonly way?: CommitWay;
  /** Resources that are bound to commit and have not confirmed it; absent when there are none. */
  readonly pendingFinish?: readonly string[];
}

/** State of a session in the current transaction; `undefined` where it has not joined. */
export type SessionState = 'active' | 'changed' | 'readonly';

/** Options of `markChanged`. */
export interface MarkChangedOptions {
  /** As in {@link RegisterOptions}, for this transaction. */
  keepSession?: boolean | undefined;
}

/** Options of `joinTransaction`. */
export interface JoinOptions {
  /** As in {@link RegisterOptions}, for this transaction. */
  initialState?: SessionState | undefined;
  /** As in {@link RegisterOptions}, for this transaction. */
  keepSession?: boolean | undefined;
}

/** Options of `register`. */
export interface RegisterOptions {
  /**
   * State in which the session joins: `'active'` (default) commits only if something was written, `'changed'` always
   * commits (zope 147), `'readonly'` opens `READ ONLY` and refuses `markChanged`.
   */
  initialState?: SessionState | undefined;
  /** Keep the connection bound to this session and context after the transaction, until `close()` (zope 145). */
  keepSession?: boolean | undefined;
  /**
   * `'auto'` (default) prepares when several resources changed, `true` always prepares, `false` never does: the session
   * is then a last resource, of which a transaction can have one.
   */
  twoPhase?: 'auto' | boolean | undefined;
  /** The coordinator whose transactions the session joins; default the process-wide `transaction`. */
  coordinator?: SessionCoordinator | undefined;
  /**
   * Find out by itself what was written (default true). `false` is zope.sqlalchemy's contract: what was not marked with
   * `markChanged` is rolled back (zope 135).
   */
  detectWrites?: boolean | undefined;
}

/** What a session needs of a coordinator or manager: the transaction to join. */
export interface SessionCoordinator {
  /**
   * The transaction to work in now.
   * @throws NoTransaction where there is none, TransactionClosed where it is over, ConcurrentUseError where it isn't the turn of
   * the calling code.
   */
  enlist(): Transaction;
  /** The current transaction, or undefined. */
  readonly current: Transaction | undefined;
  /** What outlives the transactions of this context; undefined outside of any. */
  readonly home: object | undefined;
}

/** A session that `register`, `markChanged`, `joinTransaction` and `sessionState` work on. */
export interface Session {
  /** Stable name of the resource: in errors, and in the identity of its branches. */
  readonly name: string;
  /** State in the current transaction; `undefined` where it has not joined, or there is none. */
  readonly state: SessionState | undefined;
  /** Sets how the session takes part; called by `register`. */
  configure(options: RegisterOptions): void;
  /** Says that something was written which can't be seen from outside; joins first where needed (zope 133). */
  markChanged(options?: MarkChangedOptions): void;
  /** Joins the current transaction before the first statement does. */
  joinTransaction(options?: JoinOptions): void;
}
