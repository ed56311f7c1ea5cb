import pg from 'pg';
import { QueryTypes, Sequelize } from 'sequelize';
import { transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { holds } from './adapter.ts';
import { openSequelize } from './adapters/sequelize.ts';
import { onPostgres } from './postgres.ts';

const test = suite('Sequelize on PostgreSQL');
const { library, db } = await onPostgres(test, openSequelize);

test('settings that it makes at each connection are refused, and it is said where they belong', async () => {
  const unset = new Sequelize({ dialect: 'postgres', dialectModule: db.session.driver(pg), logging: false });
  const error = await assert.rejects(unset.authenticate(), holds('ERR_TXN_CONFIGURATION'));
  assert.match(String(error), /for the pool/);
  await unset.close();
});

test('its first connection may be made inside of a transaction', async () => {
  const fresh = await openSequelize({ session: db.session, url: db.url });
  await fresh.close();
  await transaction.run(async () => {
    const { sequelize, insert } = await openSequelize({ session: db.session, url: db.url });
    await insert(3);
    assert.equal(await sequelize.query('select id from accounts where id > 2', { type: QueryTypes.SELECT }), [
      { id: 3 },
    ]);
    await sequelize.close();
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('a transaction that is ended by hand is a savepoint too', async () => {
  await transaction.run(async () => {
    const own = await library.sequelize.transaction();
    await library.sequelize.query('insert into accounts values (3, 0)', { transaction: own });
    await own.rollback();
    const other = await library.sequelize.transaction();
    await library.sequelize.query('insert into accounts values (4, 0)', { transaction: other });
    await other.commit();
  });
  assert.equal(await db.ids(), [1, 2, 4]);
});
