import { sql } from 'kysely';
import { transaction } from 'unanimous';
import { assert } from '../support/suite.ts';
import { holds } from './adapter.ts';
import { openKnex } from './adapters/knex-mysql.ts';
import { openKysely } from './adapters/kysely-mysql.ts';
import { onMysql } from './mysql.ts';

await onMysql({ title: 'Kysely', open: openKysely, openPartner: openKnex }, (test, { library, db }) => {
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
        await sql`set @id = 3`.execute(connection);
        await sql`insert into accounts values (@id, 0)`.execute(connection);
      });
    });
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('access modes, which it sets ahead of its BEGIN, are held against the outer transaction too', async () => {
    const readOnly = (): Promise<unknown> =>
      library.db
        .transaction()
        .setAccessMode('read only')
        .execute((own) => own.selectFrom('accounts').selectAll().execute());
    await transaction.run(() => assert.rejects(readOnly(), holds('ERR_TXN_CONFIGURATION')));
    await transaction.run(readOnly, { readOnly: true });
    await readOnly();
  });

  test('what a statement has changed is counted as ever', async () => {
    await transaction.run(async () => {
      const { numAffectedRows } = await library.db
        .insertInto('accounts')
        .values({ id: 3, balance: 0 })
        .executeTakeFirst();
      // Kysely has it for inserts as `numInsertedOrUpdatedRows`.
      assert.is(numAffectedRows, undefined);
      const [updated] = await library.db.updateTable('accounts').set({ balance: 7 }).execute();
      assert.equal([updated?.numUpdatedRows, updated?.numChangedRows], [3n, 3n]);
      const [deleted] = await library.db.deleteFrom('accounts').where('id', '=', 3).execute();
      assert.is(deleted?.numDeletedRows, 1n);
    });
  });
});
