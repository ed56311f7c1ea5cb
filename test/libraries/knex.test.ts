import { transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { openKnex } from './adapters/knex.ts';
import { onPostgres } from './postgres.ts';

const test = suite('Knex on PostgreSQL');
const { library, db } = await onPostgres(test, openKnex);

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
