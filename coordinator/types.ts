/**
 * The contracts between the coordinator, data managers, synchronizers, hooks and sessions. All normative prose is here;
 * implementations point to it.
 */
import type { Sandbox } from './sandbox.ts';
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
 * Those that follow each other in this order and are {@link DataManager.recoverable} get `commit`, `tpcVote` and `tpcFinish` at once, as
 * each waits for a server of its own. All others are called one after the other.
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
   * Capability: what it would do once all have voted, as messages that can be stored and delivered after the commit, by whichever
   * process; undefined where it does it by itself. Asked after `commit`, where a decision is written down. Where it has handed messages
   * over ({@link Transaction.isStored}), neither its vote nor its finish do what they say.
   */
  outbox?(txn: Transaction): readonly OutboxMessage[] | undefined;
  /**
   * Capability: how it takes part in a sandbox of `unanimous/testing`, asked before its first phase there. Without it, it is called for the
   * work and then for `tpcBegin` and `tpcAbort` alone, as whatever it does in between might leave the process.
   */
  sandboxed?(): SandboxConduct;
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

/** How a data manager takes part in a sandbox, where nothing is stored for good or sent. */
export interface SandboxConduct {
  /**
   * It commits as ever, and this undoes all that was committed since it was asked. Without it, `commit` and `tpcVote` are called, and must
   * send nothing (`tpcVote` isn't where the vote would be the commit); and `tpcAbort` instead of `tpcFinish`.
   */
  readonly undo?: () => Awaitable<void>;
  /** What it would do now that all have voted yes, for a test to look at. */
  readonly planned?: () => readonly unknown[];
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
  /** Capability: tells people more about what is prepared than {@link listPrepared} does. */
  describePrepared?(): Promise<PreparedReport>;
  /**
   * Capability: says what keeps recovery from its work here, or soon will. Asked once a minute, so it must be cheap.
   *
   * @param prefix what the ids of the transactions of this application and store begin with.
   */
  warnings?(prefix: string): Promise<readonly ResourceWarning[]>;
}

/** What keeps recovery from its work, or soon will: told to people, and to `onError` as a {@link RecoveryWarning}. */
export interface ResourceWarning {
  /** What kind it is; these names don't change. */
  readonly kind: ResourceWarningKind;
  /** What is required, what was seen, and what to do. */
  readonly message: string;
}

/** The kinds of warnings. */
export type ResourceWarningKind =
  /** A branch has been prepared for long: it keeps its locks, and in PostgreSQL it holds back vacuum. */
  | 'old-branch'
  /** Its server will soon refuse to prepare. */
  | 'little-room'
  /** The user may not list or end what is prepared. */
  | 'missing-right'
  /** Something is prepared that belongs to another user, and that this one may not end. */
  | 'foreign-owner'
  /** A process that is paused may keep its branches from others for long. */
  | 'long-wait'
  /** What is written there may be lost when its server dies. */
  | 'no-persistence';

/** What is prepared where a resource is, as far as its server tells. */
export interface PreparedReport {
  /** Branches of this package, also those of other resources and applications. */
  readonly branches: readonly PreparedBranch[];
  /** How many may be prepared at once, by anybody; absent where there is no limit. */
  readonly limit?: number;
  /** How many are prepared of those that the limit counts; absent where there is none. */
  readonly used?: number;
}

/** A branch that is prepared now. */
export interface PreparedBranch {
  /** Its identity. */
  readonly xid: Xid;
  /** For how long, in milliseconds by the clock of its server; absent where that doesn't tell. */
  readonly ageMs?: number;
}

/** What is written down before the first of several resources commits. */
export interface Decision {
  /** The global transaction id. */
  readonly gid: string;
  /** The incarnation of the process that decides: the part of the id that its node is registered under. */
  readonly incarnation: string;
  /** The names of the resources that have prepared, and must commit. */
  readonly participants: readonly string[];
  /** What must be done once it is committed; stored with the decision. */
  readonly messages?: readonly OutboxMessage[] | undefined;
}

/** Work that must be done once a transaction has committed, in a form that can be stored. */
export interface OutboxMessage {
  /** The name of the {@link OutboxTarget} that does it. */
  readonly target: string;
  /** What the target needs to do it. */
  readonly payload: string;
}

/** A message in the outbox. */
export interface StoredMessage extends OutboxMessage {
  /** The global transaction id. */
  readonly gid: string;
  /** Its place among the messages of its transaction, from 1. With {@link gid}, the same at each delivery: an idempotency key. */
  readonly sequence: number;
  /** How often its delivery has failed. */
  readonly attempts: number;
  /** Whether it has failed too often: nobody tries any more, until an operator says so. */
  readonly isDead: boolean;
  /** Why it failed last. */
  readonly error?: string | undefined;
  /** When it was stored, by the clock of the store. */
  readonly createdAt: Date;
}

