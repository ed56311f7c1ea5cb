import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import mysqlDriver, { type Connection } from 'mysql2/promise';
import { mariadb, mysql, startMariadb, startMysql, type PrivateMariadb, type SharedMariadb } from '../servers.ts';
import { assert, suite } from '../suite.ts';
import { MariadbDatabases } from './mariadb-databases.ts';
import { isAlive, owner } from './owner.ts';

const test = suite('servers: MariaDB and MySQL', { timeoutMs: 60_000 });

async function connected<T>(url: string, work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await mysqlDriver.createConnection(url);
  connection.on('error', () => {});
  try {
    return await work(connection);
  } finally {
    connection.destroy();
  }
}

async function query(url: string, ...texts: string[]): Promise<any> {
  return connected(url, async (connection) => {
    let rows: unknown;
    for (const text of texts) [rows] = await connection.query(text);
    return rows;
  });
}

const shared: SharedMariadb[] = [await mariadb()];
const optional = await mysql();
if (optional !== undefined) shared.push(optional);

for (const server of shared) {
  const { version } = (await query(server.url, 'SELECT version() AS version'))[0];

  test(`each database of ${version} is empty, and of its own`, async () => {
    const [first, second] = await Promise.all([server.database(), server.database()]);
    await query(first, 'CREATE TABLE t (i int)');
    await assert.rejects(query(second, 'SELECT * FROM t'), { code: 'ER_NO_SUCH_TABLE' });
  });

  test(`a database of ${version} is dropped in spite of a prepared branch and of an open transaction`, async () => {
    const databases = new MariadbDatabases(() => server.url);
    const url = await databases.create('drop');
    await query(url, 'CREATE TABLE t (i int)');
    const xid = `'${databases.prefix}:1','branch'`;
    await query(url, `XA START ${xid}`, 'INSERT INTO t VALUES (1)', `XA END ${xid}`, `XA PREPARE ${xid}`);
    await connected(url, async (open) => {
      await open.query('BEGIN');
      await open.query('INSERT INTO t VALUES (2)');
      await databases.drop();
      await assert.rejects(open.query('SELECT 1'));
    });
    await assert.rejects(query(url, 'SELECT 1'), { code: 'ER_BAD_DB_ERROR' });
  });
}

const start = { MariaDB: startMariadb, MySQL: optional === undefined ? undefined : startMysql };
for (const [name, startPrivate] of Object.entries(start)) {
  if (startPrivate === undefined) continue;

  test(`a private ${name} prepares branches that survive SIGKILL`, async () => {
    const own = await startPrivate({ flags: ['--innodb-lock-wait-timeout=7'] });
    // Said aloud by startMysql: an address was given, but no program is installed.
    if (own === undefined) return;
    await preparedBranchSurvives(own);
    assert.equal(
      await query(own.url, 'SELECT @@innodb_lock_wait_timeout AS t, @@innodb_flush_log_at_trx_commit AS f'),
      [{ t: 7, f: 1 }],
    );
    await own.stop();
    assert.not.ok(existsSync(dirname(own.dataDir)));
    assert.not.ok(isAlive(own.pid));
  });
}

async function preparedBranchSurvives(own: PrivateMariadb): Promise<void> {
  const url = await own.database('kill');
  await query(url, 'CREATE TABLE t (i int)');
  await query(url, "XA START 'x'", 'INSERT INTO t VALUES (1)', "XA END 'x'", "XA PREPARE 'x'");
  const { pid, port } = own;
  await own.kill('SIGKILL');
  await assert.rejects(query(url, 'SELECT 1'));
  await own.restart();
  assert.is(own.port, port);
  assert.is.not(own.pid, pid);
  assert.equal(await query(url, 'SELECT * FROM t'), []);
  await query(url, "XA COMMIT 'x'");
  assert.equal(await query(url, 'SELECT * FROM t'), [{ i: 1 }]);
}

test('a restart stops a server that still runs, and keeps its data', async () => {
  const own = await startMariadb();
  const url = await own.database();
  await query(url, 'CREATE TABLE t (i int)', 'INSERT INTO t VALUES (1)');
  const { pid } = own;
  await own.restart();
  assert.not.ok(isAlive(pid));
  assert.equal(await query(url, 'SELECT * FROM t'), [{ i: 1 }]);
  await own.stop();
});

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`${signal} of its owner leaves neither a server nor a folder`, async () => {
    const end = `process.kill(process.pid, '${signal}'); setInterval(() => {}, 1000);`;
    const { code, folder, pid } = await owner('mariadb.ts', 'startMariadb', end);
    assert.not.ok(code === 0);
    await assert.eventually(() => !existsSync(folder) && !isAlive(pid), 10_000);
  });
}
