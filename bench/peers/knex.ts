// SELECT by key and UPDATE by key in Knex.
import type { Knex } from 'knex';
import type { Works } from './work.ts';

export const byKnex: Works<Knex> = {
  text: async (db, id) => {
    await db.raw('select balance from accounts where id = ?', [id]);
    await db.raw('update accounts set balance = balance + ? where id = ?', [1, id]);
  },
  builder: async (db, id) => {
    await db('accounts').select('balance').where({ id });
    await db('accounts').where({ id }).increment('balance', 1);
  },
};
