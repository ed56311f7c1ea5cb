// The pool of a session in the eyes of a library: what it hands out inside of a transaction and outside of any.
import mysql from 'mysql2';
import type { PoolConnection, QueryError, ResultSetHeader, RowDataPacket } from 'mysql2';
import promises from 'mysql2/promise';
import { ConfigurationError, TransactionStateError, sessionState, transaction } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { type Asks, Library, attempts } from './enlisting-setup.ts';
import { poolState, products } from './setup.ts';

/** Resolves with what a callback is told after the error, which it rejects with. */
function called<T extends unknown[]>(
  start: (done: (error: QueryError | Error | null | undefined, ...told: T) => void) => unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, ...told) => (error ? reject(error) : resolve(told)));
  });
}

for (const { product, server } of await products()) {
  const test = suite(`the enlisting pool of ${product}`);
  const library = await Library.open(server, test);
  const { db, pool, core } = library;
  const { pool: plain, session } = db;
  const insert = library.insert.bind(library);
  const take = (): Promise<PoolConnection> =>
    called<[PoolConnection]>((done) => core.getConnection(done)).then(([connection]) => connection);

  test('it is the same object each time, and a pool of mysql2 in every respect that a library looks at', () => {
    assert.is(session.pool(), pool);
    assert.is.not(pool, plain);
    assert.instance(pool, promises.createPool({}).constructor);
    assert.instance(core, (mysql as unknown as { Pool: new () => unknown }).Pool);
    assert.is((core as unknown as { config: unknown }).config, (plain.pool as unknown as { config: unknown }).config);
    assert.is(typeof core.promise, 'function');
    assert.is(pool.escape("a'b"), "'a\\'b'");
    const callbacks = new MysqlSession(plain.pool, { name: 'callbacks' }).pool();
    assert.is(typeof callbacks.promise, 'function');
    assert.is((callbacks.promise() as unknown as { pool: unknown }).pool, callbacks);
  });

  test('its events are those of the plain pool', async () => {
    let acquired = 0;
    pool.on('acquire', () => void acquired++);
    await plain.query('select 1');
    assert.is(acquired, 1);
    pool.removeAllListeners('acquire');
  });

  test('outside of any transaction it is the plain pool', async () => {
    const connection = await pool.getConnection();
    assert.is((connection as unknown as { connection: object }).connection.constructor.name, 'PoolConnection');
    await connection.beginTransaction();
    await insert(3, connection);
    await connection.rollback();
    connection.release();
    const given = await take();
    assert.is(given.constructor.name, 'PoolConnection');
    core.releaseConnection(given);
    await insert(4);
    await called((done) => core.query('insert into accounts values (?, 0)', [5], done));
    await called((done) => core.execute('insert into accounts values (?, 0)', [6], done));
    let rows = 0;
    for await (const _row of core.query('select id from accounts').stream()) rows++;
    assert.is(rows, 5);
    await transaction.run(async () => {
      await transaction.suspend(() => insert(7));
      await transaction.run(() => insert(8), { propagation: 'not-supported' });
      await transaction.abort();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 4, 5, 6, 7, 8]);
  });

  test('end() leaves the application’s pool alone', async () => {
    await pool.end();
    await called((done) => core.end(done));
    {
      await using same = pool;
      assert.ok(same);
    }
    await plain.query('select 1');
  });

  test('inside of a transaction its queries and its connections are the transaction’s', async () => {
    const threads = new Set<unknown>();
    await assert.rejects(
      transaction.run(async () => {
        await insert(3);
        const connection = await pool.getConnection();
        assert.is((connection as unknown as { connection: object }).connection.constructor.name, 'EnlistedConnection');
        await insert(4, connection);
        for (const each of [session, pool, connection]) {
          const [rows] = await (each as Asks).query<RowDataPacket[]>('select connection_id() as id');
          threads.add(rows[0]!['id']);
        }
        threads.add(connection.threadId);
        pool.releaseConnection(connection);
        const given = await take();
        await called((done) => given.query('insert into accounts values (5, 0)', done));
        core.releaseConnection(given);
        await called((done) => core.query('insert into accounts values (?, 0)', [6], done));
        await called((done) => core.execute('insert into accounts values (?, 0)', [7], done));
        const [found] = await session.query<{ id: number }[]>('select id from accounts where id > 2 order by id');
        assert.equal(
          found.map(({ id }) => id),
          [3, 4, 5, 6, 7],
        );
        assert.is(sessionState(session), 'changed');
        throw new Error('left');
      }, attempts),
      { message: 'left' },
    );
    assert.is(threads.size, 1);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a connection takes every form of query and execute, and nothing of the server before its first statement', async () => {
    await transaction.run(async () => {
      const connection = await take();
      assert.is(connection.threadId, null);
      await called((done) => connection.ping(done));
      assert.is(poolState(plain).all - poolState(plain).free, 0);
      const sql = 'select id from accounts where id = ?';
      for (const method of ['query', 'execute'] as const) {
        for (const args of [
          [sql, [1]],
          [{ sql, values: [1] }],
          [{ sql }, [1]],
          ['select id from accounts where id = 1'],
        ]) {
          const ask = (done: (...told: unknown[]) => void): unknown =>
            (connection[method] as (...all: unknown[]) => unknown)(...args, done);
          const [rows, fields] = await called<[RowDataPacket[], { name: string }[]]>(ask as never);
          assert.equal(rows, [{ id: 1 }]);
          assert.is(fields[0]?.name, 'id');
        }
        const [arrays] = await called<[unknown[]]>((done) =>
          (connection[method] as (...all: unknown[]) => unknown)({ sql, rowsAsArray: true }, [1], done),
        );
        assert.equal(arrays, [[1]]);
      }
      assert.ok(connection.threadId > 0);
      const [header] = await called<[ResultSetHeader]>((done) =>
        connection.query('insert into accounts values (3, 0)', done as never),
      );
      assert.is(header.constructor.name, 'ResultSetHeader');
      assert.is(header.affectedRows, 1);
      await called((done) => connection.ping(done));
      assert.throws(
        () => connection.query(7 as never),
        (error: Error) => error instanceof ConfigurationError,
      );
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('a query without a callback tells by events, or by a stream', async () => {
    await transaction.run(async () => {
      const connection = await take();
      const heard = (command: ReturnType<PoolConnection['query']>): Promise<unknown[]> => {
        const events: unknown[] = [];
        command.on('fields', (fields: { name: string }[] | undefined) => events.push(fields?.map(({ name }) => name)));
        command.on('result', (row: unknown) => events.push({ ...(row as object) }));
        return new Promise((resolve, reject) => {
          command.on('error', reject);
          command.on('end', () => resolve(events));
        });
      };
      assert.equal(await heard(connection.query('select id from accounts order by id')), [
        ['id'],
        { id: 1 },
        { id: 2 },
      ]);
      assert.equal(await heard(connection.execute('select id from accounts where id > ?', [1])), [['id'], { id: 2 }]);
      const [nothing, header] = (await heard(connection.query('insert into accounts values (3, 0)'))) as [
        undefined,
        { affectedRows: number },
      ];
      assert.equal([nothing, header.affectedRows], [undefined, 1]);
      for (const command of [
        connection.query('select id from accounts order by id'),
        connection.execute('select id from accounts where id > ? order by id', [0]),
      ]) {
        const ids: number[] = [];
        for await (const { id } of command.stream({ highWaterMark: 1 })) ids.push(id as number);
        assert.equal(ids, [1, 2, 3]);
      }
      await assert.rejects(heard(connection.query('select nonsense from accounts')), { errno: 1054 });
      await assert.rejects(
        (async () => {
          for await (const _row of connection.query('select nonsense from accounts').stream());
        })(),
        { errno: 1054 },
      );
      // As where a callback is told of it.
      connection.query('select nonsense from accounts');
      await called((done) => connection.ping(done));
      connection.release();
      await transaction.abort();
    }, attempts);
  });

  test('a connection has what mysql2’s has: prepared statements, escapes, a wrapper of promises', async () => {
    await transaction.run(async () => {
      const connection = await take();
      const [statement] = await called<[mysql.PrepareStatementInfo]>((done) =>
        connection.prepare('select id from accounts where id = ?', done as never),
      );
      const [rows] = await called<[unknown[]]>((done) => statement.execute([1], done as never));
      assert.equal(rows, [{ id: 1 }]);
      statement.close();
      await assert.rejects(
        called((done) => connection.prepare('select nonsense from accounts', done as never)),
        { errno: 1054 },
      );
      await transaction.abort();
      connection.release();
    }, attempts);
    await transaction.run(async () => {
      const connection = await take();
      assert.is(connection.escape("a'b"), "'a\\'b'");
      assert.is(connection.escapeId('a`b'), '`a``b`');
      assert.is(connection.format('select ?', [1]), 'select 1');
      assert.ok(db.url.endsWith(`/${connection.config.database}`));
      const promised = connection.promise();
      assert.is(promised.constructor.name, 'PromisePoolConnection');
      const [found] = await promised.query('select id from accounts where id = 1');
      assert.equal(found, [{ id: 1 }]);
      const prepared = await promised.prepare('select id from accounts where id = ?');
      assert.equal((await prepared.execute([2]))[0], [{ id: 2 }]);
      await prepared.close();
      assert.is(await promised.ping(), true);
      assert.is(await promised.connect(), promised.connection);
      await promised.beginTransaction();
      await insert(3, promised);
      await promised.rollback();
      for (const refused of [promised.reset(), promised.changeUser({})]) {
        await assert.rejects(refused, TransactionStateError);
      }
      await promised.end();
    }, attempts);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a connection must not be used once it is released, and may be released again', async () => {
    await transaction.run(async () => {
      for (const how of ['release', 'destroy', 'end', Symbol.dispose] as const) {
        const connection = await take();
        await called((done) => connection.query('select 1', done));
        (connection[how] as () => void)();
        await assert.rejects(
          called((done) => connection.query('select 1', done)),
          TransactionStateError,
        );
        await called((done) => connection.rollback(done));
        connection.release();
      }
    });
  });

  test('streams, events and callbacks come in the context of whoever asked for them', async () => {
    const seen: unknown[] = [];
    const look = (): void => void seen.push(transaction.current?.description);
    await Promise.all(
      ['a', 'b'].map((note) =>
        transaction.run(
          async () => {
            const stream = session.queryStream('select id from accounts');
            stream.on('data', look);
            await new Promise((resolve) => stream.on('end', resolve));
            const connection = await take();
            const command = connection.query('select id from accounts');
            command.on('result', look);
            await new Promise((resolve) => command.on('end', () => (look(), resolve(undefined))));
            await new Promise((resolve) => connection.query('select 1', () => (look(), resolve(undefined))));
            await new Promise((resolve) => connection.ping(() => (look(), resolve(undefined))));
            connection.release();
          },
          { ...attempts, note },
        ),
      ),
    );
    const each = (note: string): string[] => Array.from({ length: 7 }, () => note);
    assert.equal(
      [...seen.filter((note) => note === 'a'), ...seen.filter((note) => note !== 'a')],
      [...each('a'), ...each('b')],
    );
  });
}