/** Does what messages ask for: at once after the commit, else by recovery, in this process or another with a target of that name. */
export interface OutboxTarget {
  /** What messages call it; the same in every process. */
  readonly name: string;
  /** Does it. May be called again for the same message, where it isn't known whether that was done: at least once. */
  deliver(message: StoredMessage): Promise<void>;
  /**
   * Capability: true where the order of messages doesn't matter. Without it, a message that has failed keeps those behind it, until it
   * is delivered or dead.
   */
  readonly anyOrder?: boolean | undefined;
  /**
   * Capability: true where a message that comes again is known, and nothing is done. Whoever commits then doesn't wait until what was delivered
   * is deleted.
   */
  readonly knowsAgain?: boolean | undefined;
  /** Capability: as {@link RecoverableResource.warnings}. */
  warnings?(prefix: string): Promise<readonly ResourceWarning[]>;
  /** Capability: told that the messages of a transaction of this process are not delivered right after its commit, and why; recovery does it. */
  postponed?(gid: string, reason: Error): void;
}

/** Messages that wait for their delivery, in the decision store. */
export interface Outbox {
  /**
   * Messages that are due, oldest first. Nobody else gets them for {@link Claim.forMs} milliseconds, nor those that were stored less than
   * 30 seconds ago.
   */
  claim(claim: Claim): Promise<StoredMessage[]>;
  /** Keeps claimed messages for their deliverer for `forMs` milliseconds from now; 0 gives them back. */
  hold(messages: readonly MessageKey[], forMs: number): Promise<void>;
  /** Deletes messages that were delivered. */
  remove(messages: readonly MessageKey[]): Promise<void>;
  /** Says that a delivery failed: to be tried again in `retryInMs` milliseconds, or never, where that is undefined. */
  failed(message: MessageKey, error: string, retryInMs: number | undefined): Promise<void>;
  /** All messages, oldest first, at most `limit`. */
  list(limit: number): Promise<ListedMessage[]>;
  /** Makes messages due now, dead ones among them. */
  retry(messages: readonly MessageKey[]): Promise<void>;
  /**
   * Deletes messages by hand, and records in the same step who did that ({@link DecisionLog.handActions}). Returns those that were there,
   * as they were.
   */
  drop(messages: readonly MessageKey[], hand: DropByHand): Promise<StoredMessage[]>;
}

/** Which messages somebody is ready to deliver. */
export interface Claim {
  /** What the ids of their transactions begin with: the application, and the store. */
  readonly prefix: string;
  /** For which targets. */
  readonly targets: readonly string[];
  /** Those among them in order of which they are delivered: only messages without an earlier one of the same target that isn't due and isn't dead. */
  readonly inOrder: readonly string[];
  /** How many at most. */
  readonly limit: number;
  /** For how long, in milliseconds. */
  readonly forMs: number;
}

/** A message as it waits. */
export interface ListedMessage extends StoredMessage {
  /** How long ago it was stored, in milliseconds by the clock of the store. */
  readonly ageMs: number;
  /** In how many milliseconds it is due, by the clock of the store; 0 where it is due now. Means nothing where it is dead. */
  readonly dueInMs: number;
}

/** Who drops messages by hand. */
export interface DropByHand {
  /** As in {@link HandAction}. */
  readonly by: string;
  /** Whether something spoke against it. */
  readonly forced: boolean;
}

/** Identifies a message. */
export type MessageKey = Pick<StoredMessage, 'gid' | 'sequence'>;

/** A decision as it stands in the store. `'aborted'` is a tombstone: nobody can decide otherwise any more. */
export interface DecisionRow extends Decision {
  /** How it was decided. */
  readonly outcome: DecidedOutcome;
  /** When it was written, by the clock of the store. */
  readonly createdAt: Date;
}

/** How a transaction was decided. */
export type DecidedOutcome = 'committed' | 'aborted';

/**
 * How a transaction in doubt has ended. `'unknown'` where this process was taken for dead before it could find that out: others have
 * ended what was prepared as it was decided, all of it to the same outcome, and may have deleted the decision.
 */
export type ResolvedOutcome = DecidedOutcome | 'unknown';

/** What an operator does about a transaction by hand. */
export interface HandAction {
  /** `'commit'` and `'abort'` decide; `'forget'` deletes the decision. */
  readonly action: 'commit' | 'abort' | 'forget';
  /** Who does it, such as `user@host`. */
  readonly by: string;
  /** Whether it is done although something speaks against it. */
  readonly forced: boolean;
  /**
   * Commits also where the incarnation isn't registered any more: what isn't decided then is presumed to be aborted, and some of
   * its branches may have been rolled back already.
   */
  readonly evenFenced?: boolean;
}

/** What was done by hand: a row of the store's audit, which is kept for good. */
export interface HandActionRow {
  /** The global transaction id. */
  readonly gid: string;
  /** What was done; `'drop'` where a message of the outbox was dropped. */
  readonly action: HandAction['action'] | 'drop';
  /** Who did it. */
  readonly by: string;
  /** Whether it was done although something spoke against it. */
  readonly forced: boolean;
  /** When, by the clock of the store. */
  readonly at: Date;
  /** The message that was dropped: its number, its target, and why it had failed last. */
  readonly message?: Pick<StoredMessage, 'sequence' | 'target' | 'error'> | undefined;
}

