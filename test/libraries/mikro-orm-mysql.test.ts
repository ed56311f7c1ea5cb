import { EntitySchema } from '@mikro-orm/core';
import { MikroORM } from '@mikro-orm/mysql';
import { transaction } from 'unanimous';
import { assert } from '../support/suite.ts';
import { Accounts } from './adapters/mikro-orm.ts';
import { dialectOf, openMikroOrm } from './adapters/mikro-orm-mysql.ts';
import { onMysql } from './mysql.ts';

interface Day {
  id: number;
  day: string;
  at: Date;
  big: bigint;
}

const Days = new EntitySchema<Day>({
  name: 'Day',
  tableName: 'days',
  properties: {
    id: { type: 'integer', primary: true, autoincrement: true },
    day: { type: 'date' },
    at: { type: 'datetime' },
    big: { type: 'bigint' },
  },
});

await onMysql({ title: 'MikroORM', open: openMikroOrm }, (test, { library, db, place }) => {
  test('a unit of work that is flushed is a savepoint, which a failing one doesn’t outlive', async () => {
    await transaction.run(async () => {
      const em = library.orm.em.fork();
      em.create(Accounts, { id: 3, balance: 0 });
      (await em.findOneOrFail(Accounts, 1)).balance = 70;
      await em.flush();
      const failing = library.orm.em.fork();
      failing.create(Accounts, { id: 4, balance: 0 });
      failing.create(Accounts, { id: 2, balance: 0 });
      await assert.rejects(failing.flush(), { errno: 1062 });
      await library.insert(5);
    });
    assert.equal(await db.ids(), [1, 2, 3, 5]);
    assert.is(await db.balance(1), 70);
  });

  test('dates and big numbers come as MikroORM reads them, inside of a transaction as outside', async () => {
    const orm = await MikroORM.init({
      entities: [Days],
      dbName: place.database,
      driverOptions: { client: dialectOf(place.session) },
    });
    await orm.schema.createSchema();
    const at = new Date('2026-03-29T01:30:00.000Z');
    const both = async (): Promise<void> => {
      const em = orm.em.fork();
      const made = em.create(Days, { day: '2026-03-29', at, big: 9007199254740993n });
      await em.flush();
      const found = await orm.em.fork().findOneOrFail(Days, made.id);
      assert.equal([found.day, found.at, found.big], ['2026-03-29', at, 9007199254740993n]);
    };
    await both();
    await transaction.run(both);
    await orm.schema.dropSchema();
    await orm.close();
  });
});
