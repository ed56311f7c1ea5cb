import { transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { Accounts, openTypeorm } from './adapters/typeorm.ts';
import { onPostgres } from './postgres.ts';

const test = suite('TypeORM on PostgreSQL');
const { library, db } = await onPostgres(test, openTypeorm);

test('it may be initialised, and save and remove entities, inside of a transaction', async () => {
  await transaction.run(async () => {
    const { source } = await openTypeorm({ session: db.session, url: db.url });
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
