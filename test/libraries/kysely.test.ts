import { sql } from 'kysely';
import { transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { holds } from './adapter.ts';
import { openKnex } from './adapters/knex.ts';
import { openKysely } from './adapters/kysely.ts';
import { onPostgres } from './postgres.ts';

const test = suite('Kysely on PostgreSQL');
const { library, db } = await onPostgres(test, openKysely, openKnex);

test('a controlled transaction, with savepoints by name', async () => {
  await transaction.run(async () => {
    const own = await library.db.startTransaction().execute();
    await own.insertInto('accounts').values({ id: 3, balance: 0 }).execute();
    const behind = await own.savepoint('three').execute();
    await behind.insertInto('accounts').values({ id: 4, balance: 0 }).execute();
    await behind.rollbackToSavepoint('three').execute();
    await own.insertInto('accounts').values({ id: 5, balance: 0 }).execute();
    await own.commit().execute();
  });
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('one connection for several statements is the transaction’s', async () => {
  await transaction.run(async () => {
    await library.db.connection().execute(async (connection) => {
      await sql`create temporary table numbers (n int) on commit drop`.execute(connection);
      await sql`insert into numbers values (3)`.execute(connection);
      await sql`insert into accounts select n, 0 from numbers`.execute(connection);
    });
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('access modes are held against the outer transaction too', async () => {
  const readOnly = (): Promise<unknown> =>
    library.db
      .transaction()
      .setAccessMode('read only')
      .execute((own) => own.selectFrom('accounts').selectAll().execute());
  await transaction.run(() => assert.rejects(readOnly(), holds('ERR_TXN_CONFIGURATION')));
  await transaction.run(readOnly, { readOnly: true });
});
