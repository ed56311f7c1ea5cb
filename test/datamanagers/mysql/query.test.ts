import { Readable } from 'node:stream';
import driver from 'mysql2/promise';
import callbackDriver from 'mysql2';
import { TransactionClosed, transaction } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { says } from '../sql/helpers.ts';
import { Database, products, quietly, warnings } from './setup.ts';

const attempts = { attempts: 1 };
type Target = { query(...args: any[]): Promise<any>; execute(...args: any[]): Promise<any> };

/** Without what differs between two calls: what the server's OK says of the transaction. */
function plain([rows, fields]: [unknown, unknown]): unknown {
  return JSON.parse(
    JSON.stringify([rows, fields ?? null], (key, value: unknown) =>
      key === 'serverStatus' || key === 'stateChanges' || key.startsWith('_') ? undefined : value,
    ),
  );
}

function failure({ name, message, code, errno, sqlState, sql }: any): unknown {
  return { name, message, code, errno, sqlState, sql };
}

const calls: Record<string, (target: Target) => Promise<any>> = {
  'a text': (target) => target.query('select 1 as one, "two" as two'),
  'a text with values': (target) => target.query('select ? + ? as sum, ? as text', [1, 2, "it's"]),
  'no values': (target) => target.query('select 1', []),
  'null among the values': (target) => target.query('select ? as nothing', [null]),
  'undefined among the values, which query() takes for null': (target) => target.query('select ? as u', [undefined]),
  'an identifier and a list': (target) =>
    target.query('select id from ?? where id in (?) order by id', ['accounts', [1, 2]]),
  'a value that is no list': (target) => target.query('select ? as n', 7),
  'options with values': (target) => target.query({ sql: 'select ? as n', values: [1] }),
  'options, and values apart': (target) => target.query({ sql: 'select ? as n' }, [1]),
  'rows as arrays': (target) => target.query({ sql: 'select 1 as a, 2 as a', rowsAsArray: true }),
  'nested tables': (target) => target.query({ sql: 'select * from accounts', nestTables: true }),
  'nested tables with a separator': (target) => target.query({ sql: 'select * from accounts', nestTables: '_' }),
  'named placeholders': (target) => target.query({ sql: 'select :a as a', namedPlaceholders: true }, { a: 1 }),
  'a type cast': (target) => target.query({ sql: 'select 1 as one', typeCast: () => 'cast' }),
  'several statements': (target) =>
    target.query('select 1 as a; update accounts set balance = balance where false; select 2 as b'),
  'several statements without rows': (target) => target.query('do 0; do 1'),
  'one statement and a semicolon': (target) => target.query('select 1 as a;'),
  'an empty text': (target) => target.query(''),
  'only a comment': (target) => target.query('-- nothing'),
  'an update': (target) => target.query('update accounts set balance = balance + 1 where id = 1'),
  'a syntax error': (target) => target.query('selectt'),
  'an error in the middle of several statements': (target) => target.query('select 1; selectt; select 2'),
  'a type cast that throws': (target) =>
    target.query({
      sql: 'select 1 as one',
      typeCast: () => {
        throw new Error('refused by a type cast');
      },
    }),
  'a procedure without rows': (target) => target.query('call nothing()'),
  'a procedure with rows': (target) => target.query('call lists()'),
  'a warning': (target) => target.query("select 1 + '1x' as n"),
  EXPLAIN: (target) =>
    target.query({ sql: 'explain select 1', rowsAsArray: true }).then(([rows]) => [rows.length, null]),
  SHOW: (target) => target.query("show variables like 'autocommit'"),
  'execute without values': (target) => target.execute('select 1 as one'),
  'execute with values': (target) => target.execute('select ? as t, ? as n', ['x', null]),
  'execute with options': (target) => target.execute({ sql: 'select ? as n', values: ['1'] }),
  'execute with named placeholders': (target) =>
    target.execute({ sql: 'select :a as a', namedPlaceholders: true }, { a: 'x' }),
  'execute with rows as arrays': (target) => target.execute({ sql: 'select 1 as a', rowsAsArray: true }),
  'execute of an update': (target) => target.execute('update accounts set balance = balance + ? where id = 1', [1]),
  'execute of a syntax error': (target) => target.execute('selectt ?', [1]),
  'execute of a procedure with rows': (target) => target.execute('call lists()'),
  'execute with undefined': (target) => target.execute('select ? as u', [undefined]),
  'execute with a function': (target) => target.execute('select ? as u', [() => 1]),
  'execute with an object for values': (target) => target.execute('select ? as u', { a: 1 }),
  'execute with too few values': (target) => target.execute('select ? as a, ? as b', [1]),
};

