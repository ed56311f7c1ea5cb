import { asc, eq } from 'drizzle-orm';
import { int, mysqlTable, type MySqlDatabase } from 'drizzle-orm/mysql-core';
import { drizzle, type MySql2Database } from 'drizzle-orm/mysql2';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../mysql.ts';

export const accounts = mysqlTable('accounts', { id: int('id').primaryKey(), balance: int('balance').notNull() });

type Db = MySqlDatabase<any, any, any>;

function statements(db: Db): Statements {
  return {
    insert: async (id) => db.insert(accounts).values({ id, balance: 0 }),
    update: async (id, balance) => db.update(accounts).set({ balance }).where(eq(accounts.id, id)),
    remove: async (id) => db.delete(accounts).where(eq(accounts.id, id)),
    ids: async () =>
      (await db.select({ id: accounts.id }).from(accounts).orderBy(asc(accounts.id))).map(({ id }) => id),
  };
}

function ownOf(db: Db): Own {
  return { ...statements(db), nested: (work) => db.transaction((inner) => work(ownOf(inner))) };
}

export function openDrizzle({ session }: Place): Adapter & { readonly db: MySql2Database } {
  const db = drizzle({ client: session.pool() }) as unknown as MySql2Database;
  return {
    name: 'Drizzle',
    db,
    ...statements(db),
    transaction: (work, { isolation } = {}) =>
      db.transaction((own) => work(ownOf(own)), isolation === undefined ? undefined : { isolationLevel: isolation }),
    stream: async function* () {
      const rows = db.select({ id: accounts.id }).from(accounts).orderBy(asc(accounts.id)).iterator();
      for await (const { id } of rows) yield id;
    },
    close: async () => undefined,
  };
}
