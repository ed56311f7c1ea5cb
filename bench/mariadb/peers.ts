// Transactions over mysql2 by what others use: each with SQL as text, and with its builder of statements.
import { createRequire } from 'node:module';
import knexOf, { type Knex } from 'knex';
import { Kysely, MysqlDialect } from 'kysely';
import mysql from 'mysql2';
import {
  type Accounts,
  type Column,
  type DrizzleDatabase,
  type DrizzleStatements,
  byDrizzle,
} from '../peers/drizzle.ts';
import { byKnex } from '../peers/knex.ts';
import { type Tables, byKysely } from '../peers/kysely.ts';
import type { Work } from '../peers/work.ts';
import { type Way, simple } from '../throughput/slice.ts';
import { CONNECTIONS, type Workload } from './workload.ts';

type Make = (url: string) => Way<Workload>;

function kysely(work: Work<Kysely<Tables>>): Make {
  return (uri) => {
    const pool = mysql.createPool({ uri, connectionLimit: CONNECTIONS });
    const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool }) });
    return { write: simple((id) => db.transaction().execute((trx) => work(trx, id))) };
  };
}

const FOREVER_MS = 3_600_000;

function knex(work: Work<Knex>): Make {
  return (connection) => {
    const db = knexOf({
      client: 'mysql2',
      connection,
      pool: { min: 0, max: CONNECTIONS, idleTimeoutMillis: FOREVER_MS },
    });
    return { write: simple((id) => db.transaction((trx) => work(trx, id))) };
  };
}

const require = createRequire(import.meta.url);
const drizzleOf = require('drizzle-orm/mysql2') as { drizzle(config: { client: mysql.Pool }): DrizzleDatabase };
const { int, mysqlTable } = require('drizzle-orm/mysql-core') as {
  int(name: string): Column & { primaryKey(): Column; notNull(): Column };
  mysqlTable(name: string, columns: Accounts): Accounts;
};

const works = byDrizzle(mysqlTable('accounts', { id: int('id').primaryKey(), balance: int('balance').notNull() }));

function drizzle(work: Work<DrizzleStatements>): Make {
  return (uri) => {
    const db = drizzleOf.drizzle({ client: mysql.createPool({ uri, connectionLimit: CONNECTIONS }) });
    return { write: simple((id) => db.transaction((tx) => work(tx, id))) };
  };
}

export const peers = {
  kyselyText: kysely(byKysely.text),
  kyselyBuilder: kysely(byKysely.builder),
  knexText: knex(byKnex.text),
  knexBuilder: knex(byKnex.builder),
  drizzleText: drizzle(works.text),
  drizzleBuilder: drizzle(works.builder),
} as const;
