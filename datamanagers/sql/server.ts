/** What a SQL session needs of its database, whichever it is. */
import type { Transaction } from '../../coordinator/transaction.ts';
import type { TransactionOptions } from '../../coordinator/types.ts';
import type { SqlConnection } from './connection.ts';

export interface SqlServer<C extends SqlConnection = SqlConnection> {
  /** Takes a connection of the pool, for a bounded time; `cancelled()` rejects when nobody waits any more. */
  connect(twoPhase: 'auto' | boolean, cancelled: () => Promise<never>): Promise<C>;
  /** The statement that begins a transaction with these options. */
  beginText(options: TransactionOptions, readOnly: boolean): string;
  /** Whether trying the whole transaction again may help (zope 154). */
  shouldRetry(error: Error): boolean;
  /** The reply to a COMMIT was lost: returns where it has committed, else throws what is known. */
  resolveCommit(connection: C, txn: Transaction, error: Error): Promise<void>;
  /** Ends what is prepared under `gid`: over `connection` where there is one that can, else over another; for a bounded time. */
  endPrepared(verb: 'commit' | 'rollback', gid: string, connection?: C): Promise<void>;
  /** Makes an error of preparing say what to do. */
  explainPrepare(error: Error): Error;
  /** The names of all that is prepared in the database. */
  listPrepared(): Promise<string[]>;
}
