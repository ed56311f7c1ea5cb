import { sql } from 'drizzle-orm';
import { transaction } from 'unanimous';
import { assert } from '../support/suite.ts';
import { holds } from './adapter.ts';
import { accounts, openDrizzle } from './adapters/drizzle-mysql.ts';
import { onMysql } from './mysql.ts';

await onMysql({ title: 'Drizzle', open: openDrizzle }, (test, { library, db }) => {
  test('tx.rollback() undoes its own transaction, and raw statements take part', async () => {
    await transaction.run(async () => {
      await library.db.execute(sql`insert into accounts values (3, 0)`);
      await assert.rejects(
        library.db.transaction(async (own) => {
          await own.execute(sql`insert into accounts values (4, 0)`);
          own.rollback();
        }),
      );
      assert.is(await library.db.$count(accounts), 3);
    });
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('an access mode is held against the outer transaction; a snapshot of its own it can’t have', async () => {
    const begin = (config: { accessMode?: 'read only'; withConsistentSnapshot?: true }): Promise<unknown> =>
      library.db.transaction((own) => own.select().from(accounts), config);
    for (const config of [{ accessMode: 'read only' }, { withConsistentSnapshot: true }] as const) {
      await begin(config);
      await transaction.run(() => assert.rejects(begin(config), holds('ERR_TXN_CONFIGURATION')));
    }
    await transaction.run(() => begin({ accessMode: 'read only' }), { readOnly: true });
  });

  test('an iterator that is left in the middle gives its connection back', async () => {
    await transaction.run(async () => {
      for await (const { id } of library.db.select().from(accounts).iterator()) {
        assert.ok(id > 0);
        break;
      }
      await library.insert(3);
    });
    assert.equal(await db.ids(), [1, 2, 3]);
  });
});
