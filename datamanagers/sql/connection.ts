/** What a SQL branch needs of a database connection, whichever database it is. */
import type { TransactionOptions } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';

/** What a transaction begins with at the server. */
export interface SqlBegin {
  readonly options: TransactionOptions;
  readonly readOnly: boolean;
  /** Under which the branch is known, should it be prepared. */
  readonly xid: () => Xid;
  /** Whether it may be prepared at its end. */
  readonly mayPrepare: boolean;
}

/** What is remembered of a connection, to undo a savepoint. */
export interface WrittenState {
  readonly wrote: boolean;
  readonly maybeWrote: boolean;
}

/** A connection while one transaction has it. */
export interface SqlConnection {
  /** Why it can't be used any more; undefined while it can. */
  readonly broken: Error | undefined;
  /** Whether a transaction is open at the server, as far as is known here. */
  readonly open: boolean;
  /** Whether a statement has failed and nothing was rolled back since: the server can only roll back. */
  readonly failed: boolean;
  /** Whether the server has rolled the whole transaction back by itself, so that there is nothing left to undo. */
  readonly isUndone: boolean;
  /** Whether a COMMIT or PREPARE was sent and its reply never came. */
  readonly isUncertain: boolean;
  /** Something was written, as a command tag or the server has said. */
  wrote: boolean;
  /** Something was done that may have written without its showing. */
  maybeWrote: boolean;
  /** Begins with the next statement. */
  start(begin: SqlBegin): void;
  /**
   * Sends all that is asked for in `ask` in one flight, where that can be done: each is answered as if it had been sent alone. Undefined where
   * it can't.
   */
  readonly together?: ((ask: () => void) => void) | undefined;
  /** Asks the server whether anything was written, where that doesn't show. */
  hasWritten(): Promise<boolean>;
  /** Finds out what is needed to resolve a lost reply to the commit, where it isn't known. */
  learnXid(): Promise<void> | undefined;
  /** Commits in one phase. Throws SilentRollbackError where the server rolled back. */
  commit(): Promise<void>;
  /** Prepares under a name that outlives the connection. */
  prepare(xid: Xid): Promise<void>;
  /** Ends what is prepared under `xid`. */
  endPrepared(verb: 'commit' | 'rollback', xid: Xid): Promise<void>;
  /** Rolls back what is open; nothing where no statement was sent. */
  rollback(): Promise<void>;
  /** Rolls back what has only read, when it suits, and gives the connection back then; nobody waits for that. Not in a sandbox. */
  retire?(): void;
  savepoint(name: string): Promise<WrittenState>;
  rollbackTo(name: string, state: WrittenState): Promise<void>;
  /** Forgets a savepoint; what was done since stays. */
  releaseSavepoint(name: string): Promise<void>;
  /** Stops the statement under way; cuts the connection where that can't be done in time. */
  cancel(reason: Error): void;
  /** Takes statements again after a {@link cancel}, where the transaction is still open. */
  resume(): Promise<void>;
  /** Cuts the connection; the server rolls back when it notices. */
  destroy(reason: Error): void;
  /** Whether another transaction may have it: idle, and nothing of it has failed. */
  readonly isClean: boolean;
  /** Gives it back to the pool; closed, where it isn't clean or `close` says so. */
  release(close?: boolean): void;
  /** The error of using a connection that is gone. */
  lost(): Error;
  /** The error of committing where a statement has failed. */
  silentRollback(): Error;
}