/** A process that may decide. */
export interface DecisionNode {
  /** Its part of the ids of its transactions. */
  readonly incarnation: string;
  /** Its name, for people. */
  readonly node: string;
  /** When it was registered, by the clock of the store. */
  readonly startedAt: Date;
  /** Whether its lease has run out: a hint that it may be dead, never a proof. */
  readonly isExpired: boolean;
}

/**
 * Where "committed" is written down, for all processes of an application: a register for each transaction that can be written
 * once, and a row for each process, whose existence is its right to decide. It decides alone; leases are hints.
 *
 * - {@link decide} writes only while the incarnation is registered; {@link fence} waits for those on the way.
 * - Who has neither a decision nor the possibility of one is aborted (presumed abort).
 */
export interface DecisionLog {
  /** The session whose own changes can be committed along with the decision, by {@link decideWith}. */
  readonly session?: object | undefined;
  /**
   * Makes the store ready, and returns its identity, the same for every process: 1 to 12 of `A-Z a-z 0-9 _ . -`. May be called
   * again.
   *
   * @param options `create: false` to change nothing.
   * @throws ConfigurationError where it isn't ready and must not be changed, or was made by a later release.
   */
  open(options?: { readonly create?: boolean | undefined }): Promise<string>;
  /** Lets an incarnation decide, with a lease of `leaseMs` milliseconds. */
  register(incarnation: string, node: string, leaseMs: number): Promise<void>;
  /** Renews the lease; false where the incarnation isn't registered any more. */
  renew(incarnation: string, leaseMs: number): Promise<boolean>;
  /**
   * Writes "committed".
   * @throws FencedError when the incarnation isn't registered, DecisionFailedError when it is certain that nothing was and will be
   * written. Any other error leaves that open, and {@link settle} finds it out.
   */
  decide(decision: Decision): Promise<void>;
  /** The messages that are stored with decisions; without it, none can be. */
  readonly outbox?: Outbox | undefined;
  /** Whether the store's own changes are in this data manager, so that they can be committed along with the decision. */
  carries?(manager: DataManager): boolean;
  /** Commits `manager`, which {@link carries} the decision, and the decision with it. @throws as {@link decide} does. */
  decideWith?(manager: DataManager, txn: Transaction, decision: Decision): Promise<void>;
  /**
   * Decides to abort where nothing is decided, and returns what is. Undefined where the incarnation isn't registered and nothing stands
   * there: then nothing is written, because others may have followed a decision, and deleted it.
   */
  settle(decision: Decision): Promise<DecidedOutcome | undefined>;
  /** Who may decide now. */
  nodes(): Promise<DecisionNode[]>;
  /** Takes the right to decide away, after the decisions on the way; false where they are not through in time. */
  fence(incarnation: string): Promise<boolean>;
  /**
   * Decisions, oldest first, at most `limit`: of those whose ids begin with `prefix`, or, where the store doesn't tell them apart, of all.
   */
  decisions(limit: number, prefix?: string): Promise<DecisionRow[]>;
  /** The decisions about these transactions. */
  decisionsOf(gids: readonly string[]): Promise<DecisionRow[]>;
  /**
   * Resolves when what was read here before can't be lost any more: asked before anything is committed by a decision that was read. A server
   * that was started anew shows commits which the standbys that it waits for may not have. Left out where there is nothing of that kind.
   * Rejects where that can't be said in time.
   */
  confirm?(): Promise<void>;
  /** Deletes decisions that nobody needs any more. */
  forget(gids: readonly string[]): Promise<void>;
  /** Deletes the tombstones of those that may not decide any more. */
  forgetTombstones(): Promise<void>;
  /**
   * Decides by hand where nothing is decided, or forgets the decision, and records who did that in the same step. Returns what is
   * decided then; where that is something else than what was asked for, nothing was done. An abort of an incarnation that isn't registered
   * is only recorded, as it is so already (see {@link settle}).
   *
   * @throws FencedError for a commit of an incarnation that isn't registered, unless {@link HandAction.evenFenced}.
   */
  actByHand(action: HandAction, decision: Decision): Promise<DecidedOutcome | undefined>;
  /** What was done by hand about a transaction, oldest first. */
  handActions(gid: string): Promise<HandActionRow[]>;
  /** Gives back what the log has of its own, such as connections. */
  close(): Promise<void>;
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
  /** Makes a resource known to recovery, where there is one. */
  recovers?(resource: RecoverableResource): void;
  /** Makes known who delivers the messages of its name. */
  delivers?(target: OutboxTarget): void;
  /** @internal The sandbox that is open. */
  readonly sandbox?: Sandbox | undefined;
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
