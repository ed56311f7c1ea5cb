// SELECT by key and UPDATE by key in Kysely.
import { type Kysely, sql } from 'kysely';
import type { Works } from './work.ts';

export type Tables = { accounts: { id: number; balance: number } };

export const byKysely: Works<Kysely<Tables>> = {
  text: async (db, id) => {
    await sql`select balance from accounts where id = ${id}`.execute(db);
    await sql`update accounts set balance = balance + ${1} where id = ${id}`.execute(db);
  },
  builder: async (db, id) => {
    await db.selectFrom('accounts').select('balance').where('id', '=', id).execute();
    await db
      .updateTable('accounts')
      .set(({ eb }) => ({ balance: eb('balance', '+', 1) }))
      .where('id', '=', id)
      .execute();
  },
};
