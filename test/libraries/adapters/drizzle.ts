import { asc, eq } from 'drizzle-orm';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, pgTable, type PgDatabase } from 'drizzle-orm/pg-core';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

const accounts = pgTable('accounts', { id: integer('id').primaryKey(), balance: integer('balance').notNull() });

type Db = PgDatabase<any, any, any>;

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

export function openDrizzle({ session }: Place): Adapter & { readonly db: NodePgDatabase } {
  const db = drizzle({ client: session.pool() });
  return {
    name: 'Drizzle',
    db,
    ...statements(db),
    transaction: (work, { isolation } = {}) =>
      db.transaction((own) => work(ownOf(own)), isolation === undefined ? undefined : { isolationLevel: isolation }),
    close: async () => undefined,
  };
}
