import { sql } from 'drizzle-orm';
import { transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { openDrizzle } from './adapters/drizzle.ts';
import { onPostgres } from './postgres.ts';

const test = suite('Drizzle on PostgreSQL');
const { library, db } = await onPostgres(test, openDrizzle);

test('tx.rollback() undoes its own transaction, and raw statements take part', async () => {
  await transaction.run(async () => {
    await library.db.execute(sql`insert into accounts values (3, 0)`);
    await assert.rejects(
      library.db.transaction(async (own) => {
        await own.execute(sql`insert into accounts values (4, 0)`);
        own.rollback();
      }),
    );
    assert.is(await library.db.$count(sql`accounts`), 3);
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});
