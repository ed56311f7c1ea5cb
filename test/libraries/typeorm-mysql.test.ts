import mysql from 'mysql2';
import { DataSource, EntitySchema } from 'typeorm';
import { transaction } from 'unanimous';
import { assert } from '../support/suite.ts';
import { Accounts } from './adapters/typeorm.ts';
import { openTypeorm } from './adapters/typeorm-mysql.ts';
import { onMysql } from './mysql.ts';

interface Payment {
  id: number;
  amount: string;
  day: string;
  at: Date;
  note: object;
}

const Payments = new EntitySchema<Payment>({
  name: 'payments',
  columns: {
    id: { type: 'int', primary: true, generated: true },
    amount: { type: 'bigint' },
    day: { type: 'date' },
    at: { type: 'datetime' },
    note: { type: 'json' },
  },
});

await onMysql({ title: 'TypeORM', open: openTypeorm }, (test, { library, db, place }) => {
  test('it may be initialised, and save and remove entities, inside of a transaction', async () => {
    await transaction.run(async () => {
      const { source } = await openTypeorm(place);
      const repository = source.getRepository(Accounts);
      // Each of these is a transaction of its own.
      await repository.save([
        { id: 3, balance: 0 },
        { id: 4, balance: 0 },
      ]);
      await repository.remove([await repository.findOneByOrFail({ id: 3 })]);
      await source.destroy();
    });
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  test('a query runner that is released without an end of its transaction has that rolled back', async () => {
    await transaction.run(async () => {
      const runner = library.source.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.insert(Accounts, { id: 3, balance: 0 });
      await runner.release();
      await library.insert(4);
    });
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  test('values come as TypeORM reads them, and an object is no piece of a statement, inside of a transaction as outside', async () => {
    const type = place.product === 'MariaDB' ? 'mariadb' : 'mysql';
    const source = new DataSource({ type, driver: place.session.driver(mysql), entities: [Payments] });
    await source.initialize();
    await source.synchronize();
    const repository = source.getRepository(Payments);
    const payment = {
      amount: '9007199254740993',
      day: '2026-03-29',
      at: new Date('2026-03-29T01:30:00Z'),
      note: { a: 1 },
    };
    const both = async (): Promise<void> => {
      const saved = await repository.save(repository.create(payment));
      const found = await repository.findOneByOrFail({ id: saved.id });
      const { amount, day, at, note } = found;
      assert.equal({ amount, day, at, note }, payment);
      // As an object, it would match every row: `id = `id` = 1`.
      const rows = await source.query('select id from payments where id = ?', [{ id: 1 }]);
      assert.equal(rows, []);
    };
    await both();
    await transaction.run(both);
    await source.query('drop table payments');
    await source.destroy();
  });
});
