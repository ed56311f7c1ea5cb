/**
 * One session's part of one transaction: the data manager that joins on first use (zope.sqlalchemy's SessionDataManager, zope
 * 132-155). It holds one connection, sends what its queue says on it, and is closed for work once the end begins.
 */
import {
  ConcurrentUseError,
  TransactionClosed,
  TransactionError,
  TransactionStateError,
} from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { Awaitable, DataManager, DataManagerSavepoint, SessionState, Vote } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import type { SqlConnection } from './connection.ts';
import { connectionLost } from './lost.ts';
import { type QueueOwner, StatementQueue, type Work } from './queue.ts';
import type { SqlSession } from './session.ts';
import { type Turn, Turns } from './turns.ts';
import { driverErrorOf } from './wrapped.ts';

/** How long a cursor or stream that is read to its end, or was told to stop, may take to be through, in milliseconds. */
const STREAM_GRACE_MS = 1_000;

/** A state to return to; see {@link SqlBranch.mark}. */
export interface Mark extends DataManagerSavepoint {
  /** Undo everything since, and forget the mark. */
  undo(): Promise<void>;
  /** Keep everything since, and forget the mark. Throws SilentRollbackError where a statement has failed. */
  keep(): Promise<void>;
}

export class SqlBranch implements DataManager, QueueOwner {
  readonly sortKey: string;
  readonly session: SqlSession;
  /** The connection, once a statement has taken it. */
  get connection(): SqlConnection | undefined {
    return this.#connection;
  }
  /** The transaction that it is a part of. */
  get txn(): Transaction {
    return this.#txn;
  }
  readonly #txn: Transaction;
  readonly #queue: StatementQueue;
  keep: boolean;
  #declared: SessionState;
  #connection: SqlConnection | undefined = undefined;
  #closed = false;
  #ended = false;
  #prepared: Xid | undefined = undefined;
  #committing = false;
  #told = false;
  #cancelled: Error | undefined = undefined;
  #giveUp: ((reason: Error) => void) | undefined = undefined;
  /** What waits goes with the commit. */
  #rides = false;
  #aborting = false;
  #savepoints = 0;
  #turns: Turns | undefined = undefined;
  /** How many statements waited for somebody's turn to end when the end began. */
  #refused = 0;

  constructor(session: SqlSession, txn: Transaction, state: SessionState, keep: boolean) {
    this.session = session;
    this.#txn = txn;
    this.#queue = new StatementQueue(this);
    this.#declared = state;
    this.keep = keep;
    // Behind all letters, as zope 139: whatever writes to the session from its own commit comes first.
    this.sortKey = `~sql:${session.name}`;
  }

  /** What was declared, and what is known to be written. */
  get state(): SessionState {
    return this.#declared === 'active' && this.session.detectWrites && this.#connection?.wrote === true
      ? 'changed'
      : this.#declared;
  }

  get recoverable(): SqlSession {
    return this.session;
  }

  get lastResource(): boolean {
    return this.session.twoPhase === false;
  }

  get onePhase(): boolean {
    return this.session.twoPhase === 'auto';
  }

