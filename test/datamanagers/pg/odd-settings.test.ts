// Protects what works for most pools, servers and statements where one of them is unlike most.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { AcquireTimeoutError, ConfigurationError, transaction } from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { warningsOf } from '../../../datamanagers/pg/warnings.ts';
import { postgres, startPostgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { Database, says } from './setup.ts';

const test = suite('pools, servers and statements that are unlike most', { timeoutMs: 60_000 });
const server = await postgres();
const db = await Database.open(server, { name: 'settings' });
const { session } = db;
const pool = session.pool();
test.after(() => db.close());
test.after.each(async () => {
  db.proxy.onServerData = undefined;
  await db.assertClean();
  await db.reset();
});

const attempts = { attempts: 1 };
test('a pool that was given a password and its parts rather than an address: connections beside it have them too', async () => {
  // pg hides a pool's password from whoever copies its options.
  const folder = await mkdtemp(join(tmpdir(), 'unanimous-hba-'));
  await chmod(folder, 0o755);
  const hba = join(folder, 'hba.conf');
  await writeFile(hba, 'host all wary all scram-sha-256\nhost all all all trust\nlocal all all trust\n');
  const own = await startPostgres({ settings: { hba_file: hba } });
  const url = new URL(await own.database('wary'));
  const admin = new pg.Client(url.href);
  await admin.connect();
  await admin.query("create role wary login password 'it''s \\ a secret'");
  const rest = {
    host: url.hostname,
    port: Number(url.port),
    database: url.pathname.slice(1),
    user: 'wary',
    ssl: false,
  };
  const right = new pg.Pool({ ...rest, password: "it's \\ a secret" });
  const wrong = new pg.Pool({ ...rest, password: 'another' });
  try {
    const apart = new PgSession(right, { name: 'apart' });
    await apart.check();
    assert.equal(await apart.listPrepared(), []);
    assert.is(right.totalCount, 0, 'these were connections beside the pool');
    await assert.rejects(new PgSession(wrong, { name: 'wrong' }).check(), { code: '28P01' });
  } finally {
    await Promise.all([right.end(), wrong.end(), admin.end()]);
    await own.stop();
    await rm(folder, { recursive: true });
  }
});

test('a pool that doesn’t count its connections: the error of a wait in vain says that it isn’t known', async () => {
  class Uncounted extends pg.Pool {}
  for (const key of ['totalCount', 'idleCount', 'waitingCount']) {
    Object.defineProperty(Uncounted.prototype, key, { get: () => undefined });
  }
  const own = new Uncounted({ connectionString: db.url, max: 1 });
  const held = await own.connect();
  try {
    const waiting = new PgSession(own, { name: 'uncounted', acquireTimeoutMs: 100 });
    const error = await failureOf(transaction.run(() => waiting.query('select 1'), attempts));
    assert.instance(error, AcquireTimeoutError);
    assert.match(error.message, 'connections in its pool: ?, idle: ?, waiting for one: ?');
  } finally {
    held.release();
    await own.end();
  }
});

test('a server before version 13 is refused when a service starts: it can’t say what became of a transaction', async () => {
  const version = Buffer.from((await db.admin.query("select current_setting('server_version_num') as v")).rows[0].v);
  db.proxy.onServerData = (data, link) => {
    const at = data.indexOf(version);
    if (at < 0) return undefined;
    data.write('12', at);
    link.client.write(data);
    return false;
  };
  const error = await failureOf(session.check());
  assert.instance(error, ConfigurationError);
  assert.match(error.message, /version 13 or later; that of 'settings' is 12/);
});

test('a pool whose results are binary: statements that travel together are answered as alone', async () => {
  const binary = db.another({ name: 'binary', pool: { binary: true } as pg.PoolConfig });
  const texts = [
    ["select 'a'::text as a", []],
    ['select $1::int as a', [7]],
    ['select $1::bytea as a', [Buffer.from([0, 255])]],
    ['select 8 as a', []],
    ['select id as a from accounts where id = $1', [2]],
  ] as const;
  const alone: unknown[] = [];
  for (const [text, values] of texts) alone.push((await binary.pool.query(text, [...values])).rows);
  for (let round = 0; round < 3; round++) {
    const together = await transaction.run(
      () => Promise.all(texts.map(([text, values]) => binary.session.query(text, [...values]))),
      attempts,
    );
    assert.equal(
      together.map(({ rows }) => rows),
      alone,
    );
  }
});

test('statements with a limit of their own, or known by a name alone, are answered beside those that travel together', async () => {
  await transaction.run(async () => {
    await session.query({ name: 'settings_named', text: 'select 5 as n' });
    const all = await Promise.all([
      session.query('select 1 as n'),
      session.query('select 2 as n'),
      session.query({ text: 'select 3 as n', query_timeout: 20_000 }),
      session.query({ text: 'select 4 as n union all select 4', rows: 1 } as pg.QueryConfig),
      session.query({ name: 'settings_named' } as unknown as pg.QueryConfig),
      session.query('select 6 as n'),
      session.query('select 7 as n'),
    ]);
    assert.equal(
      all.map(({ rows }) => rows[0].n),
      [1, 2, 3, 4, 5, 6, 7],
    );
  }, attempts);
});

test('a statement that is known by its name alone works by a library’s clients, inside of a transaction and outside of any', async () => {
  const byName = { name: 'settings_known' } as unknown as pg.QueryConfig;
  const named = { name: 'settings_known', text: 'select 5 as five' };
  const within = async (client: Pick<pg.ClientBase, 'query'>): Promise<void> => {
    await client.query('begin');
    await client.query(named);
    assert.equal((await client.query(byName)).rows, [{ five: 5 }]);
    await client.query('commit');
  };
  await transaction.run(async () => {
    const client = await pool.connect();
    await within(client);
    client.release();
  }, attempts);
  const contextual = new (session.driver(pg).Client)();
  await within(contextual);
  await contextual.end();
});

test('a client that was made with parsers of its own says which they are, without a connection', async () => {
  const types = { getTypeParser: () => (value: string) => `<${value}>` };
  const client = new (session.driver(pg).Client)({ types });
  assert.is((client.getTypeParser as (oid: number) => (value: string) => string)(23)('7'), '<7>');
  assert.is(client.escapeLiteral("it's"), "'it''s'");
  await client.end();
});

test('DEALLOCATE ALL on a connection on which nothing has got a name harms nothing', async () => {
  const fresh = db.another({ name: 'fresh', pool: { max: 1 } });
  for (let round = 0; round < 3; round++) {
    await transaction.run(async () => {
      await fresh.session.query('deallocate all');
      await fresh.session.query('insert into accounts values ($1, 0)', [10 + round]);
    }, attempts);
  }
  assert.equal(await db.ids(), [1, 2, 10, 11, 12]);
});

test('a configuration that throws when it is read: that is the statement’s error, and the transaction goes on', async () => {
  const hostile = {
    text: 'select 1',
    get values(): never {
      throw new Error('not to be read');
    },
  };
  await transaction.run(async () => {
    await assert.rejects(session.query(hostile as never), says(/not to be read/));
    await session.query('insert into accounts values (3, 0)');
    await assert.rejects(session.query(hostile as never), says(/not to be read/));
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('warnings count: one is one, and several are several', () => {
  const row = { me: 'me', foreign_owner: 'somebody' };
  const said = (most: number, used: number, foreign: number): string[] =>
    warningsOf({ ...row, most, used, foreign_count: foreign }, 'bank').map(({ message }) => message);
  const [one, branch] = said(20, 19, 1);
  assert.match(one!, 'room for 1 more prepared transaction, of 20');
  assert.match(branch!, 'bank has a branch that was prepared by the role somebody');
  const [none, branches] = said(20, 25, 2);
  assert.match(none!, 'room for 0 more prepared transactions, of 20');
  assert.match(branches!, 'bank has 2 branches that were prepared by the role somebody');
  assert.equal(said(0, 0, 0), []);
  assert.equal(said(20, 2, 0), []);
});
