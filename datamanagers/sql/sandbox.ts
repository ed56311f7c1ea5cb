/** What a SQL session asks of a sandbox, and what a sandbox asks of a database whose transactions come to savepoints of one. */
import type { Sandbox } from '../../coordinator/sandbox.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { SqlBranch } from './branch.ts';
import type { SqlConnection } from './connection.ts';
import type { SqlSession } from './session.ts';

/** A sandbox, as the sessions of databases know it. */
export interface SqlSandbox extends Sandbox {
  /** The connection for a transaction in it; undefined where the session is to take a real one. */
  connectionFor(
    session: SqlSession,
    txn: Transaction,
    cancelled: () => Promise<never>,
  ): Promise<SqlConnection> | undefined;
  /** Where statements go that are in no transaction; undefined where they go to the pool. */
  outside(session: SqlSession): SqlBranch | undefined;
}

/** What a database has for transactions that are savepoints of one, over the connection of that. */
export interface Rehearsal {
  /** Lets nothing be written until the innermost savepoint ends, where the server can do that. */
  readOnly(): Promise<void>;
  /**
   * How many have written something, or got a transaction id for another reason: the transaction, and those savepoints of it that are open.
   * Undefined where the server doesn't tell.
   */
  writers(): Promise<number | undefined>;
  /** Checks what a COMMIT would. @throws as the COMMIT would. */
  checkDeferred(): Promise<void>;
}
