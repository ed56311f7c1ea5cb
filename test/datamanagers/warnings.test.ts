// Protects that sessions say, of real servers, what will keep recovery from its work, and nothing where all is well.
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { RecoveryWarning, TransactionCoordinator, type ResourceWarning, register } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';
import { mariadb, mysql as oracleMysql, postgres, startPostgres, startRedis } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('warnings of servers', { timeoutMs: 60_000 });
const server = await postgres();
const maria = await mariadb();
test.after(() => Promise.all([server.stop(), maria.stop()]));

const kinds = (warnings: readonly ResourceWarning[]): string[] => warnings.map(({ kind }) => kind);
const PREFIX = 'shop:store:';

async function withPool<T>(url: string, use: (pool: pg.Pool) => Promise<T>): Promise<T> {
  const pool = new pg.Pool({ connectionString: url });
  pool.on('error', () => undefined);
  try {
    return await use(pool);
  } finally {
    await pool.end();
  }
}

/** Leaves something prepared under this name. */
async function prepare(pool: pg.Pool, gid: string): Promise<void> {
  const client = await pool.connect();
  for (const text of ['begin', 'select pg_current_xact_id()', `prepare transaction '${gid}'`]) await client.query(text);
  client.release();
}

test('PostgreSQL: little room for prepared transactions, counted with everybody’s', async () => {
  const own = await startPostgres({ settings: { max_prepared_transactions: 4 } });
  const url = await own.database('full');
  await withPool(url, async (pool) => {
    const bank = new PgSession(pool, { name: 'bank' });
    assert.equal(await bank.warnings(PREFIX), []);
    for (const index of [1, 2, 3, 4]) await prepare(pool, `somebody ${index}`);
    const [warning, ...more] = await bank.warnings(PREFIX);
    assert.equal([warning?.kind, more], ['little-room', []]);
    assert.match(warning!.message, 'bank has room for 0 more prepared transactions, of 4');
    for (const index of [1, 2, 3, 4]) await pool.query(`rollback prepared 'somebody ${index}'`);
    bank.configure({ twoPhase: false });
    assert.equal(await bank.warnings(PREFIX), []);
  });
  await own.stop();
});

test('PostgreSQL: what another role has prepared, which this one may not end; a superuser may', async () => {
  const url = await server.database('owners');
  const role = `owner_${process.pid}`;
  await withPool(url, async (admin) => {
    for (const name of [role, `${role}_other`]) await admin.query(`create role ${name} login password 'x'`);
    const as = (name: string): string => Object.assign(new URL(url), { username: name, password: 'x' }).href;
    try {
      await withPool(as(role), async (pool) => {
        for (const gid of [`${PREFIX}i:1:bank`, `${PREFIX}i:2:other`, 'elsewhere:store:i:3:bank']) {
          await prepare(pool, gid);
        }
      });
      await withPool(as(`${role}_other`), async (pool) => {
        const [warning, ...more] = await new PgSession(pool, { name: 'bank' }).warnings(PREFIX);
        assert.equal([warning?.kind, more], ['foreign-owner', []]);
        assert.match(
          warning!.message,
          `bank has a branch that was prepared by the role ${role}, which only that one or a superuser may end, not ${role}_other`,
        );
      });
      for (const allowed of [url, as(role)]) {
        await withPool(allowed, async (pool) => {
          assert.equal(await new PgSession(pool, { name: 'bank' }).warnings(PREFIX), []);
        });
      }
    } finally {
      for (const gid of [`${PREFIX}i:1:bank`, `${PREFIX}i:2:other`, 'elsewhere:store:i:3:bank']) {
        await admin.query(`rollback prepared '${gid}'`).catch(() => undefined);
      }
      for (const name of [role, `${role}_other`]) await admin.query(`drop role ${name}`);
    }
  });
});

test('MariaDB: a process that is paused may keep its branches for long', async () => {
  const pool = mysql.createPool({ uri: await maria.database('waits') });
  assert.equal(await new MysqlSession(pool, { name: 'stock' }).warnings(PREFIX), []);
  const [warning] = await new MysqlSession(pool, { name: 'stock', preparedWaitSeconds: 28_800 }).warnings(PREFIX);
  assert.is(warning!.kind, 'long-wait');
  assert.match(warning!.message, 'stock waits for 28800 s (preparedWaitSeconds)');
  await pool.end();
});

const oracle = await oracleMysql();
if (oracle !== undefined) {
  test('MySQL: a user that may not list what is prepared', async () => {
    const url = await oracle.database('rights');
    const admin = await mysql.createConnection({ uri: url, multipleStatements: true });
    const user = `limited_${process.pid}`;
    await admin.query(
      `create user ${user}@'%' identified by 'x'; grant all on \`${new URL(url).pathname.slice(1)}\`.* to ${user}@'%'`,
    );
    const pool = mysql.createPool({ uri: Object.assign(new URL(url), { username: user, password: 'x' }).href });
    const session = new MysqlSession(pool, { name: 'stock' });
    const [warning] = await session.warnings(PREFIX);
    assert.is(warning!.kind, 'missing-right');
    assert.match(warning!.message, 'XA_RECOVER_ADMIN');
    const error = await assert.rejects(session.listPrepared());
    assert.match(error.message, 'XA_RECOVER_ADMIN');
    await pool.end();
    await admin.query(`drop user ${user}@'%'`);
    await admin.end();
  });
}

test('Redis: neither an append-only file nor snapshots; one of them is enough, and so is not being allowed to ask', async () => {
  const redis = await startRedis();
  const admin = new Redis(redis.url);
  const session = new RedisSession(new Redis(redis.url, { lazyConnect: true }), { name: 'cache' });
  await admin.config('SET', 'save', '');
  const [warning] = await session.warnings();
  assert.is(warning!.kind, 'no-persistence');
  assert.match(warning!.message, 'cache keeps nothing on disk');
  await admin.config('SET', 'save', '3600 1');
  assert.equal(await session.warnings(), []);
  await admin.config('SET', 'save', '');
  await admin.config('SET', 'appendonly', 'yes');
  assert.equal(await session.warnings(), []);
  await admin.config('SET', 'appendonly', 'no');
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>x', '~*', '+@all', '-config');
  const limited = new RedisSession(
    new Redis(Object.assign(new URL(redis.url), { username: 'app', password: 'x' }).href, { lazyConnect: true }),
    { name: 'cache' },
  );
  assert.equal(await limited.warnings(), []);
  await Promise.all([session.close(), limited.close()]);
  await admin.quit();
  await redis.stop();
});

test('recovery tells onError of what the servers say, by itself', async () => {
  const reported: Error[] = [];
  const coordinator = new TransactionCoordinator({ app: 'shop', onError: (error) => void reported.push(error) });
  const url = await server.database('told');
  const stock = mysql.createPool({ uri: await maria.database('told') });
  await withPool(url, async (pool) => {
    const bank = register(new PgSession(pool, { name: 'bank' }), { coordinator });
    register(new MysqlSession(stock, { name: 'stock', preparedWaitSeconds: 3_600 }), { coordinator });
    coordinator.configure({ decisionLog: new PgDecisionLog(bank) });
    await assert.eventually(() => reported.length > 0);
    const [warning] = reported as [RecoveryWarning];
    assert.ok(warning instanceof RecoveryWarning, String(warning));
    assert.equal([warning.kind, warning.resource, kinds([warning])], ['long-wait', 'stock', ['long-wait']]);
    await coordinator.close();
  });
  await stock.end();
});
