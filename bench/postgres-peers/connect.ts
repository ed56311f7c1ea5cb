// Connections, and transactions of ours over them.
import pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgSession } from '../../datamanagers/pg/index.ts';

/** How many connections a contender may have. */
export const CONNECTIONS = 16;

export function poolOf(connectionString: string): pg.Pool {
  return new pg.Pool({ connectionString, max: CONNECTIONS, idleTimeoutMillis: 0 });
}

export function sessionOf(url: string): { transaction: TransactionCoordinator; session: PgSession<pg.Pool> } {
  const transaction = new TransactionCoordinator();
  return { transaction, session: register(new PgSession(poolOf(url)), { coordinator: transaction }) };
}
