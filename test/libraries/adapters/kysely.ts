import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import Cursor from 'pg-cursor';
import type { Adapter, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

interface Tables {
  accounts: { id: number; balance: number };
}

function statements(db: Kysely<Tables>): Statements {
  return {
    insert: (id) => db.insertInto('accounts').values({ id, balance: 0 }).execute(),
    update: (id, balance) => db.updateTable('accounts').set({ balance }).where('id', '=', id).execute(),
    remove: (id) => db.deleteFrom('accounts').where('id', '=', id).execute(),
    ids: async () => (await db.selectFrom('accounts').select('id').orderBy('id').execute()).map(({ id }) => id),
  };
}

/** Kysely, whatever its dialect. */
export function kysely(db: Kysely<Tables>): Adapter & { readonly db: Kysely<Tables> } {
  return {
    name: 'Kysely',
    db,
    ...statements(db),
    transaction: (work, { isolation } = {}) => {
      const begin = db.transaction();
      const begun = isolation === undefined ? begin : begin.setIsolationLevel(isolation);
      return begun.execute((own: Transaction<Tables>) => work(statements(own)));
    },
    stream: async function* () {
      for await (const { id } of db.selectFrom('accounts').select('id').orderBy('id').stream(5)) yield id;
    },
    close: () => db.destroy(),
  };
}

export function openKysely({ session }: Place): ReturnType<typeof kysely> {
  return kysely(new Kysely<Tables>({ dialect: new PostgresDialect({ pool: session.pool(), cursor: Cursor }) }));
}
