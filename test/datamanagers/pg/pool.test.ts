// The pool of a session in the eyes of a library: what it hands out inside of a transaction and outside of any.
import pg from 'pg';
import { ConfigurationError, TransactionStateError, sessionState, transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { type Asks, Library, attempts } from './pool-setup.ts';

const test = suite('the enlisting pool of PostgreSQL');
const library = await Library.open(await postgres(), test);
const { db, pool } = library;
const { pool: plain, session } = db;
const insert = library.insert.bind(library);

test('it is the same object each time, and a pool of pg in every respect that a library looks at', () => {
  assert.is(session.pool(), pool);
  assert.is.not(pool, plain);
  assert.instance(pool, pg.Pool);
  assert.is(pool.options, plain.options);
  assert.is((Object.getPrototypeOf(pool) as object).constructor.name, 'BoundPool');
  assert.is((pool as unknown as { Client: unknown }).Client, pg.Client);
  for (const key of ['totalCount', 'idleCount', 'waitingCount', 'expiredCount', 'ended', 'ending'] as const) {
    assert.is(pool[key], plain[key], key);
  }
});

test('its events are those of the plain pool', async () => {
  let connected = 0;
  const listener = (): void => void connected++;
  assert.is(pool.on('acquire', listener), pool, 'what a call of it returns is still this pool');
  assert.is(plain.listenerCount('acquire'), 1);
  await plain.query('select 1');
  assert.is(connected, 1);
  pool.removeListener('acquire', listener);
  assert.is(plain.listenerCount('acquire'), 0);
});

test('outside of any transaction it is the plain pool', async () => {
  const client = await pool.connect();
  assert.instance(client, pg.Client);
  await client.query('begin');
  await insert(3, client);
  await client.query('rollback');
  client.release();
  await new Promise<void>((resolve, reject) => {
    pool.connect((error, given, release) => {
      if (error !== undefined) return reject(error);
      assert.instance(given, pg.Client);
      release();
      return resolve();
    });
  });
  await insert(4);
  await new Promise((resolve) => pool.query('insert into accounts values (5, 0)', resolve));
  assert.equal(await db.ids(), [1, 2, 4, 5]);
  await transaction.run(async () => {
    await transaction.suspend(() => insert(6));
    await transaction.run(() => insert(7), { propagation: 'not-supported' });
    await transaction.abort();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4, 5, 6, 7]);
});

test('end() leaves the application’s pool alone', async () => {
  await pool.end();
  await new Promise<void>((resolve) => pool.end(resolve));
  assert.is(plain.ending, false);
  await plain.query('select 1');
});

test('inside of a transaction its queries and its clients are the transaction’s', async () => {
  const pids = new Set<unknown>();
  await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      const client = await pool.connect();
      assert.is(client.constructor.name, 'EnlistedClient');
      await insert(4, client);
      for (const each of [session, pool, client]) {
        const { rows } = await (each as Asks).query<{ pid: number }>('select pg_backend_pid() as pid');
        pids.add(rows[0]!.pid);
      }
      pids.add((client as unknown as { processID: number }).processID);
      client.release();
      await new Promise<void>((resolve, reject) => {
        pool.connect((error, given, release) => {
          if (error !== undefined) return reject(error);
          return insert(5, given).then(() => {
            release();
            resolve();
          }, reject);
        });
      });
      const { rows } = await session.query('select id from accounts where id > 2 order by id');
      assert.equal(
        rows.map(({ id }) => id as number),
        [3, 4, 5],
      );
      assert.is(sessionState(session), 'changed');
      throw new Error('left');
    }, attempts),
    { message: 'left' },
  );
  assert.is(pids.size, 1);
  assert.equal(await db.ids(), [1, 2]);
});

test('a client takes every form of query, and nothing of the connection before its first statement', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    assert.is((client as unknown as { processID: unknown }).processID, null);
    const text = 'select id from accounts where id = $1';
    assert.equal((await client.query(text, [1])).rows, [{ id: 1 }]);
    assert.equal((await client.query({ text, values: [1], rowMode: 'array' })).rows, [[1]]);
    assert.equal((await client.query({ text, name: 'one' }, [2])).rows, [{ id: 2 }]);
    const types = { getTypeParser: () => (value: string) => `<${value}>` };
    assert.equal((await client.query({ text, values: [1], types })).rows, [{ id: '<1>' }]);
    for (const args of [
      [text, [1]],
      [{ text, values: [1] }],
      ['select id from accounts where id = 1'],
    ] as unknown as Parameters<typeof client.query>[]) {
      const result = await new Promise((resolve, reject) =>
        (client.query as (...all: unknown[]) => void)(...args, (error: Error | null, found: unknown) =>
          error ? reject(error) : resolve(found),
        ),
      );
      assert.equal((result as pg.QueryResult).rows, [{ id: 1 }]);
    }
    await assert.rejects(client.query(7 as never), ConfigurationError);
    client.release();
  });
});

test('a client has what pg’s has: escapes, parsers of its own, notices', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    const real = new pg.Client();
    assert.is(client.escapeIdentifier('a"b'), real.escapeIdentifier('a"b'));
    assert.is(client.escapeLiteral("a'b"), real.escapeLiteral("a'b"));
    assert.is(client.getTypeParser(23)('7'), 7);
    client.setTypeParser(23, (value: string) => `own ${value}`);
    assert.equal((await client.query('select 7 as a')).rows, [{ a: 'own 7' }]);
    assert.equal((await session.query('select 7 as a')).rows, [{ a: 7 }]);
    const heard: unknown[] = [];
    client.on('notice', ({ message }) => heard.push(message));
    await client.query("do $$ begin raise notice 'hello'; end $$");
    await session.query("do $$ begin raise notice 'not for it'; end $$");
    assert.equal(heard, ['hello']);
    client.release();
  });
});

test('a client must not be used, once it is released; another release or ROLLBACK does no harm', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    await client.query('select 1');
    client.release();
    await assert.rejects(client.query('select 1'), TransactionStateError);
    await client.query('rollback');
    client.release();
  });
});
