// MariaDB and MySQL for the scenarios.
import type { Pool } from 'mysql2/promise';
import { transaction } from 'unanimous';
import type { MysqlSession } from 'unanimous/mysql';
import { Database, poolState, products, type DatabaseOptions, warnings } from '../datamanagers/mysql/setup.ts';
import { assert, suite, type Test } from '../support/suite.ts';
import { openKysely } from './adapters/kysely-mysql.ts';
import type { Accounts, Adapter } from './adapter.ts';
import { scenarios } from './scenarios.ts';

/** What an adapter is made with. */
export interface Place {
  readonly session: MysqlSession<Pool>;
  readonly product: 'MariaDB' | 'MySQL';
  /** The name of the database. */
  readonly database: string;
}

/** What a library is tested with. */
export interface Subject<A extends Adapter> {
  readonly title: string;
  readonly open: (place: Place) => A | Promise<A>;
  readonly openPartner?: (place: Place) => Adapter | Promise<Adapter>;
  readonly pool?: NonNullable<DatabaseOptions['pool']>;
}

/** Drizzle gives connections back in a way that mysql2 warns of; Sequelize says which commits have failed. */
const OF_LIBRARIES = /^(Calling conn\.end\(\) to release|Committing transaction .* failed)/;

/** Opens a database on each server and the library on it, registers the scenarios, and what `more` registers. */
export async function onMysql<A extends Adapter>(
  { title, open, openPartner = openKysely, pool }: Subject<A>,
  more?: (test: Test, stage: { library: A; db: Database; place: Place }) => void,
): Promise<void> {
  for (const { product, server } of await products()) {
    const test = suite(`${title} on ${product}`);
    const db = await Database.open(server, { name: 'library', acquireTimeoutMs: 500, pool: { ...pool } });
    const database = new URL(db.url).pathname.slice(1);
    const placeOf = (session: MysqlSession): Place => ({ session: session as MysqlSession<Pool>, product, database });
    const place = placeOf(db.session);
    const library = await open(place);
    const partner = await openPartner(place);
    const other = db.another({ name: 'patient', pool: { ...pool, connectionLimit: 4 } });
    const patient = await open(placeOf(other.session));
    const accounts: Accounts = {
      ids: () => db.ids(),
      balance: (id) => db.balance(id),
      insertBySession: (id) => db.session.query('insert into accounts values (?, 0)', [id]),
      collide: (own) => deadlock(db, own),
      assertClean: () => db.assertClean(),
      reset: () => db.reset(),
    };
    test.after.each(async () => {
      await accounts.assertClean();
      await accounts.reset();
      assert.equal(
        warnings.splice(0).filter((each) => !OF_LIBRARIES.test(each)),
        [],
      );
    });
    scenarios(test, { library, partner, patient, session: db.session, accounts });
    test('its end leaves the application’s pool alone, and others that use it', async () => {
      const another = await open(place);
      await transaction.run(() => another.insert(3));
      await another.close();
      await transaction.run(() => library.insert(4));
      assert.ok(poolState(db.pool).all > 0);
      assert.equal(await db.ids(), [1, 2, 3, 4]);
    });
    more?.(test, { library, db, place });
    test.after(async () => {
      for (const each of [library, partner, patient]) await each.close();
      await db.close();
    });
  }
}

/** Two transactions that wait for each other: that of `own` has changed less, and is the one to be rolled back. */
async function deadlock(db: Database, own: { update(id: number, balance: number): Promise<unknown> }): Promise<void> {
  await own.update(1, 10);
  const other = await db.admin.getConnection();
  await other.query('start transaction');
  await other.query('insert into accounts values (100, 0), (101, 0), (102, 0), (103, 0)');
  await other.query('update accounts set balance = 0 where id = 2');
  const blocked = other.query('update accounts set balance = 0 where id = 1');
  try {
    await own.update(2, 10);
  } finally {
    await blocked;
    await other.query('rollback');
    other.release();
  }
}
