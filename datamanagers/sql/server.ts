/** What a SQL session needs of its database, whichever it is. */
import type { Transaction } from '../../coordinator/transaction.ts';
import type { PreparedReport, ResourceWarning } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import type { SqlConnection } from './connection.ts';
import type { Rehearsal } from './sandbox.ts';

export interface SqlServer<C extends SqlConnection = SqlConnection> {
  /** How long a statement may wait for a connection of the pool, or for its turn on it, in milliseconds. */
  readonly acquireTimeoutMs: number;
  /** Takes a connection of the pool, for a bounded time; `cancelled()` rejects when nobody waits any more. */
  connect(twoPhase: 'auto' | boolean, cancelled: () => Promise<never>): Promise<C>;
  /** Whether trying the whole transaction again may help (zope 154). */
  shouldRetry(error: Error): boolean;
  /** The reply to a COMMIT was lost: returns where it has committed, else throws what is known. */
  resolveCommit(connection: C, txn: Transaction, error: Error): Promise<void>;
  /** Ends what is prepared under `xid`: over `connection` where there is one that can, else over another; for a bounded time. */
  endPrepared(verb: 'commit' | 'rollback', xid: Xid, connection?: C): Promise<void>;
  /** Ends, over another connection, what a lost one may still hold or have on its way. Never rejects; takes a bounded time. */
  abandon(connection: C): Promise<void>;
  /** Makes an error of preparing say what to do. */
  explainPrepare(error: Error): Error;
  /** What a sandbox needs of a connection. */
  rehearsal(connection: C): Rehearsal;
  /** What is prepared in the database now by the sessions of this package. */
  listPrepared(): Promise<Xid[]>;
  /** The same with what the server tells about it; absent where it tells no more. */
  describePrepared?(): Promise<PreparedReport>;
  /** What keeps recovery from its work at this server; of the branches that begin with `prefix` and are of the session of this name. */
  warnings(prefix: string, name: string): Promise<ResourceWarning[]>;
}
