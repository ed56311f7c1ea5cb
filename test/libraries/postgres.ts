// PostgreSQL for the scenarios.
import type pg from 'pg';
import { transaction } from 'unanimous';
import type { PgSession } from 'unanimous/pg';
import { Database } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, type Test } from '../support/suite.ts';
import { openKysely } from './adapters/kysely.ts';
import type { Accounts, Adapter } from './adapter.ts';
import { scenarios } from './scenarios.ts';

/** What an adapter is made with. */
export interface Place {
  readonly session: PgSession<pg.Pool>;
  readonly url: string;
}

/** Opens a database and the library on it, and registers the scenarios. */
export async function onPostgres<A extends Adapter>(
  test: Test,
  open: (place: Place) => A | Promise<A>,
  openPartner: (place: Place) => Adapter | Promise<Adapter> = openKysely,
): Promise<{ library: A; db: Database }> {
  const db = await Database.open(await postgres(), { name: 'library', acquireTimeoutMs: 500, pool: { max: 6 } });
  const { session, url } = db;
  const library = await open({ session, url });
  const partner = await openPartner({ session, url });
  const patient = await open({ session: db.another({ name: 'patient', pool: { max: 4 } }).session, url });
  const accounts: Accounts = {
    ids: () => db.ids(),
    balance: (id) => db.balance(id),
    insertBySession: (id) => session.query('insert into accounts values ($1, 0)', [id]),
    assertClean: () => db.assertClean(),
    reset: () => db.reset(),
  };
  test.after.each(async () => {
    await accounts.assertClean();
    await accounts.reset();
  });
  scenarios(test, { library, partner, patient, session, accounts });
  test('its end leaves the application’s pool alone, and others that use it', async () => {
    const another = await open({ session, url });
    await transaction.run(() => another.insert(3));
    await another.close();
    await transaction.run(() => library.insert(4));
    assert.is(db.pool.ending, false);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
  });
  test.after(async () => {
    for (const each of [library, partner, patient]) await each.close();
    await db.close();
  });
  return { library, db };
}
