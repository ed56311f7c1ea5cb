import mysql from 'mysql2';
import { DataTypes, QueryTypes, Sequelize, type Model } from 'sequelize';
import { transaction } from 'unanimous';
import { assert } from '../support/suite.ts';
import { holds } from './adapter.ts';
import { openSequelize } from './adapters/sequelize-mysql.ts';
import { onMysql } from './mysql.ts';

// It wants to know how many rows were changed, rather than found.
const pool = { flags: ['-FOUND_ROWS'] };

await onMysql({ title: 'Sequelize', open: openSequelize, pool }, (test, { library, db, place }) => {
  test('settings that it makes at each connection are refused, and it is said where they belong', async () => {
    const options = { dialect: 'mysql', dialectModule: place.session.driver(mysql), logging: false } as const;
    const unset = new Sequelize(options);
    const error = await assert.rejects(unset.authenticate(), holds('ERR_TXN_CONFIGURATION'));
    assert.match(String(error), /for the pool/);
    await unset.close();
    const { session } = db.another({ name: 'found' });
    const other = new Sequelize({ ...options, dialectModule: session.driver(mysql), keepDefaultTimezone: true });
    const refused = await assert.rejects(other.authenticate(), holds('ERR_TXN_CONFIGURATION'));
    assert.match(String(refused), /FOUND_ROWS/);
    await other.close();
  });

  test('its first connection may be made inside of a transaction', async () => {
    await transaction.run(async () => {
      const { sequelize, insert } = await openSequelize(place);
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

  test('it finds or creates, updates and upserts, and values come as it reads them, inside of a transaction as outside', async () => {
    type Payment = Model & { amount: string; at: Date; note: object; paid: boolean };
    const Payments = library.sequelize.define<Payment>(
      'payments',
      {
        id: { type: DataTypes.INTEGER, primaryKey: true },
        amount: DataTypes.DECIMAL(20, 2),
        at: DataTypes.DATE,
        note: DataTypes.JSON,
        paid: DataTypes.BOOLEAN,
      },
      { timestamps: false },
    );
    await Payments.sync();
    const at = new Date('2026-03-29T01:30:00Z');
    const both = async (): Promise<void> => {
      const values = { amount: '12345678901234567.89', at, note: { a: 1 }, paid: true };
      const [, isNew] = await Payments.findOrCreate({ where: { id: 1 }, defaults: values });
      const [found, isNewAgain] = await Payments.findOrCreate({ where: { id: 1 }, defaults: values });
      assert.equal([isNew, isNewAgain], [true, false]);
      assert.equal([found.amount, found.at, found.paid], ['12345678901234567.89', at, true]);
      assert.equal(await Payments.update({ paid: true }, { where: { id: 1 } }), [0], 'none was changed');
      assert.equal(await Payments.update({ paid: false }, { where: { id: 1 } }), [1]);
      await Payments.upsert({ id: 1, paid: true });
      await Payments.bulkCreate([{ id: 2 }, { id: 3 }]);
      assert.is(await Payments.count(), 3);
      await Payments.destroy({ where: {} });
    };
    await both();
    await transaction.run(both);
    await Payments.drop();
  });
});
