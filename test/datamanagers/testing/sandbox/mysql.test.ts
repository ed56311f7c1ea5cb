// What is MySQL's own in a sandbox: a deadlock takes all of it along, and statements that commit implicitly are refused.
import { ConnectionLostError, TransactionStateError, transaction } from 'unanimous';
import { RecordingDataManager, rollback, rollbackPerTest } from 'unanimous/testing';
import { assert, suite } from '../../../support/suite.ts';
import { Database, products } from '../../mysql/setup.ts';
import { says } from '../../sql/helpers.ts';

for (const { product, server } of await products()) {
  const test = suite(`a sandbox on ${product} alone`);
  const db = await Database.open(server, { pool: { connectionLimit: 2 } });
  const { session } = db;

  test.after.each(async () => {
    assert.equal(await db.ids(), [1, 2], 'nothing is stored');
    assert.equal([await db.balance(1), await db.balance(2)], [100, 100]);
    await db.assertClean();
  });
  test.after(() => db.close());

  const set = (id: number, balance: number): Promise<unknown> =>
    session.query('update accounts set balance = ? where id = ?', [balance, id]);

  test('a deadlock with somebody outside rolls all of it back: what comes later says so, and nothing is sent on its own', async () => {
    const other = await db.admin.getConnection();
    try {
      await rollback(async () => {
        await transaction.run(() => set(1, 10));
        await other.query('start transaction');
        // Who has changed less is the one to be rolled back.
        await other.query('insert into accounts values (100, 0), (101, 0), (102, 0), (103, 0)');
        await other.query('update accounts set balance = 0 where id = 2');
        const blocked = other.query('update accounts set balance = 0 where id = 1');
        await assert.rejects(
          transaction.run(() => set(2, 10), { backoff: false }),
          says(/a sandbox needs its connection until it ends; that to 'mysql' was rolled back by the server/),
        );
        await blocked;
        await other.query('rollback');
        await assert.rejects(
          transaction.run(() => set(1, 20)),
          TransactionStateError,
        );
        await assert.rejects(async () => await session.pool().query('update accounts set balance = 30'));
      });
    } finally {
      await other.query('rollback');
      other.release();
    }
  });

  test('a statement that would commit is refused, in a transaction and outside of any', async () => {
    await rollback(async () => {
      await transaction.run(() => set(1, 10));
      await assert.rejects(
        transaction.run(() => session.query('create table more (id int)')),
        TransactionStateError,
      );
      await assert.rejects(async () => await session.pool().query('create table more (id int)'));
      await assert.rejects(async () => await session.pool().query('truncate accounts'));
      const [[row]] = await transaction.run(() => session.query('select balance from accounts where id = 1'));
      assert.is(row.balance, 10);
    });
  });

  test('a connection that is lost before the votes says no, rather than to leave the transaction in doubt', async () => {
    const sandbox = rollbackPerTest();
    await sandbox.begin();
    const losing = new RecordingDataManager({
      sortKey: '~~~~',
      changed: true,
      does: {
        async commit() {
          db.proxy.cut();
          await assert.eventually(() => db.proxy.links.size === 0);
          await new Promise((resolve) => setTimeout(resolve, 50));
        },
      },
    });
    await assert.rejects(
      transaction.run(
        async (txn) => {
          await set(1, 10);
          txn.join(losing);
        },
        { attempts: 1 },
      ),
      ConnectionLostError,
    );
    await sandbox.end().catch(() => undefined);
  });
}
