// Run by decision-pool.test.ts: uses a decision log and leaves it open. Nothing else keeps the process alive.
import driver from 'mysql2/promise';
import pg from 'pg';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';

const [url, tablePrefix] = process.argv.slice(2) as [string, string];
const options = { tablePrefix };

if (url.startsWith('mysql:')) {
  const pool = driver.createPool(url);
  await new MysqlDecisionLog(new MysqlSession(pool), options).open();
  await pool.end();
} else {
  const pool = new pg.Pool({ connectionString: url });
  await new PgDecisionLog(new PgSession(pool), options).open();
  await pool.end();
}
process.stdout.write('open\n');
