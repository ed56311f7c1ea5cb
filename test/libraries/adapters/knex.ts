import knex, { type Knex } from 'knex';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

interface Account {
  id: number;
  balance: number;
}

function statements(db: Knex): Statements {
  const accounts = (): Knex.QueryBuilder<Account> => db('accounts') as Knex.QueryBuilder<Account>;
  return {
    insert: async (id) => accounts().insert({ id, balance: 0 }),
    update: async (id, balance) => accounts().where({ id }).update({ balance }),
    remove: async (id) => accounts().where({ id }).delete(),
    ids: async () => accounts().orderBy('id').pluck('id'),
  };
}

function ownOf(trx: Knex.Transaction): Own {
  return { ...statements(trx), nested: async (work) => trx.transaction((inner) => work(ownOf(inner))) };
}

/** Knex, whatever its dialect. */
export function knexAdapter(db: Knex): Adapter & { readonly db: Knex } {
  return {
    name: 'Knex',
    db,
    ...statements(db),
    transaction: async (work, { isolation } = {}) =>
      db.transaction((trx) => work(ownOf(trx)), isolation === undefined ? {} : { isolationLevel: isolation }),
    stream: async function* () {
      const rows = db<Account>('accounts').select('id').orderBy('id').stream({ batchSize: 5 });
      for await (const { id } of rows as AsyncIterable<Account>) yield id;
    },
    // Knex 3.3.0 gives the connection of a stream back twice, which a pool of pg answers by throwing.
    streamsOutside: false,
    close: () => db.destroy(),
  };
}

export function openKnex({ session }: Place): ReturnType<typeof knexAdapter> {
  return knexAdapter(knex({ client: 'pg', connectionPool: session.pool() }));
}
