import knex from 'knex';
import mysql, { type PoolConnection } from 'mysql2';
import { transaction } from 'unanimous';
import { failureOf } from '../datamanagers/sql/helpers.ts';
import { assert } from '../support/suite.ts';
import { holds } from './adapter.ts';
import { knexAdapter } from './adapters/knex.ts';
import { openKnex } from './adapters/knex-mysql.ts';
import { onMysql } from './mysql.ts';

await onMysql({ title: 'Knex', open: openKnex }, (test, { library, db }) => {
  test('a transaction that is ended by hand, and one that reads by a provider, are savepoints too', async () => {
    await transaction.run(async () => {
      const own = await library.db.transaction();
      await own('accounts').insert({ id: 3, balance: 0 });
      await own.rollback();
      const provide = library.db.transactionProvider();
      const other = await provide();
      await other('accounts').insert({ id: 4, balance: 0 });
      await other.commit();
    });
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  test('a read-only transaction, which it says ahead of its BEGIN, must be one inside of one', async () => {
    const readOnly = (): Promise<unknown> =>
      library.db.transaction((trx) => trx('accounts').select(), { readOnly: true });
    await readOnly();
    await transaction.run(() => assert.rejects(readOnly(), holds('ERR_TXN_CONFIGURATION')));
    await transaction.run(readOnly, { readOnly: true });
  });
});

/** As an earlier Knex can do it, which takes no pool: a client class, whose connections come from the session. */
await onMysql({
  title: 'Knex, by a client class',
  open({ session }) {
    const pool = session.pool().pool;
    const MysqlClient = knex({ client: 'mysql2' }).client.constructor as typeof knex.Client;
    class SessionClient extends MysqlClient {
      override acquireConnection(): Promise<PoolConnection> {
        return new Promise((resolve, reject) => {
          pool.getConnection((error, connection) => (error ? reject(error) : resolve(connection)));
        });
      }
      override async releaseConnection(connection: PoolConnection): Promise<void> {
        connection.release();
      }
    }
    return { ...knexAdapter(knex({ client: SessionClient, version: '8' })), streamsOutside: true };
  },
});

/** And with a pool of its own, of connections of the driver. */
await onMysql(
  {
    title: 'Knex, by the driver',
    open({ session }) {
      const driver = session.driver(mysql);
      const MysqlClient = knex({ client: 'mysql2' }).client.constructor as typeof knex.Client;
      class SessionClient extends MysqlClient {
        _driver(): typeof mysql {
          return driver;
        }
      }
      const own = knex({
        client: SessionClient,
        connection: { host: 'nowhere.invalid' },
        pool: { min: 0, max: 1_000 },
      });
      return { ...knexAdapter(own), streamsOutside: true };
    },
  },
  (test, { library, db }) => {
    test('a query that is given up is cancelled, and the transaction isn’t committed', async () => {
      const error = await failureOf(
        transaction.run(async () => {
          await library.insert(3);
          const slow = library.db.raw('select sleep(20) from accounts');
          await slow.timeout(200, { cancel: true }).catch((given: Error) => assert.match(given.message, /timeout/i));
        }),
      );
      // Knex doesn't wait for the end of what it has cancelled.
      assert.match(error?.code, /^ERR_TXN_(SILENT_ROLLBACK|CONCURRENT_USE)$/);
      assert.equal(await db.ids(), [1, 2]);
    });
  },
);
