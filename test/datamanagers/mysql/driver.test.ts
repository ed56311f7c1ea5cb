// The module of a session for libraries that make their own connections, or pools of them.
import mysql, { type Connection, type QueryError, type RowDataPacket } from 'mysql2';
import * as namespace from 'mysql2';
import promises from 'mysql2/promise';
import {
  ConcurrentUseError,
  ConfigurationError,
  TransactionClosed,
  TransactionStateError,
  sessionState,
  transaction,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { onText, outcomes, says } from '../sql/helpers.ts';
import { Library, attempts } from './enlisting-setup.ts';
import { held, poolState, products } from './setup.ts';

/** Runs a statement by a callback. */
function ask<T = any>(connection: Pick<Connection, 'query'>, sql: string, values: unknown[] = []): Promise<T> {
  return new Promise((resolve, reject) => {
    connection.query(sql, values, (error, rows) => (error ? reject(error) : resolve(rows as T)));
  });
}

for (const { product, server } of await products()) {
  const test = suite(`the driver of a session on ${product}`);
  const library = await Library.open(server, test);
  const { db, pool } = library;
  const { pool: plain, session } = db;
  const driver = session.driver(mysql);
  const insert = (id: number, target: Pick<Connection, 'query'>): Promise<unknown> =>
    ask(target, 'insert into accounts values (?, 0)', [id]);
  const numbers = (count: number): string =>
    `with recursive n as (select 1 as i union all select i + 1 from n where i < ${count}) select i from n`;

  // Made once, as a library's pool keeps it, and used from everywhere.
  const connection = driver.createConnection({ host: 'nowhere.invalid', database: 'another' });
  await new Promise((resolve) => connection.once('connect', resolve));

  test('it is the module mysql2 but for its connections and pools, which are the session’s', async () => {
    assert.is(driver.escape, mysql.escape);
    assert.is(driver.Types, mysql.Types);
    await new Promise<void>((resolve, reject) =>
      driver.createConnection({}).connect((error: QueryError | null) => (error === null ? resolve() : reject(error))),
    );
    assert.instance(driver.createPool({}), (mysql as unknown as { Pool: new () => unknown }).Pool);
    const spaces = session.driver(namespace);
    assert.is((spaces as unknown as { default: typeof mysql }).default.createPool, spaces.createPool);
    for (const wrong of [undefined, null, {}, plain, promises]) {
      assert.throws(() => session.driver(wrong as never), says(/takes the module mysql2/));
    }
    assert.throws(() => driver.createPoolCluster(), says(/would connect past it/));
    const extra = driver as unknown as typeof promises & {
      createPoolPromise: typeof promises.createPool;
      createConnectionPromise: typeof promises.createConnection;
    };
    await transaction.run(async () => {
      await extra.createPoolPromise({}).query('insert into accounts values (3, 0)');
      const promised = await extra.createConnectionPromise({});
      await promised.query('insert into accounts values (4, 0)');
      await promised.end();
      await transaction.abort();
    }, attempts);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('each statement of a connection belongs to the transaction of the code that asks for it', async () => {
    await insert(3, connection);
    await transaction.run(async () => {
      await insert(4, connection);
      assert.is(sessionState(session), 'changed');
      await transaction.suspend(() => insert(5, connection));
      assert.equal(await db.ids(), [1, 2, 3, 5]);
      await transaction.run(() => insert(6, connection), { ...attempts, propagation: 'requires-new' });
      assert.equal(await db.ids(), [1, 2, 3, 5, 6]);
    }, attempts);
    await assert.rejects(
      transaction.run(async () => {
        await insert(7, connection);
        throw new Error('left');
      }, attempts),
      { message: 'left' },
    );
    assert.equal(await db.ids(), [1, 2, 3, 4, 5, 6]);
  });

  test('also while a statement of code outside of any transaction is under way', async () => {
    const slow = ask(connection, 'do sleep(0.2)');
    await transaction.run(async () => {
      await insert(3, connection);
      await transaction.abort();
    }, attempts);
    await slow;
    assert.equal(await db.ids(), [1, 2]);
  });

  test('its own transaction inside of another one is a savepoint, and the connection is free again behind it', async () => {
    await transaction.run(async () => {
      await ask(connection, 'START TRANSACTION;');
      await insert(3, connection);
      await ask(connection, 'COMMIT;');
      await ask(connection, 'START TRANSACTION;');
      await insert(4, connection);
      await ask(connection, 'ROLLBACK;');
      await insert(5, connection);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 5]);
    await insert(6, connection);
    assert.equal(await db.ids(), [1, 2, 3, 5, 6]);
  });

  test('its own transaction outside of any has a connection to itself until it ends, however it does', async () => {
    for (const [end, stored] of [
      ['commit', true],
      ['rollback', false],
    ] as const) {
      await ask(connection, 'set transaction isolation level serializable');
      assert.is(held(plain), 1);
      await ask(connection, 'begin');
      await insert(3, connection);
      await ask(connection, 'savepoint a');
      await insert(4, connection);
      await ask(connection, 'rollback to a');
      assert.equal(await db.ids(), [1, 2]);
      assert.is(held(plain), 1);
      await ask(connection, end);
      assert.is(held(plain), 0);
      assert.is((await db.ids()).includes(3), stored);
      await db.reset();
    }
    await ask(connection, 'begin');
    await assert.rejects(insert(1, connection), { errno: 1062 });
    await insert(3, connection);
    await ask(connection, 'rollback');
    assert.is(held(plain), 0);
    await assert.rejects(ask(connection, 'start transaction nonsense'), { errno: 1064 });
    await assert.rejects(ask(connection, 'set transaction nonsense'), { errno: 1064 });
    assert.is(held(plain), 0);
    await ask(connection, 'set transaction isolation level serializable');
    await ask(connection, 'select 1');
    assert.is(held(plain), 0, 'that was the next transaction');
    await ask(connection, 'begin; insert into accounts values (4, 0)');
    assert.is(held(plain), 1);
    await ask(connection, 'insert into accounts values (5, 0); commit');
    assert.equal(await db.ids(), [1, 2, 4, 5]);
    await ask(connection, 'begin');
    await ask(connection, 'create temporary table if not exists t (i int)');
    await ask(connection, 'commit and chain');
    assert.is(held(plain), 1);
    await ask(connection, 'commit');
    assert.is(held(plain), 0);
  });

  test('its own transaction outside of any is its own inside of one too: its handle says so', async () => {
    await ask(connection, 'begin');
    await transaction.run(async () => {
      await insert(3, connection);
      await insert(4, library.core);
      await transaction.abort();
    }, attempts);
    await ask(connection, 'commit');
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('statements that aren’t awaited keep their order, inside of a transaction and outside of any', async () => {
    const both = async (): Promise<void> => {
      await Promise.all([
        ask(connection, 'begin'),
        insert(3, connection),
        ask(connection, 'rollback'),
        insert(4, connection),
        ask(connection, 'begin'),
        insert(5, connection),
        ask(connection, 'commit'),
      ]);
    };
    await both();
    assert.equal(await db.ids(), [1, 2, 4, 5]);
    await db.reset();
    await transaction.run(both, attempts);
    assert.equal(await db.ids(), [1, 2, 4, 5]);
  });

  test('a ROLLBACK to clean up, which isn’t awaited: what comes behind it belongs to whom it would without', async () => {
    const other = driver.createConnection({});
    const both = (id: number): Promise<(Error | undefined)[]> => outcomes(ask(other, 'rollback'), insert(id, other));
    assert.equal(await both(3), [undefined, undefined]);
    assert.equal(await db.ids(), [1, 2, 3]);
    assert.equal(await outcomes(other.promise().rollback(), other.promise().ping()), [undefined, undefined]);
    const streamed = new Promise<void>((resolve, reject) =>
      other.query('rollback').on('error', reject).on('end', resolve),
    );
    assert.equal(await outcomes(streamed, insert(4, other)), [undefined, undefined]);
    await transaction.run(async () => {
      assert.equal(await both(5), [undefined, undefined]);
      await transaction.abort();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
    assert.equal(await outcomes(ask(other, 'begin'), insert(5, other), ask(other, 'rollback'), insert(6, other)), [
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    other.destroy();
    assert.equal(await db.ids(), [1, 2, 3, 4, 6]);
  });

  test('a setting is refused, as it would stay on a connection that others get; one for a statement or a transaction isn’t', async () => {
    const refused = [
      "SET time_zone = '+00:00'",
      'set names utf8mb4',
      'set session transaction isolation level read committed',
      '/* why */ set @a = 1',
      'set autocommit = 0',
      `use ${new URL(db.url).pathname.slice(1)}`,
    ];
    const both = async (): Promise<void> => {
      for (const text of refused) {
        await assert.rejects(ask(connection, text), ConfigurationError, text);
        await assert.rejects(connection.query(text).stream().toArray(), ConfigurationError, text);
      }
      await ask(connection, 'set autocommit = 1');
      assert.is(
        held(plain),
        transaction.current === undefined || sessionState(session) === undefined ? 0 : held(plain),
      );
      await ask(connection, 'begin');
      for (const text of refused) await assert.rejects(ask(connection, text), ConfigurationError, text);
      if (product === 'MariaDB') await ask(connection, 'set statement max_statement_time = 5 for select 1');
      await ask(connection, 'commit');
    };
    await both();
    await transaction.run(both, attempts);
  });

  test('it pings, prepares and streams, inside of a transaction and outside of any', async () => {
    const both = async (): Promise<void> => {
      const promised = connection.promise();
      assert.is(await promised.ping(), true);
      const statement = await promised.prepare('select id from accounts where id = ?');
      assert.equal((await statement.execute([1]))[0], [{ id: 1 }]);
      await statement.close();
      await assert.rejects(promised.prepare('selectt'), { errno: 1064 });
      assert.equal((await promised.execute('select id from accounts where id = ?', [2]))[0], [{ id: 2 }]);
      let sum = 0;
      for await (const { i } of connection.query(numbers(200)).stream({ highWaterMark: 3 })) sum += i as number;
      assert.is(sum, 20_100);
      for await (const { i } of connection.query(numbers(200)).stream({ highWaterMark: 3 })) if (i === 7) break;
      const rows: unknown[] = [];
      await new Promise((resolve) =>
        connection
          .query('select id from accounts')
          .on('result', (row: unknown) => rows.push(row))
          .on('end', resolve),
      );
      assert.is(rows.length, 2);
      await new Promise((resolve) => connection.query('begin').on('end', resolve));
      await insert(3, connection);
      let inside = 0;
      for await (const _row of connection.query('select id from accounts').stream()) inside++;
      assert.is(inside, 3);
      await promised.rollback();
      await assert.rejects(connection.query('selectt').stream().toArray(), { errno: 1064 });
    };
    await both();
    await transaction.run(async () => {
      await both().finally(() => transaction.abort());
    }, attempts);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a stream outside of any transaction hears that its connection is gone', async () => {
    const reading = (async () => {
      for await (const { i } of connection.query(numbers(900)).stream({ highWaterMark: 1 })) {
        if (i === 1) await db.terminate();
      }
    })();
    onText(db.proxy, 'with recursive', () => true);
    const [error] = await outcomes(reading);
    // What has come through already is read, and the rest is not missed in silence.
    assert.ok(error === undefined || /closed|lost|ECONNRESET|disconnected/i.test(error.message), String(error));
    await assert.rejects(
      (async () => {
        const stream = connection.query('select sleep(5)').stream();
        await assert.eventually(() => db.isRunning('sleep(5)'));
        await db.terminate(({ info }) => info?.includes('sleep(5)') === true);
        await stream.toArray();
      })(),
    );
  });

  test('a connection that is closed sends nothing more; what it has begun is rolled back, and leaves nothing behind', async () => {
    const begun = async (id: number): Promise<void> => {
      const own = driver.createConnection({});
      await ask(own, 'begin');
      await insert(id, own);
      await new Promise<void>((resolve) => own.end(() => resolve()));
      own.destroy();
      await assert.rejects(ask(own, 'select 1'), TransactionStateError);
    };
    await begun(3);
    await transaction.run(async () => {
      await begun(4);
      await insert(5, library.core);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 5]);
  });

  test('what a library wants of its values and rows, each statement says, wherever it goes', async () => {
    const wishes = {
      supportBigNumbers: true,
      bigNumberStrings: true,
      dateStrings: true,
      stringifyObjects: true,
      timezone: 'Z',
      decimalNumbers: false,
    };
    const own = driver.createPool(wishes);
    const single = driver.createConnection({
      ...wishes,
      typeCast: (field, next) => (field.type === 'LONG' ? `<${String(next())}>` : next()),
    });
    const taken = await new Promise<Connection>((resolve, reject) => {
      own.getConnection((error, given) => (error ? reject(error) : resolve(given)));
    });
    const at = new Date(Date.UTC(2026, 0, 2, 3, 4, 5));
    const look = async (target: Pick<Connection, 'query' | 'execute'>, isCast = false): Promise<void> => {
      const [row] = await ask<RowDataPacket[]>(
        target,
        "select 9007199254740993 as big, timestamp('2026-01-02 03:04:05') as at, ? as said, ? as object, cast(7 as int) as n".replace(
          'cast(7 as int)',
          'balance',
        ) + ' from accounts where id = 1',
        [at, { id: 1 }],
      );
      assert.equal(row, {
        big: '9007199254740993',
        at: '2026-01-02 03:04:05',
        said: '2026-01-02 03:04:05.000',
        object: '[object Object]',
        n: isCast ? '<100>' : 100,
      });
      const rows = await new Promise<unknown>((resolve, reject) => {
        target.execute('select id from accounts where balance > ? order by id', [1], (error, found) =>
          error ? reject(error) : resolve(found),
        );
      });
      assert.equal(rows, isCast ? [{ id: '<1>' }, { id: '<2>' }] : [{ id: 1 }, { id: 2 }]);
    };
    const all = async (): Promise<void> => {
      await look(own);
      await look(single, true);
      await look(taken);
      const inside = await own.promise().getConnection();
      assert.equal((await inside.query('select 9007199254740993 as big'))[0], [{ big: '9007199254740993' }]);
      assert.equal((await inside.execute('select 9007199254740993 as big'))[0], [{ big: '9007199254740993' }]);
      inside.release();
      for await (const row of own.query('select 9007199254740993 as big').stream())
        assert.equal(row, { big: '9007199254740993' });
      assert.equal((await pool.query('select 7 as seven'))[0], [{ seven: 7 }], 'others see what they always saw');
    };
    await all();
    await transaction.run(all, attempts);
    (taken as unknown as { release(): void }).release();
    single.destroy();
    await new Promise((resolve) => own.end(resolve));
    assert.is(poolState(plain).waiting, 0);
  });

  test('a connection of its pool, taken outside of any transaction, is given back to the plain pool as what it is', async () => {
    const own = driver.createPool({ dateStrings: true });
    const take = (): Promise<mysql.PoolConnection> =>
      new Promise((resolve, reject) => {
        own.getConnection((error, given) => (error ? reject(error) : resolve(given)));
      });
    for (let i = 0; i < 3; i++) {
      const given = await take();
      assert.is(
        given.on('drain', () => undefined),
        given,
      );
      given.removeAllListeners('drain');
      assert.is(given.constructor.name, 'PoolConnection');
      await ask(given, 'set @a = 1');
      await new Promise((resolve) => given.beginTransaction(resolve));
      await insert(3, given);
      await new Promise((resolve) => given.rollback(resolve));
      given.release();
      assert.equal(poolState(plain), { all: poolState(plain).all, free: poolState(plain).all, waiting: 0 });
    }
    const given = await take();
    given.destroy();
    await assert.eventually(() => held(plain) === 0);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('what a library wants and no statement can say, it is refused where the pool isn’t so', () => {
    for (const options of [
      { decimalNumbers: true },
      { jsonStrings: true },
      { queryFormat: () => '' },
      { flags: ['-FOUND_ROWS'] },
      { flags: '-FOUND_ROWS' },
    ] as object[]) {
      for (const make of [driver.createPool, driver.createConnection] as ((options: object) => unknown)[]) {
        assert.throws(() => make(options), says(/make the pool with it/));
      }
    }
    const own = promises.createPool({
      uri: db.url,
      flags: ['-FOUND_ROWS'],
      decimalNumbers: true,
      bigNumberStrings: true,
    });
    const strict = db.another({
      name: 'strict',
      pool: { flags: ['-FOUND_ROWS'], decimalNumbers: true, bigNumberStrings: true },
    });
    const other = strict.session.driver(mysql);
    other.createPool({ flags: ['-FOUND_ROWS'], decimalNumbers: true });
    other.createPool({});
    for (const options of [{ bigNumberStrings: false }, { decimalNumbers: false }, { flags: 'COMPRESS' }] as object[]) {
      assert.throws(() => other.createPool(options), says(/make the pool with it/));
    }
    return own.end();
  });

  test('KILL goes past the transaction, which it may be about', async () => {
    await assert.rejects(
      transaction.run(async () => {
        await insert(3, connection);
        const { threadId } = connection;
        const slow = outcomes(ask(connection, 'select sleep(10) from accounts'));
        await assert.eventually(() => db.isRunning('sleep(10)'));
        await ask(connection, `KILL QUERY ${threadId}`);
        const [error] = await slow;
        assert.is((error as { errno?: number } | undefined)?.errno, 1317);
        throw error!;
      }, attempts),
      { errno: 1317 },
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  test('pitfall 2: in a transaction that has ended it sends nothing, whatever it had begun', async () => {
    let late!: Promise<(Error | undefined)[]>;
    let ended!: () => void;
    const end = new Promise<void>((resolve) => (ended = resolve));
    const own = driver.createConnection({});
    await transaction
      .run(async () => {
        await ask(own, 'begin');
        await insert(3, own);
        late = end.then(() =>
          outcomes(
            insert(4, own),
            ask(own, 'commit'),
            insert(5, connection),
            connection.promise().ping(),
            ask(connection, 'rollback'),
          ),
        );
        await transaction.abort();
      }, attempts)
      .catch(() => undefined);
    ended();
    for (const error of (await late).slice(0, 4)) assert.instance(error, TransactionClosed);
    assert.equal((await late).slice(4), [undefined], 'a ROLLBACK to clean up does no harm');
    // Its own transaction is over with that COMMIT: in the library's pool it may be used again.
    await insert(6, own);
    await ask(own, 'begin');
    await ask(own, 'rollback');
    own.destroy();
    assert.equal(await db.ids(), [1, 2, 6]);
  });

  test('pitfall 4: two connections in one transaction take turns', async () => {
    const other = driver.createConnection({});
    await transaction.run(async () => {
      await ask(connection, 'begin');
      await insert(3, connection);
      const waiting = insert(4, other);
      await ask(connection, 'rollback');
      await waiting;
      await ask(connection, 'begin');
      await assert.rejects(insert(5, other), ConcurrentUseError);
      await ask(connection, 'commit');
    }, attempts);
    other.destroy();
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  test('pitfall 6: the connection of its transaction dies: it is told as mysql2 tells it, or by the next statement', async () => {
    for (const listens of [true, false]) {
      const own = driver.createConnection({});
      const errors: Error[] = [];
      if (listens) own.on('error', (error) => errors.push(error));
      await ask(own, 'begin');
      await insert(3, own);
      await db.terminate();
      await assert.eventually(() => held(plain) === 0);
      assert.is(errors.length, listens ? 1 : 0);
      await ask(own, 'select 1');
      own.destroy();
    }
    assert.equal(await db.ids(), [1, 2]);
  });

  for (const [what, text] of Object.entries({ BEGIN: 'begin', 'a statement': 'insert into', COMMIT: 'commit' })) {
    test(`pitfall 5: nothing leaks when the link is cut at ${what} outside of any transaction`, async () => {
      const own = driver.createConnection({});
      own.on('error', () => undefined);
      onText(db.proxy, text, (link) => {
        link.cut();
        return false;
      });
      await assert.rejects(
        (async () => {
          await ask(own, 'begin');
          await insert(3, own);
          await ask(own, 'commit');
        })(),
      );
      await ask(own, 'rollback').catch(() => undefined);
      own.destroy();
      assert.equal(await db.ids(), [1, 2]);
    });
  }

  test('pitfall 11: one connection from two hundred transactions at once sends each statement to its own', async () => {
    const { session: patient } = db.another({ name: 'patient', pool: { connectionLimit: 5 } });
    const shared = patient.driver(mysql).createConnection({});
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const [error] = await outcomes(
          transaction.run(async () => {
            await insert(1_000 + index, shared);
            if (index % 2 === 1) throw new Error('odd');
          }, attempts),
        );
        assert.is(error?.message, index % 2 === 1 ? 'odd' : undefined);
      }),
    );
    assert.equal(
      (await db.ids()).slice(2),
      Array.from({ length: 100 }, (_, index) => 1_000 + index * 2),
    );
  });
}
