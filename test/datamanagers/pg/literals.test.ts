// Protects texts that are part of a statement, as names of prepared transactions have to be: they stay what they are, whatever they hold and
// however the server takes a backslash or a quote.
import pg from 'pg';
import { literal } from '../../../datamanagers/pg/gid.ts';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { QUOTED } from '../../security/hostile-texts.ts';

const test = suite('texts in statements of PostgreSQL');
const client = new pg.Client({ connectionString: await (await postgres()).database('literals') });
await client.connect();
test.after(() => client.end());
test.after.each(() => client.query('reset all'));

const SETTINGS = [
  'standard_conforming_strings = on',
  'standard_conforming_strings = off',
  'backslash_quote = off',
  'backslash_quote = on',
];

for (const setting of SETTINGS) {
  test(`any text is itself with ${setting}, behind a word as well`, async () => {
    await client.query(`set ${setting}`);
    for (const text of ['plain', '', ...QUOTED]) {
      const { rows } = await client.query(`select${literal(text)} as text, length(${literal(text)}) as length`);
      assert.equal(rows, [{ text, length: Array.from(text).length }]);
    }
  });

  test(`any text names a prepared transaction with ${setting}, and nobody else’s`, async () => {
    await client.query(`set ${setting}`);
    for (const text of QUOTED) {
      await client.query('begin');
      await client.query('select pg_current_xact_id()');
      await client.query(`prepare transaction ${literal(text)}`);
      const { rows } = await client.query('select gid from pg_prepared_xacts where database = current_database()');
      await client.query(`rollback prepared ${literal(text)}`);
      assert.equal(rows, [{ gid: text }]);
    }
  });
}

test('what PostgreSQL can’t hold is refused, as the statement would end there', () => {
  assert.throws(() => literal(`a\0'; drop table accounts`), TypeError);
});
