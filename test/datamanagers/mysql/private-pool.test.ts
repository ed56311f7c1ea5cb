// Protects everybody else from a process that is paused in the middle of a transaction of the decision store: its locks are not kept for hours.
import driver from 'mysql2/promise';
import { corePoolOf } from '../../../datamanagers/mysql/driver.ts';
import { PrivatePool } from '../../../datamanagers/mysql/private-pool.ts';
import { mariadb } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('connections of the decision store in MariaDB');

test('the server closes one that says nothing for a minute, whatever its own settings are', async () => {
  const pool = driver.createPool({ uri: (await mariadb()).url });
  const own = new PrivatePool(corePoolOf(pool)!, 5_000);
  const { rows } = await own.query<{ seconds: number }>('select @@session.wait_timeout as seconds');
  assert.equal(
    rows.map(({ seconds }) => seconds),
    [60],
  );
  own.end();
  await pool.end();
});
