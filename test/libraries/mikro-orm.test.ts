import { EntitySchema, MikroORM } from '@mikro-orm/postgresql';
import { transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { Accounts, dialectOf, openMikroOrm } from './adapters/mikro-orm.ts';
import { onPostgres } from './postgres.ts';

const test = suite('MikroORM on PostgreSQL');
const { library, db } = await onPostgres(test, openMikroOrm);

test('a unit of work that is flushed is a savepoint, which a failing one doesn’t outlive', async () => {
  await transaction.run(async () => {
    const em = library.orm.em.fork();
    em.create(Accounts, { id: 3, balance: 0 });
    (await em.findOneOrFail(Accounts, 1)).balance = 70;
    await em.flush();
    const failing = library.orm.em.fork();
    failing.create(Accounts, { id: 4, balance: 0 });
    failing.create(Accounts, { id: 2, balance: 0 });
    await assert.rejects(failing.flush(), { code: '23505' });
    await library.insert(5);
  });
  assert.equal(await db.ids(), [1, 2, 3, 5]);
  assert.is(await db.balance(1), 70);
});

test('dates come as MikroORM reads them, inside of a transaction as outside', async () => {
  const Days = new EntitySchema<{ id: number; day: string; at: Date }>({
    name: 'Day',
    tableName: 'days',
    properties: {
      id: { type: 'integer', primary: true },
      day: { type: 'date' },
      at: { type: 'datetime', columnType: 'timestamptz' },
    },
  });
  const orm = await MikroORM.init({
    entities: [Days],
    dbName: 'any',
    driverOptions: { client: dialectOf(db.session) },
  });
  await orm.schema.createSchema();
  const at = new Date('2026-03-29T01:30:00.000Z');
  await transaction.run(() => orm.em.fork().insert(Days, { id: 1, day: '2026-03-29', at }));
  const read = async (): Promise<unknown> => {
    const found = await orm.em.fork().findOneOrFail(Days, 1);
    return [found.day, found.at];
  };
  assert.equal(await read(), ['2026-03-29', at]);
  assert.equal(await transaction.run(read), ['2026-03-29', at]);
  await orm.schema.dropSchema();
  await orm.close();
});
