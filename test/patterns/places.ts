// A database of each kind with accounts in it, asked in one language: what is tried here holds for both.

import type { MysqlSession } from 'unanimous/mysql';
import type { PgSession } from 'unanimous/pg';
import { Database as Mysql, products } from '../datamanagers/mysql/setup.ts';
import { Database as Postgres } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';

export interface Row {
  readonly id: number;
  readonly balance: number;
  readonly version: number;
}

export interface Place {
  readonly product: string;
  readonly session: PgSession | MysqlSession;
  /** Runs a statement with parameters written as `?`; what the driver returns. */
  run(text: string, values?: unknown[]): Promise<unknown>;
  /** The rows of one. */
  rows<R = Row>(text: string, values?: unknown[]): Promise<R[]>;
  balance(): Promise<number | undefined>;
  reset(): Promise<unknown>;
  assertClean(): Promise<void>;
  close(): Promise<void>;
}

const VERSION = 'alter table accounts add column version int not null default 1';

/** PostgreSQL, MariaDB, and MySQL where there is one. */
export async function places(name: string, connections: number): Promise<Place[]> {
  const pg = await Postgres.open(await postgres(), { name, pool: { max: connections }, acquireTimeoutMs: 60_000 });
  await pg.admin.query(VERSION);
  const numbered = (text: string): string => {
    let count = 0;
    return text.replaceAll('?', () => `$${++count}`);
  };
  const found: Place[] = [
    {
      product: 'PostgreSQL',
      session: pg.session,
      run: (text, values) => pg.session.query(numbered(text), values),
      rows: async (text, values) => (await pg.session.query(numbered(text), values)).rows,
      balance: () => pg.balance(1),
      reset: () => pg.admin.query('update accounts set balance = 100, version = 1'),
      assertClean: () => pg.assertClean(),
      close: () => pg.close(),
    },
  ];
  for (const { product, server } of await products()) {
    const db = await Mysql.open(server, { pool: { connectionLimit: connections }, acquireTimeoutMs: 60_000 });
    await db.admin.query(VERSION);
    found.push({
      product,
      session: db.session,
      run: (text, values) => db.session.query(text, values),
      rows: async (text, values) => (await db.session.query(text, values))[0],
      balance: () => db.balance(1),
      reset: () => db.admin.query('update accounts set balance = 100, version = 1'),
      assertClean: () => db.assertClean(),
      close: () => db.close(),
    });
  }
  return found;
}