for (const { product, server } of await products()) {
  const test = suite(`query and execute take and return what those of a promise pool do, on ${product}`);
  const db = await Database.open(server, { name: 'query', pool: { multipleStatements: true } });
  const { pool, session } = db;
  await db.admin.query('create procedure nothing() begin do 0; end');
  await db.admin.query('create procedure lists() begin select 1 as a; select 2 as b; end');
  test.after(() => db.close());
  test.after.each(async () => {
    await db.assertClean();
    await db.reset();
    assert.equal(warnings, []);
  });

  /** The same call on the pool and in a transaction. */
  const both = async (call: (target: Target) => Promise<any>): Promise<[unknown, unknown]> => {
    const onPool = await call(pool).then(plain, failure);
    await db.reset();
    const inTransaction = await transaction.run(() => call(session), attempts).then(plain, failure);
    return [inTransaction, onPool];
  };

  for (const [what, call] of Object.entries(calls)) {
    test(`answers as the pool does: ${what}`, async () => {
      const [inTransaction, onPool] = await both(call);
      assert.equal(inTransaction, onPool);
    });
    test(`answers as the pool does, behind another statement: ${what}`, async () => {
      const [inTransaction, onPool] = await both(async (target) => {
        await target.query('update accounts set balance = balance where id = 1');
        return call(target);
      });
      assert.equal(inTransaction, onPool);
    });
  }

  test('what is no query is refused, and the transaction goes on', async () => {
    for (const wrong of [undefined, null, 1, {}, { values: [1] }, { sql: 7 }]) {
      await transaction.run(async () => {
        await assert.rejects(session.query(wrong as never), { code: 'ERR_TXN_CONFIGURATION' });
        await assert.rejects(session.execute(wrong as never), { code: 'ERR_TXN_CONFIGURATION' });
        await assert.rejects(session.prepare(wrong as never), { code: 'ERR_TXN_CONFIGURATION' });
        assert.throws(() => session.queryStream(wrong as never));
        assert.equal((await session.query('select 1 as one'))[0], [{ one: 1 }]);
      }, attempts);
    }
  });

  test('what the driver itself refuses before it sends anything loses nothing, first or later', async () => {
    await transaction.run(async () => {
      await assert.rejects(session.execute('select ?', [undefined]), says(/must not contain undefined/));
      await session.query('insert into accounts values (3, 0)');
      await assert.rejects(session.execute('select ?', [undefined]), says(/must not contain undefined/));
      await assert.rejects(session.execute('select ?', { a: 1 }), TypeError);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('a callback is refused rather than never called', async () => {
    await transaction.run(async () => {
      const callback = (): void => undefined;
      await assert.rejects(session.query('select 1', callback), { code: 'ERR_TXN_CONFIGURATION' });
      await assert.rejects(session.execute('select 1', callback), { code: 'ERR_TXN_CONFIGURATION' });
      await assert.rejects(session.query({ sql: 'select 1' }, callback), { code: 'ERR_TXN_CONFIGURATION' });
    }, attempts);
  });

  test('the caller’s options and values are left as they were', async () => {
    const options = Object.freeze({ sql: 'select ? as n', values: Object.freeze([1]) });
    await transaction.run(async () => {
      await session.query(options);
      await session.execute(options);
      for await (const row of session.queryStream(options)) assert.equal(row, { n: 1 });
    }, attempts);
    assert.equal(options, { sql: 'select ? as n', values: [1] });
  });

  test('options that the caller changes while a statement waits for its turn are those of the call', async () => {
    await transaction.run(async () => {
      const options = { sql: 'select 1 as n' };
      const answers = [session.query('select sleep(0.05)'), session.query(options), session.execute(options)];
      options.sql = 'delete from accounts';
      assert.equal((await answers[1]!)[0], [{ n: 1 }]);
      assert.equal((await answers[2]!)[0], [{ n: 1 }]);
    }, attempts);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a pool of the callback interface does the same', async () => {
    const own = callbackDriver.createPool({ uri: db.url });
    const late = new MysqlSession(own, { name: 'callback' });
    await transaction.run(async () => {
      await late.execute('insert into accounts values (?, 0)', [3]);
      const [rows] = await late.query('select id from accounts order by id');
      assert.equal(rows, [{ id: 1 }, { id: 2 }, { id: 3 }]);
      await session.query('insert into accounts values (4, 0)');
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
    await late.check();
    await new Promise<void>((resolve) => own.end(() => resolve()));
  });

  test('a prepared statement is executed and closed, and its text can be used again', async () => {
    const insert = 'insert into accounts values (?, ?)';
    for (let round = 0; round < 3; round++) {
      await transaction.run(async () => {
        const statement = await session.prepare(insert);
        const twin = await session.prepare(insert);
        await statement.execute([10 + round, 0]);
        await statement.close();
        await twin.execute([20 + round, 0]);
        await twin.close();
        await session.execute(insert, [30 + round, 0]);
        const again = await session.prepare(insert);
        await again.execute([40 + round, 0]);
        await again.close();
      }, attempts);
    }
    assert.equal((await db.ids()).slice(2), [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]);
  });

  test('a prepared statement returns what execute does, with its errors', async () => {
    await transaction.run(async () => {
      const statement = await session.prepare('select cast(? as char) as n');
      const [rows, fields] = await statement.execute(['x']);
      assert.equal([rows, fields[0]!.name], [[{ n: 'x' }], 'n']);
      await assert.rejects(statement.execute([undefined]), says(/undefined/));
      await statement.close();
    }, attempts);
    const savepoint = async (): Promise<void> => {
      const statement = await session.prepare('insert into accounts values (?, 0)');
      const made = await transaction.savepoint();
      await assert.rejects(statement.execute([1]), { errno: 1062 });
      await made.rollback();
      await statement.execute([3]);
      await statement.close();
    };
    await transaction.run(savepoint, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
    await assert.rejects(
      transaction.run(() => session.prepare('selectt'), attempts),
      { errno: 1064 },
    );
  });

  test('a prepared statement that is closed is refused, closing twice is none, and the transaction goes on', async () => {
    await transaction.run(async () => {
      const statement = await session.prepare('insert into accounts values (?, 0)');
      await statement.close();
      await statement.close();
      await assert.rejects(statement.execute([3]), { code: 'ERR_TXN_STATE' });
      await session.query('insert into accounts values (4, 0)');
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  test('a prepared statement of one transaction is none of the next', async () => {
    const statement = await transaction.run(() => session.prepare('insert into accounts values (?, 0)'), attempts);
    await transaction.run(() => assert.rejects(statement.execute([3]), TransactionClosed), attempts);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('control statements and DDL can’t be prepared either', async () => {
    await transaction.run(async () => {
      for (const text of ['commit', 'create table x (i int)', 'truncate accounts']) {
        await assert.rejects(session.prepare(text), { code: 'ERR_TXN_STATE' });
        await assert.rejects(session.execute(text), { code: 'ERR_TXN_STATE' });
        assert.throws(() => session.queryStream(text), says(/was not sent/));
      }
    }, attempts);
  });

  test('LOAD DATA LOCAL INFILE reads from the application’s stream, and takes part', async () => {
    await db.admin.query('set global local_infile = 1');
    const infile = (text: string): MysqlSession =>
      db.another({
        name: 'infile',
        pool: { flags: ['+LOCAL_FILES'], infileStreamFactory: () => Readable.from([Buffer.from(text)]) },
      }).session;
    const load = "load data local infile 'x' into table accounts fields terminated by ','";
    const good = infile('3,30\n4,40\n');
    await transaction.run(async () => {
      const [header] = await good.query(load);
      assert.is(header.affectedRows, 2);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
    await assert.rejects(
      transaction.run(async () => {
        await good.query(load.replace("'x'", "'x' replace"));
        throw new Error('aborted');
      }, attempts),
      { message: 'aborted' },
    );
    // Without a factory the driver refuses, and the server is left as it was.
    await assert.rejects(transaction.run(() => session.query(load), attempts));
  });

  test('a tracing subscriber and debug output of the driver change nothing', async () => {
    const { tracingChannel } = await import('node:diagnostics_channel');
    const seen: string[] = [];
    const subscriber = { start: (message: object) => seen.push((message as { query: string }).query) };
    const channel = tracingChannel('mysql2:query');
    channel.subscribe(subscriber as never);
    try {
      await transaction.run(() => session.query('insert into accounts values (3, 0)'), attempts);
      await assert.rejects(
        transaction.run(() => session.query('selectt'), attempts),
        { errno: 1064 },
      );
    } finally {
      channel.unsubscribe(subscriber as never);
    }
    assert.ok(seen.includes('insert into accounts values (3, 0)'));
    await quietly(async () => {
      const own = driver.createPool({ uri: db.url, debug: true });
      const loud = new MysqlSession(own, { name: 'loud' });
      await transaction.run(async () => {
        await loud.query('insert into accounts values (4, 0)');
        await session.query('insert into accounts values (5, 0)');
      }, attempts);
      await own.end();
    });
    assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
  });

  test('a pool that ends while a transaction has a connection: the statement fails, and nothing is stored', async () => {
    const own = driver.createPool({ uri: db.url });
    const late = new MysqlSession(own, { name: 'ending' });
    await assert.rejects(
      transaction.run(async () => {
        await late.query('insert into accounts values (3, 0)');
        await own.end();
        await late.query('insert into accounts values (4, 0)');
      }, attempts),
      { code: 'ERR_TXN_CONNECTION_LOST' },
    );
    assert.equal(await db.ids(), [1, 2]);
    await assert.rejects(
      transaction.run(() => late.query('select 1'), attempts),
      says(/Pool is closed/),
    );
  });
}
