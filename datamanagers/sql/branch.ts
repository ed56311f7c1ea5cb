/**
 * One session's part of one transaction: the data manager that joins on first use (zope.sqlalchemy's SessionDataManager, zope
 * 132-155). It holds one connection, runs one thing at a time on it, and is closed for work once the end begins.
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
import type { SqlSession } from './session.ts';
import { type Turn, Turns } from './turns.ts';
import { driverErrorOf } from './wrapped.ts';

/** Work on the connection. */
export type Work<T> = (connection: SqlConnection) => Promise<T>;

/** How long a cursor or stream that is read to its end, or was told to stop, may take to be through, in milliseconds. */
const STREAM_GRACE_MS = 1_000;

/** A state to return to; see {@link SqlBranch.mark}. */
export interface Mark extends DataManagerSavepoint {
  /** Undo everything since, and forget the mark. */
  undo(): Promise<void>;
  /** Keep everything since, and forget the mark. Throws SilentRollbackError where a statement has failed. */
  keep(): Promise<void>;
}

interface Waiting {
  readonly start: () => void;
  readonly refuse: (error: Error) => void;
}

export class SqlBranch implements DataManager {
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
  keep: boolean;
  #declared: SessionState;
  #connection: SqlConnection | undefined = undefined;
  #busy = false;
  /** Stops the cursor or stream under way, which may stay open for as long as its reader likes. */
  #stop: (() => void) | undefined = undefined;
  #closed = false;
  #ended = false;
  #prepared: Xid | undefined = undefined;
  #committing = false;
  #told = false;
  #cancelled: Error | undefined = undefined;
  #giveUp: ((reason: Error) => void) | undefined = undefined;
  readonly #waiting: Waiting[] = [];
  #idle: (() => void)[] | undefined = undefined;
  #savepoints = 0;
  #turns: Turns | undefined = undefined;

  constructor(session: SqlSession, txn: Transaction, state: SessionState, keep: boolean) {
    this.session = session;
    this.#txn = txn;
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
   * its own says so by its `turn`.
   *
   * @throws ConcurrentUseError when somebody else has the connection for too long.
   */
  perform<T>(work: Work<T>, stop?: () => void, turn?: Turn): Promise<T> {
    const refusal = this.refusal ?? turn?.lost;
    if (refusal !== undefined) return Promise.reject(refusal);
    if (this.#turns !== undefined && this.#turns.current !== turn) {
      return this.#turns.wait(turn, () => this.perform(work, stop, turn));
    }
    return stop === undefined ? this.#enqueue(work, stop) : this.#stream(work, stop);
  }

  /** Why it takes no work any more; undefined while it does. */
  get refusal(): Error | undefined {
    return this.#closed ? this.#closedError() : (this.#cancelled ?? this.#txn.deadline?.passed);
  }

  #stream<T>(work: Work<T>, stop: () => void): Promise<T> {
    const turn = this.turns.open('stream');
    const whileOpen: Work<T> = (connection) => (turn.lost === undefined ? work(connection) : Promise.reject(turn.lost));
    return this.#enqueue(whileOpen, stop).finally(() => this.turns.close(turn));
  }

