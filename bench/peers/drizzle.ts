// SELECT by key and UPDATE by key in Drizzle.
//
// It is typed by what is used of it: its declarations don't compile where not all of the drivers are installed that they mention.
import { createRequire } from 'node:module';
import type { Works } from './work.ts';

type Sql = object;
type Condition = object;
export type Column = object;
export type Accounts = { readonly id: Column; readonly balance: Column };

/** What a database and a transaction have in common. */
export type DrizzleStatements = {
  execute(sql: Sql): Promise<unknown>;
  select(fields: object): { from(table: Accounts): { where(condition: Condition): Promise<unknown> } };
  update(table: Accounts): { set(values: object): { where(condition: Condition): Promise<unknown> } };
};
export type DrizzleDatabase = DrizzleStatements & {
  transaction(work: (tx: DrizzleStatements) => Promise<unknown>): Promise<unknown>;
};

const { eq, sql } = createRequire(import.meta.url)('drizzle-orm') as {
  eq(column: Column, value: unknown): Condition;
  sql(texts: TemplateStringsArray, ...values: unknown[]): Sql;
};

/** `accounts` as the database's kind has it. */
export function byDrizzle(accounts: Accounts): Works<DrizzleStatements> {
  return {
    text: async (db, id) => {
      await db.execute(sql`select balance from accounts where id = ${id}`);
      await db.execute(sql`update accounts set balance = balance + ${1} where id = ${id}`);
    },
    builder: async (db, id) => {
      await db.select({ balance: accounts.balance }).from(accounts).where(eq(accounts.id, id));
      await db
        .update(accounts)
        .set({ balance: sql`${accounts.balance} + ${1}` })
        .where(eq(accounts.id, id));
    },
  };
}
