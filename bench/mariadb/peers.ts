// Transactions over mysql2 by what others use: each with SQL as text, and with its builder of statements.
import { createRequire } from 'node:module';
import knexOf, { type Knex } from 'knex';
import { CompiledQuery, Kysely, MysqlDialect, type Transaction } from 'kysely';
import mysql from 'mysql2';
import { type Way, simple } from '../throughput/slice.ts';
import { CONNECTIONS, SELECT, UPDATE, type Workload } from './workload.ts';

type Make = (url: string) => Way<Workload>;

type Tables = { accounts: { id: number; balance: number } };

function kysely(work: (trx: Transaction<Tables>, id: number) => Promise<unknown>): Make {
  return (uri) => {
    const pool = mysql.createPool({ uri, connectionLimit: CONNECTIONS });
    const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool }) });
    return { write: simple((id) => db.transaction().execute((trx) => work(trx, id))) };
  };
}

const kyselyText = kysely(async (trx, id) => {
  await trx.executeQuery(CompiledQuery.raw(SELECT, [id]));
  await trx.executeQuery(CompiledQuery.raw(UPDATE, [1, id]));
});

const kyselyBuilder = kysely(async (trx, id) => {
  await trx.selectFrom('accounts').select('balance').where('id', '=', id).execute();
  await trx
    .updateTable('accounts')
    .set(({ eb }) => ({ balance: eb('balance', '+', 1) }))
    .where('id', '=', id)
    .execute();
});

const FOREVER_MS = 3_600_000;

function knex(work: (trx: Knex.Transaction, id: number) => Promise<unknown>): Make {
  return (connection) => {
    const db = knexOf({
      client: 'mysql2',
      connection,
      pool: { min: 0, max: CONNECTIONS, idleTimeoutMillis: FOREVER_MS },
    });
    return { write: simple((id) => db.transaction((trx) => work(trx, id))) };
  };
}

const knexText = knex(async (trx, id) => {
  await trx.raw(SELECT, [id]);
  await trx.raw(UPDATE, [1, id]);
});

const knexBuilder = knex(async (trx, id) => {
  await trx('accounts').select('balance').where({ id });
  await trx('accounts').where({ id }).increment('balance', 1);
});

// Drizzle by what is used of it: its declarations don't compile where not all of the drivers are installed that they mention.
type Sql = object;
type Condition = object;
type Column = object;
type Accounts = { readonly id: Column; readonly balance: Column };
type DrizzleTransaction = {
  execute(sql: Sql): Promise<unknown>;
  select(fields: object): { from(table: Accounts): { where(condition: Condition): Promise<unknown> } };
  update(table: Accounts): { set(values: object): { where(condition: Condition): Promise<unknown> } };
};
type DrizzleDatabase = { transaction(work: (tx: DrizzleTransaction) => Promise<unknown>): Promise<unknown> };

const require = createRequire(import.meta.url);
const drizzleOf = require('drizzle-orm/mysql2') as { drizzle(config: { client: mysql.Pool }): DrizzleDatabase };
const { eq, sql } = require('drizzle-orm') as {
  eq(column: Column, value: unknown): Condition;
  sql(texts: TemplateStringsArray, ...values: unknown[]): Sql;
};
const { int, mysqlTable } = require('drizzle-orm/mysql-core') as {
  int(name: string): Column & { primaryKey(): Column; notNull(): Column };
  mysqlTable(name: string, columns: Accounts): Accounts;
};

const accounts = mysqlTable('accounts', { id: int('id').primaryKey(), balance: int('balance').notNull() });

function drizzle(work: (tx: DrizzleTransaction, id: number) => Promise<unknown>): Make {
  return (uri) => {
    const db = drizzleOf.drizzle({ client: mysql.createPool({ uri, connectionLimit: CONNECTIONS }) });
    return { write: simple((id) => db.transaction((tx) => work(tx, id))) };
  };
}

const drizzleText = drizzle(async (tx, id) => {
  await tx.execute(sql`select balance from accounts where id = ${id}`);
  await tx.execute(sql`update accounts set balance = balance + ${1} where id = ${id}`);
});

const drizzleBuilder = drizzle(async (tx, id) => {
  await tx.select({ balance: accounts.balance }).from(accounts).where(eq(accounts.id, id));
  await tx
    .update(accounts)
    .set({ balance: sql`${accounts.balance} + ${1}` })
    .where(eq(accounts.id, id));
});

export const peers = { kyselyText, kyselyBuilder, knexText, knexBuilder, drizzleText, drizzleBuilder } as const;