  #enqueue<T>(work: Work<T>, stop: (() => void) | undefined): Promise<T> {
    if (!this.#busy) {
      this.#busy = true;
      return this.#start(work, stop);
    }
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ start: () => resolve(this.#start(work, stop)), refuse: reject });
    });
  }

  /** Who has the connection to itself. */
  get turns(): Turns {
    return (this.#turns ??= new Turns(this.session.name, this.#txn.id, this.session.server.acquireTimeoutMs));
  }

  #start<T>(work: Work<T>, stop: (() => void) | undefined): Promise<T> {
    this.#txn.manager.watch?.working(this.#txn);
    return (
      this.#connection === undefined ? this.#connectAndRun(work, stop) : this.#run(this.#connection, work, stop)
    ).then(
      (value) => {
        this.#through();
        return value;
      },
      (error: Error) => {
        const explained = this.#explain(error);
        this.#through();
        throw explained;
      },
    );
  }

  async #connectAndRun<T>(work: Work<T>, stop: (() => void) | undefined): Promise<T> {
    const connection = await this.#connect();
    // The end may have begun while the connection was waited for.
    if (this.#closed) throw this.#closedError();
    return this.#run(connection, work, stop);
  }

  #run<T>(connection: SqlConnection, work: Work<T>, stop: (() => void) | undefined): Promise<T> {
    this.#stop = stop;
    try {
      return work(connection);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #through(): void {
    this.#txn.manager.watch?.worked(this.#txn);
    this.#stop = undefined;
    this.#next();
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#busy = false;
      const idle = this.#idle;
      this.#idle = undefined;
      if (idle !== undefined) for (const resolve of idle) resolve();
    } else if (this.#closed) {
      next.refuse(this.#closedError());
      this.#next();
    } else {
      next.start();
    }
  }

  /** What the user is told: the deadline rather than its consequence, and where the statement was asked for. */
  #explain(error: Error): Error {
    if (this.#connection?.broken !== undefined) this.#told = true;
    if (this.#cancelled !== undefined && !(error instanceof TransactionClosed)) return this.#cancelled;
    // A driver's error comes from its socket; from here the stack leads back to the statement.
    if (error instanceof Error && !(error instanceof TransactionError)) Error.captureStackTrace(error);
    return error;
  }

  async #connect(): Promise<SqlConnection> {
    const readOnly = this.#declared === 'readonly';
    const connection = await this.session.acquire(this.#txn, readOnly, () => this.#whenCancelled());
    this.#giveUp = undefined;
    connection.start({
      options: this.#txn.options,
      readOnly,
      xid: () => this.session.xidOf(this.#txn.id),
      mayPrepare: !readOnly && !this.lastResource,
    });
    this.#connection = connection;
    return connection;
  }

  /** Rejects when the deadline passes while a connection is waited for. */
  #whenCancelled(): Promise<never> {
    const cancelled = new Promise<never>((_, reject) => {
      this.#giveUp = reject;
    });
    cancelled.catch(() => undefined);
    return cancelled;
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
    // A COMMIT on its way is the decision: it isn't stopped.
    if (this.#busy && !this.#committing) this.#connection?.cancel(reason);
  }

  tpcBegin(): void {
    this.#close();
  }

  /** Takes no more work; what waits for its turn is refused, what is queued behind a statement when it comes to it. */
  #close(): void {
    this.#closed = true;
    this.#turns?.refuse(this.#closedError());
  }

  /** Learns whether there is anything to commit, where more than this one depends on it. */
  commit(txn: Transaction): Awaitable<void> {
    const connection = this.#connection;
    const turn = this.#turns?.current;
    const ending = turn?.ending;
    if (ending !== undefined) {
      turn!.ending = undefined;
      return ending.then(() => this.commit(txn));
    }
    if (this.#busy) return this.#refuseInFlight(txn);
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

  async #refuseInFlight(txn: Transaction): Promise<void> {
    this.#giveUp?.(this.#closedError());
    // A stream that was read to its end is through in a moment; a cursor that was left open never is.
    if (this.#stop !== undefined && (await this.#idleWithin(STREAM_GRACE_MS))) return this.commit(txn);
    if (this.#stop === undefined) await this.#whenIdle();
    throw new ConcurrentUseError(
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

  async #releaseUnchanged(connection: SqlConnection): Promise<'read-only'> {
    if (this.#mustCommitReads(connection)) await this.#commitReads(connection);
    else await this.#end();
    return 'read-only';
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
      throw connection.broken === undefined ? error : connection.lost();
    } finally {
      this.#release();
    }
  }

  async #commitOnePhase(connection: SqlConnection): Promise<void> {
    const learning = this.state === 'changed' ? connection.learnXid() : undefined;
    if (learning !== undefined) await learning;
    this.#committing = true;
    try {
      await connection.commit();
    } catch (error) {
      this.#told = true;
      if (!connection.isUncertain) throw error;
      await this.session.server.resolveCommit(connection, this.#txn, error as Error);
    }
    this.#release();
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
    this.#busy = true;
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
      this.#busy = false;
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
    if (this.#ended) return undefined;
    if (this.#connection === undefined && !this.#busy) {
      this.#ended = true;
      return undefined;
    }
    return this.#end();
  }

  async #end(): Promise<void> {
    this.#close();
    if (this.#busy) {
      this.#giveUp?.(this.#closedError());
      if (this.#stop !== undefined) await this.#stopStream(this.#stop);
      await this.#whenIdle();
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
    if (await this.#idleWithin(STREAM_GRACE_MS)) return;
    this.#told = true;
    this.#connection?.destroy(this.#closedError());
  }

  /** Waits until nothing is under way; false when that took longer. */
  async #idleWithin(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const idle = await Promise.race([this.#whenIdle().then(() => true), tooLong]);
    clearTimeout(timer);
    return idle;
  }

  #whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#busy) resolve();
      else (this.#idle ??= []).push(resolve);
    });
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
        this.#stop?.();
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