  /** Whether there is anything to commit. What may have been written counts until the server has said that it wasn't. */
  get changed(): boolean {
    const connection = this.#connection;
    if (connection === undefined || this.#ended || this.#declared === 'readonly') return false;
    if (this.#rides) return true;
    if (this.#declared === 'changed') return connection.open;
    return this.session.detectWrites && (connection.wrote || connection.maybeWrote || connection.failed);
  }

  /** Whether a client's own transaction may be of another isolation or access than this one; it is of this one's all the same. */
  readonly ignoresModes: boolean = false;

  markChanged(): void {
    if (this.#declared === 'readonly') {
      throw new TransactionStateError(
        `a session must not be read-only to be marked as changed; '${this.session.name}' is read-only in this transaction`,
        { resource: this.session.name, xid: this.#txn.id },
      );
    }
    if (this.#closed) throw this.#closedError();
    this.#declared = 'changed';
  }

  /**
   * Runs `work` when everything asked for before is done. A cursor or stream gives the way to `stop` it; a client with a transaction of
   * its own says so by its `turn`; a statement that may be sent together with others says so by `shares`.
   *
   * @throws ConcurrentUseError when somebody else has the connection for too long.
   */
  perform<T>(work: Work<T>, stop?: () => void, turn?: Turn, shares?: () => boolean): Promise<T> {
    const refusal = this.refusal ?? turn?.lost;
    if (refusal !== undefined) return Promise.reject(refusal);
    if (this.#turns !== undefined && this.#turns.current !== turn) {
      return this.#turns.wait(turn, () => this.perform(work, stop, turn, shares));
    }
    return stop === undefined ? this.#queue.add(work, stop, shares) : this.#stream(work, stop);
  }

  /** Why it takes no work any more; undefined while it does. */
  get refusal(): Error | undefined {
    return this.#closed ? this.#closedError() : (this.#cancelled ?? this.#txn.deadline?.passed);
  }

  #stream<T>(work: Work<T>, stop: () => void): Promise<T> {
    const turn = this.turns.open('stream');
    const whileOpen: Work<T> = (connection) => (turn.lost === undefined ? work(connection) : Promise.reject(turn.lost));
    return this.#queue.add(whileOpen, stop, undefined).finally(() => this.turns.close(turn));
  }

  /** Who has the connection to itself. */
  get turns(): Turns {
    return (this.#turns ??= new Turns(this.session.name, this.#txn.id, this.session.server.acquireTimeoutMs));
  }

  /** For the queue: takes a connection for what waits, and lets that go on. */
  connect(): void {
    const { watch } = this.#txn.manager;
    watch?.working(this.#txn);
    const readOnly = this.#declared === 'readonly';
    const goOn = (): void => {
      watch?.worked(this.#txn);
      this.#queue.next();
    };
    this.session
      .acquire(this.#txn, readOnly, () => this.#whenCancelled())
      .then(
        (connection) => {
          this.#take(connection, readOnly);
          goOn();
        },
        (error: Error) => {
          this.#queue.refuseFirst(this.explain(error));
          goOn();
        },
      );
  }

  #take(connection: SqlConnection, readOnly: boolean): void {
    this.#giveUp = undefined;
    connection.start({
      options: this.#txn.options,
      readOnly,
      xid: () => this.session.xidOf(this.#txn.id),
      mayPrepare: !readOnly && !this.lastResource,
    });
    this.#connection = connection;
  }

  /** What the user is told: the deadline rather than its consequence, and where the statement was asked for. */
  explain(error: Error): Error {
    if (this.#connection?.broken !== undefined) this.#told = true;
    if (this.#cancelled !== undefined && !(error instanceof TransactionClosed)) return this.#cancelled;
    // A driver's error comes from its socket; from here the stack leads back to the statement.
    if (error instanceof Error && !(error instanceof TransactionError)) Error.captureStackTrace(error);
    return error;
  }

  /** Why what waits isn't sent any more; undefined where it is. The end may have begun while it waited. */
  get obstacle(): Error | undefined {
    return this.#closed && (this.#aborting || !this.session.commitsBehindStatements) ? this.#closedError() : undefined;
  }

  /** Rejects when the deadline passes while a connection is waited for. */
  #whenCancelled(): Promise<never> {
    return new Promise<never>((_, reject) => {
      this.#giveUp = reject;
    });
  }

  #closedError(): TransactionClosed {
    const what =
      this.#txn.status === 'active' || this.#txn.status === 'doomed' ? 'is ending' : `is ${this.#txn.status}`;
    return new TransactionClosed(
      `a session works while its transaction is active; that of '${this.session.name}' ${what}, so nothing more is sent`,
      { resource: this.session.name, xid: this.#txn.id },
    );
  }

  cancel(reason: Error): void {
    this.#cancelled = reason;
    this.#giveUp?.(reason);
    this.#turns?.refuse(reason);
    // A COMMIT on its way is the decision: it isn't stopped. What goes ahead of it is.
    if (this.#queue.isBusy && (!this.#committing || this.#rides)) this.#connection?.cancel(reason);
  }

  tpcBegin(): void {
    this.#close();
  }

  /** Takes no more work; what waits for its turn is refused, what is queued behind a statement when it comes to it. */
  #close(): void {
    this.#closed = true;
    this.#refused += this.#turns?.refuse(this.#closedError()) ?? 0;
  }

  /** Learns whether there is anything to commit, where more than this one depends on it. */
  commit(txn: Transaction): Awaitable<void> {
    const connection = this.#connection;
    const turn = this.#turns?.current;
    if (this.#refused > 0) throw this.#stillUnderWay();
    const ending = turn?.ending;
    if (ending !== undefined) {
      turn!.ending = undefined;
      return ending.then(() => this.commit(txn));
    }
    if (this.#queue.isBusy)
      return this.session.commitsBehindStatements ? this.#commitBehind(txn) : this.#refuseInFlight(txn);
    if (turn !== undefined) throw this.turns.stillOpen();
    if (connection === undefined) return undefined;
    if (connection.broken !== undefined && this.changed) {
      this.#told = true;
      throw connection.lost();
    }
    if (connection.failed && this.changed) throw connection.silentRollback();
    const unknown =
      this.#declared === 'active' && this.session.detectWrites && connection.maybeWrote && !connection.wrote;
    // Alone, a COMMIT costs nothing where nothing was written; among others it would mean to prepare.
    if (!unknown || txn.resources.length === 1) return undefined;
    return connection.hasWritten().then(() => undefined);
  }

  /** What is under way counts. What still waits goes with the COMMIT, where that is all that there is to do. */
  async #commitBehind(txn: Transaction): Promise<void> {
    if (this.#queue.stop !== undefined) return this.#refuseInFlight(txn);
    const isAll =
      txn.resources.length === 1 &&
      this.session.twoPhase !== true &&
      this.#declared !== 'readonly' &&
      txn.manager.sandbox === undefined;
    if (isAll) await this.#queue.boarding();
    const connection = this.#connection;
    const mayRide = isAll && this.#queue.hasWaiting && connection?.together !== undefined;
    if (mayRide && this.#queue.mayGoTogether()) {
      this.#rides = true;
      return;
    }
    if (this.#queue.hasWaiting && isAll) this.#queue.goOn();
    if (this.#queue.isBusy) await this.#queue.whenIdle();
    return this.commit(txn);
  }

  async #refuseInFlight(txn: Transaction): Promise<void> {
    this.#giveUp?.(this.#closedError());
    // A stream that was read to its end is through in a moment; a cursor that was left open never is.
    if (this.#queue.stop !== undefined && (await this.#queue.isIdleWithin(STREAM_GRACE_MS))) return this.commit(txn);
    if (this.#queue.stop === undefined) await this.#queue.whenIdle();
    throw this.#stillUnderWay();
  }

  #stillUnderWay(): ConcurrentUseError {
    return new ConcurrentUseError(
      `every statement must be awaited, and every cursor closed, before its transaction commits; one on '${this.session.name}' was still under way, so nothing is committed`,
      { resource: this.session.name, xid: this.#txn.id, phase: 'commit' },
    );
  }

  tpcVote(txn: Transaction): Awaitable<void | Vote> {
    const connection = this.#connection;
    if (connection === undefined) {
      this.#ended = true;
      return 'read-only';
    }
    if (!this.changed) return this.#releaseUnchanged(connection);
    return txn.way === 'one-phase' || this.lastResource ? this.#commitOnePhase(connection) : this.#prepare(connection);
  }

  #releaseUnchanged(connection: SqlConnection): Awaitable<'read-only'> {
    const ending = this.#mustCommitReads(connection) ? this.#commitReads(connection) : this.#endReads(connection);
    return ending === undefined ? 'read-only' : ending.then(() => 'read-only');
  }

  /**
   * Ends what has only read. Where that was declared nobody waits for it: all has been read, and no answer could change it. The connection
   * goes back when the answer is there.
   */
  #endReads(connection: SqlConnection): Promise<void> | undefined {
    const isWaitedFor = this.#declared !== 'readonly' || this.keep || this.#txn.manager.sandbox !== undefined;
    if (isWaitedFor) return this.#end();
    this.#ended = true;
    if (connection.retire === undefined) {
      const release = (): void => this.#release();
      connection.rollback().then(release, release);
    } else {
      this.#connection = undefined;
      connection.retire();
    }
    return undefined;
  }

  /**
   * Under serializable what was read counts once the transaction has committed: a rollback takes back what keeps others from making it wrong
   * (the read-only anomaly of serializable snapshot isolation). Elsewhere nothing can be wrong with a rollback.
   */
  #mustCommitReads(connection: SqlConnection): boolean {
    if (this.#txn.options.isolation !== 'serializable' || !connection.open || connection.failed) return false;
    return this.#declared === 'readonly' || this.session.detectWrites;
  }

  async #commitReads(connection: SqlConnection): Promise<void> {
    this.#ended = true;
    try {
      await connection.commit();
    } catch (error) {
      this.#told = true;
      // Nothing was written, so there is nothing that could have been stored.
      throw connection.broken === undefined ? error : connectionLost(this.session.name, connection.broken, false);
    } finally {
      this.#release();
    }
  }

  #commitOnePhase(connection: SqlConnection): Promise<void> {
    const learning = this.#rides || this.state !== 'changed' ? undefined : connection.learnXid();
    return learning === undefined ? this.#sendCommit(connection) : learning.then(() => this.#sendCommit(connection));
  }

  #sendCommit(connection: SqlConnection): Promise<void> {
    this.#committing = true;
    return (this.#rides ? this.#commitRiding(connection) : connection.commit()).then(
      () => this.#release(),
      (error: Error) => this.#commitFailed(connection, error),
    );
  }

  async #commitFailed(connection: SqlConnection, error: Error): Promise<void> {
    this.#told = true;
    // The deadline has stopped what went ahead of the COMMIT.
    if (!connection.isUncertain) throw this.#rides ? (this.#cancelled ?? error) : error;
    await this.session.server.resolveCommit(connection, this.#txn, error);
    this.#release();
  }

  async #commitRiding(connection: SqlConnection): Promise<void> {
    let committed: Promise<void> | undefined;
    this.#queue.sendAll(connection, () => {
      committed = connection.commit();
    });
    try {
      await committed;
    } finally {
      await this.#queue.whenIdle();
    }
  }

  /**
   * Commits in one phase, by what `end` sends: for a decision store that takes its decision along. Not called where nothing was changed.
   * @throws what `end` does; the connection says whether the outcome is known.
   */
  async commitBy(end: (connection: SqlConnection) => Promise<void>): Promise<void> {
    const connection = this.#connection!;
    this.#committing = true;
    try {
      await end(connection);
    } catch (error) {
      this.#told = true;
      this.#committing = false;
      if (connection.isUncertain) {
        // So that whoever looks for the decision finds one that won't change, and no locks in the way.
        await this.session.server.abandon(connection);
        this.#release();
      }
      throw error;
    }
    this.#release();
  }

  async #prepare(connection: SqlConnection): Promise<void> {
    const xid = this.session.xidOf(this.#txn.id);
    this.#queue.occupy();
    try {
      // By which it is known afterwards whether the branch was committed, or rolled back by hand.
      await connection.learnXid();
      await connection.prepare(xid);
      this.#prepared = xid;
    } catch (error) {
      this.#told = true;
      // It may land late: the abort looks for it.
      if (connection.isUncertain) this.#prepared = xid;
      throw this.#cancelled ?? this.session.server.explainPrepare(error as Error);
    } finally {
      this.#queue.vacate();
    }
  }

  tpcFinish(): Awaitable<void> {
    const xid = this.#prepared;
    return this.#ended || xid === undefined ? undefined : this.#finish(xid);
  }

  async #finish(xid: Xid): Promise<void> {
    this.#ended = true;
    try {
      await this.session.server.endPrepared('commit', xid, this.#connection);
    } finally {
      this.#release();
    }
  }

  tpcAbort(): Awaitable<void> {
    return this.abort();
  }

  /** Undoes everything and gives the connection back. Closed at once; what is under way may end first. */
  abort(): Awaitable<void> {
    this.#close();
    this.#aborting = true;
    // What was to go with the commit isn't sent.
    if (this.#rides && this.#queue.hasWaiting) this.#queue.next();
    if (this.#ended) return undefined;
    if (this.#connection === undefined && !this.#queue.isBusy) {
      this.#ended = true;
      return undefined;
    }
    return this.#end();
  }

  async #end(): Promise<void> {
    this.#close();
    if (this.#queue.isBusy) {
      this.#giveUp?.(this.#closedError());
      if (this.#queue.stop !== undefined) await this.#stopStream(this.#queue.stop);
      // Its result is of no use any more, and it may never come.
      if (!(await this.#queue.isIdleWithin(STREAM_GRACE_MS))) this.#connection?.cancel(this.#closedError());
      await this.#queue.whenIdle();
    }
    const connection = this.#connection;
    if (this.#ended || connection === undefined) {
      this.#ended = true;
      return;
    }
    this.#ended = true;
    try {
      if (this.#prepared !== undefined) await this.session.server.endPrepared('rollback', this.#prepared, connection);
      else await connection.rollback();
      // Gone with its transaction, and nobody was told.
      if (connection.broken !== undefined && !this.#told) throw connection.lost();
    } finally {
      this.#release();
    }
  }

  async #stopStream(stop: () => void): Promise<void> {
    stop();
    if (await this.#queue.isIdleWithin(STREAM_GRACE_MS)) return;
    this.#told = true;
    this.#connection?.destroy(this.#closedError());
  }

  /** The last resource's outcome isn't known: what is prepared stays, the connection goes back. */
  hold(): void {
    if (!this.#ended) this.#release();
  }

  #release(): void {
    this.#ended = true;
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    // What is kept is for the next transaction of the context, which may write.
    const keep = this.keep && (this.#declared !== 'readonly' || this.session.reader === undefined);
    this.session.giveBack(connection, this.#txn, keep);
  }

  savepoint(): Promise<DataManagerSavepoint> {
    return this.mark();
  }

  /** Makes a state to return to: one of the whole transaction's, or that of a client whose `turn` it is. */
  async mark(turn?: Turn): Promise<Mark> {
    const name = `unanimous_${++this.#savepoints}`;
    const declared = this.#declared;
    const written = await this.perform((connection) => connection.savepoint(name), undefined, turn);
    const undo = async (connection: SqlConnection): Promise<void> => {
      await connection.rollbackTo(name, written);
      this.#declared = declared;
    };
    return {
      rollback: async () => {
        // Whoever has the connection took it behind this mark, so it is undone with the rest.
        this.#turns?.revoke();
        this.#queue.stop?.();
        await this.perform(undo);
      },
      undo: () =>
        this.perform(
          async (connection) => {
            await undo(connection);
            await connection.releaseSavepoint(name);
          },
          undefined,
          turn,
        ),
      keep: () =>
        this.perform(
          async (connection) => {
            if (connection.failed) throw connection.silentRollback();
            await connection.releaseSavepoint(name);
          },
          undefined,
          turn,
        ),
    };
  }

  shouldRetry(error: Error): boolean {
    return this.session.server.shouldRetry(driverErrorOf(error));
  }
}
