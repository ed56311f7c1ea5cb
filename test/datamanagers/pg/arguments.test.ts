import pg from 'pg';
import { ConfigurationError, transaction } from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, says } from './setup.ts';

const test = suite('what a PgSession is made with');
const db = await Database.open(await postgres(), { name: 'arguments' });
test.after(() => db.close());
test.after.each(() => db.reset());

const refuses = (make: () => unknown, said: RegExp): void =>
  assert.throws(make, (error: unknown) => error instanceof ConfigurationError && says(said)(error));

test('a pool of pg is needed; what came instead is named', () => {
  for (const [wrong, said] of [
    [undefined, /pool of pg.*not undefined/],
    [null, /pool of pg.*not null/],
    ['postgres://localhost', /pool of pg.*'postgres:\/\/localhost'/],
    [{}, /pool of pg.*an object/],
    [{ connectionString: db.url }, /pool of pg.*connectionString/],
    [new pg.Client(), /pool of pg.*Client/],
    [{ query: () => undefined, connect: () => undefined }, /pool of pg/],
    [pg.Pool, /pool of pg/],
  ] as const) {
    refuses(() => new PgSession(wrong as never), said);
  }
});

test('a pool of pg-native, or of another driver that looks alike, is refused', () => {
  const NativeClient = Object.assign(() => undefined, { Query: () => undefined });
  refuses(() => new PgSession(new pg.Pool({ Client: NativeClient as never })), /pg-native/);
  refuses(
    () => new PgSession({ connect: () => undefined, options: {}, Client: () => undefined } as never),
    /pg-native/,
  );
});

test('options are checked by name and value', () => {
  for (const [options, said] of [
    [{ nmae: 'x' }, /no option 'nmae'.*name/],
    [{ isolation: 'serializable' }, /no option 'isolation'/],
    [{ name: 7 }, /'name' must be a string, not 7/],
    [{ acquireTimeoutMs: 0 }, /'acquireTimeoutMs' must be a number of milliseconds above 0.*not 0/],
    [{ acquireTimeoutMs: '10' }, /'acquireTimeoutMs'.*'10'/],
    [{ acquireTimeoutMs: Number.NaN }, /'acquireTimeoutMs'.*NaN/],
    [{ endTimeoutMs: Infinity }, /'endTimeoutMs'.*Infinity/],
    [{ resolveTimeoutMs: -1 }, /'resolveTimeoutMs'.*-1/],
    [null, /object of options, not null/],
    [[], /object of options/],
  ] as const) {
    refuses(() => new PgSession(db.pool, options as never), said);
  }
  assert.ok(new PgSession(db.pool, { name: undefined, acquireTimeoutMs: undefined }));
  assert.is(new PgSession(db.pool).name, 'pg');
});

test('a name becomes part of an identity that can’t be quoted away: only harmless ones are taken', () => {
  for (const name of ['', ' ', "a'b", 'a:b', 'ä', 'a b', 'a\n', 'x'.repeat(64), 'a;b', '$1']) {
    refuses(() => new PgSession(db.pool, { name }), /1 to 63 letters/);
  }
  for (const name of ['a', 'A-b_c.9', 'x'.repeat(63)]) assert.is(new PgSession(db.pool, { name }).name, name);
});

test('the longest name can be prepared', async () => {
  const [one, two] = ['x', 'y'].map((letter) => db.another({ name: letter.repeat(63) }).session);
  await transaction.run(async () => {
    await one!.query('insert into accounts values (3, 0)');
    await two!.query('insert into accounts values (4, 0)');
  });
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('check() says that the server is right, and is a plain rejection where there is none', async () => {
  await db.session.check();
  const nowhere = new PgSession(new pg.Pool({ host: '127.0.0.1', port: 1 }), { name: 'nowhere' });
  await assert.rejects(nowhere.check());
  await assert.rejects(nowhere.listPrepared());
  await assert.rejects(transaction.run(() => nowhere.query('select 1'), { attempts: 1 }));
});

test('a pool that has ended is a plain rejection, and the transaction ends', async () => {
  const ended = new pg.Pool({ connectionString: db.url });
  const session = new PgSession(ended, { name: 'ended' });
  await ended.end();
  await assert.rejects(
    transaction.run(() => session.query('select 1'), { attempts: 1 }),
    says(/after calling end on the pool/),
  );
});

test('pools with settings of their own work: pipeline, binary, a query_timeout, a limit of uses, another schema', async () => {
  for (const settings of [
    { pipeline: true },
    { binary: true },
    { query_timeout: 5_000 },
    { statement_timeout: 5_000 },
    { maxUses: 1 },
    { maxLifetimeSeconds: 1 },
    { allowExitOnIdle: true, min: 1 },
    { options: '-c search_path=public -c standard_conforming_strings=on' },
    { connectionTimeoutMillis: 5_000 },
    { keepAlive: true, application_name: 'unanimous' },
  ] as pg.PoolConfig[]) {
    const what = JSON.stringify(settings);
    const { session, pool } = db.another({ name: 'settings', pool: settings });
    for (let round = 0; round < 4; round++) {
      await transaction.run(
        async () => {
          await session.query('insert into accounts values ($1, $2)', [10 + round, round]);
          const { rows } = await session.query('select balance from accounts where id = $1', [10 + round]);
          assert.equal(rows, [{ balance: round }], what);
          await Promise.all([session.query('select 1'), session.query('select 2')]);
          const savepoint = await transaction.savepoint();
          await assert.rejects(session.query('insert into accounts values ($1, 0)', [1]), { code: '23505' }, what);
          await savepoint.rollback();
        },
        { attempts: 1 },
      );
      await assert.rejects(
        transaction.run(
          async () => {
            await session.query('insert into accounts values (99, 0)');
            await session.query('selectt').catch(() => undefined);
          },
          { attempts: 1 },
        ),
        { code: 'ERR_TXN_SILENT_ROLLBACK' },
        what,
      );
    }
    assert.equal(await db.ids(), [1, 2, 10, 11, 12, 13], what);
    await assert.eventually(() => pool.idleCount === pool.totalCount);
    await db.reset();
  }
  await db.assertClean();
});
