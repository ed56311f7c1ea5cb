// Two databases, the first of which keeps the decisions, as the test and the process that it kills both have them.
import mysql from 'mysql2/promise';
import pg from 'pg';
import { type DecisionLog, type TransactionCoordinator, register } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';

export interface Parts {
  readonly store: PgSession | MysqlSession;
  readonly other: PgSession | MysqlSession;
  readonly decisionLog: DecisionLog;
  end(): Promise<unknown>;
}

export function openParts(storeUrl: string, otherUrl: string, coordinator: TransactionCoordinator): Parts {
  const pools: { end(): Promise<void> }[] = [];
  const open = (url: string, name: string): PgSession | MysqlSession => {
    if (url.startsWith('mysql:')) {
      const pool = mysql.createPool({ uri: url });
      pools.push(pool);
      return register(new MysqlSession(pool, { name }), { coordinator });
    }
    const pool = new pg.Pool({ connectionString: url });
    pool.on('error', () => undefined);
    pools.push(pool);
    return register(new PgSession(pool, { name }), { coordinator });
  };
  const store = open(storeUrl, 'store');
  const other = open(otherUrl, 'other');
  const decisionLog = store instanceof PgSession ? new PgDecisionLog(store) : new MysqlDecisionLog(store);
  return { store, other, decisionLog, end: () => Promise.all(pools.map((pool) => pool.end())) };
}

/** Runs a statement, whichever database it is. */
export function execute(session: PgSession | MysqlSession, text: string): Promise<unknown> {
  return session instanceof PgSession ? session.query(text) : session.query(text);
}
