import { AsyncLocalStorage } from 'node:async_hooks';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import type pg from 'pg';
import { ConcurrentUseError, NoTransaction, TransactionClosed, transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, says } from './setup.ts';

const test = suite('query takes and returns what Pool#query does');
const db = await Database.open(await postgres(), { name: 'query' });
const { pool, session } = db;
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

/** The same call on the pool and in a transaction. */
async function both(call: (target: { query: pg.Pool['query'] }) => Promise<any>): Promise<[any, any]> {
  const onPool = await call(pool).then(plain, failure);
  const inTransaction = await transaction
    .run(() => call(session as unknown as { query: pg.Pool['query'] }), { attempts: 1 })
    .then(plain, failure);
  return [inTransaction, onPool];
}

function plain(result: any): unknown {
  if (Array.isArray(result)) return result.map(plain);
  const { command, rowCount, oid, fields, rows } = result;
  return { command, rowCount, oid, fields: fields.map((field: object) => Object.assign({}, field)), rows };
}

function failure(error: any): unknown {
  return { name: error.constructor.name, message: error.message, code: error.code, severity: error.severity };
}

const numbersAsText = { getTypeParser: () => (value: string) => `<${value}>` };
const calls: Record<string, (target: { query: any }) => Promise<any>> = {
  'a text': (target) => target.query('select 1 as one, $$two$$ as two'),
  'a text with values': (target) =>
    target.query('select $1::int + $2::int as sum, $3::jsonb as json', [1, 2, { a: [1] }]),
  'no values': (target) => target.query('select 1', []),
  'undefined values': (target) => target.query('select 1', undefined),
  'null among the values': (target) => target.query('select $1::text as nothing', [null]),
  'a configuration': (target) => target.query({ text: 'select $1::text as t', values: ['x'] }),
  'a configuration with values apart': (target) => target.query({ text: 'select $1::text as t' }, ['x']),
  'rows as arrays': (target) => target.query({ text: 'select 1 as a, 2 as a', rowMode: 'array' }),
  'rows as arrays, with values': (target) =>
    target.query({ text: 'select $1::int as a, 2 as a', rowMode: 'array' }, [1]),
  types: (target) => target.query({ text: 'select 1 as one', types: numbersAsText }),
  'a named statement': (target) => target.query({ name: 'named', text: 'select $1::int as n', values: [1] }),
  binary: (target) => target.query({ text: 'select 1 as one', binary: true }),
  'a limit on rows': (target) => target.query({ text: 'select generate_series(1, 5) as n', rows: 2 }),
  'several statements': (target) =>
    target.query('select 1 as a; select 2 as b; update accounts set balance = balance where false'),
  'one statement and a semicolon': (target) => target.query('select 1 as a;'),
  'one statement, a semicolon and a comment': (target) => target.query('select 1 as a; -- the end'),
  'a semicolon in a string': (target) => target.query("select 'a;b' as t"),
  'a comment first': (target) => target.query('/* hint; */ -- and; another\n select 1 as a'),
  'an empty text': (target) => target.query(''),
  'only white space': (target) => target.query('  \n '),
  'only a comment': (target) => target.query('-- nothing'),
  'only a semicolon': (target) => target.query(';'),
  'an update': (target) => target.query('update accounts set balance = balance + 1 where id = 1 returning id'),
  'an insert of several rows': (target) =>
    target.query('insert into accounts values ((random() * 1e9)::int + 10, 1), ((random() * 1e9)::int + 10, 2)'),
  'a syntax error': (target) => target.query('selectt'),
  'a syntax error with values': (target) => target.query('selectt $1', [1]),
  'a syntax error of a named statement': (target) => target.query({ name: 'wrong', text: 'selectt' }),
  'an error in the middle of several statements': (target) => target.query('select 1; select 1 / 0; select 2'),
  'a value that JSON can not hold': (target) => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    return target.query('select $1::jsonb', [circular]);
  },
  'a row that a parser refuses': (target) =>
    target.query({
      text: 'select 1 as one',
      types: {
        getTypeParser: () => () => {
          throw new Error('refused by a parser');
        },
      },
    }),
  'a DO block': (target) => target.query('do $$ begin perform 1; end $$'),
  'a table that is made': (target) => target.query('create temp table made (i int) on commit drop'),
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

test('what is no query is refused as on the pool, and the transaction goes on', async () => {
  for (const wrong of [undefined, null, 1, {}, { values: [1] }]) {
    await transaction.run(async () => {
      await assert.rejects(session.query(wrong as never), { code: 'ERR_TXN_CONFIGURATION' });
      assert.equal((await session.query('select 1 as one')).rows, [{ one: 1 }]);
    });
  }
});

test('values that are no array are refused by pg, first or later, and nothing is lost by that', async () => {
  await transaction.run(async () => {
    await assert.rejects(session.query('select $1', 'text' as never), { message: 'Query values must be an array' });
    await session.query('insert into accounts values (3, 0)');
    await assert.rejects(session.query('select $1', 'text' as never), { message: 'Query values must be an array' });
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('a name that was used for another text is refused by pg, and nothing is lost by that', async () => {
  await transaction.run(async () => {
    await session.query({ name: 'taken', text: 'insert into accounts values (3, 0)' });
    await assert.rejects(session.query({ name: 'taken', text: 'select 2' }), says(/must be unique/));
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('callbacks are called as by the pool, with each of the three signatures', async () => {
  await transaction.run(async () => {
    const [text, values, config] = await Promise.all([
      new Promise((resolve) => session.query('select 1 as n', (error, result) => resolve([error, result?.rows]))),
      new Promise((resolve) =>
        session.query('select $1::int as n', [2], (error, result) => resolve([error, result?.rows])),
      ),
      new Promise((resolve) =>
        session.query({ text: 'select 3 as n' }, (error, result) => resolve([error, result?.rows])),
      ),
    ]);
    assert.equal(
      [text, values, config],
      [
        [undefined, [{ n: 1 }]],
        [undefined, [{ n: 2 }]],
        [undefined, [{ n: 3 }]],
      ],
    );
    const error = await new Promise((resolve) => session.query('selectt', (failed) => resolve(failed)));
    assert.is((error as { code: string }).code, '42601');
    await transaction.abort();
  });
});

test('a callback is called without a transaction too, with the error', async () => {
  const error = await new Promise((resolve) => session.query('select 1', (failed) => resolve(failed)));
  assert.instance(error, NoTransaction);
});

test('the caller’s configuration and values are left as they were', async () => {
  const config = Object.freeze({ text: 'select $1::int as n', values: Object.freeze([1]) });
  await transaction.run(() => session.query(config as never));
  assert.equal(config, { text: 'select $1::int as n', values: [1] });
});

test('a named statement whose parse failed in the flight of BEGIN can be used afterwards (pg: prepared statement does not exist)', async () => {
  await db.admin.query('drop table if exists later');
  const named = { name: 'later', text: 'select * from later' };
  await assert.rejects(
    transaction.run(() => session.query(named), { attempts: 1 }),
    { code: '42P01' },
  );
  await db.admin.query('create table later (i int); insert into later values (7)');
  for (let i = 0; i < 3; i++) {
    await transaction.run(async () => assert.equal((await session.query(named)).rows, [{ i: 7 }]));
  }
  await db.admin.query('drop table later');
});

test('a named statement whose parse failed in the middle of a transaction can be used after a savepoint’s rollback', async () => {
  const named = { name: 'middle', text: 'select * from middle' };
  await transaction.run(async () => {
    await session.query('select 1');
    const savepoint = await transaction.savepoint();
    await assert.rejects(session.query(named), { code: '42P01' });
    await savepoint.rollback();
    await session.query('create temp table middle on commit drop as select 1 as i');
    assert.equal((await session.query(named)).rows, [{ i: 1 }]);
    assert.equal((await session.query({ name: 'middle' } as unknown as string)).rows, [{ i: 1 }]);
  });
  await pool.query('deallocate all').catch(() => undefined);
});

test('named writes are prepared once and reused: each transaction sees its own values', async () => {
  for (let i = 0; i < 20; i++) {
    await transaction.run(async () => {
      await session.query({ name: 'write', text: 'insert into accounts values ($1, $2)', values: [100 + i, i] });
      await session.query({ name: 'read', text: 'select balance from accounts where id = $1', values: [100 + i] });
    });
  }
  const { rows } = await db.admin.query(
    'select count(*)::int as n, sum(balance)::int as sum from accounts where id >= 100',
  );
  assert.equal(rows, [{ n: 20, sum: 190 }]);
});

test('a query configuration’s own query_timeout holds, and the statement is stopped at the server', async () => {
  await assert.rejects(
    transaction.run(() => session.query({ text: 'select pg_sleep(5)', query_timeout: 100 } as never), { attempts: 1 }),
    { message: 'Query read timeout' },
  );
  await assert.eventually(
    async () => !(await db.activity()).some(({ query, state }) => state === 'active' && query.includes('pg_sleep')),
  );
});

test('a cursor is read in pieces inside of the transaction, and what comes after it waits', async () => {
  await transaction.run(async () => {
    await session.query('insert into accounts select g, g from generate_series(3, 12) g');
    const cursor = session.query(new Cursor('select id from accounts order by id'));
    const after = session.query('select count(*)::int as n from accounts');
    const read: number[] = [];
    for (let rows = await cursor.read(5); rows.length > 0; rows = await cursor.read(5))
      read.push(...rows.map(({ id }) => id!));
    await cursor.close();
    assert.is(read.length, 12);
    assert.equal((await after).rows, [{ n: 12 }]);
  });
  assert.is((await db.ids()).length, 12);
});

test('a cursor as the first statement is inside of the transaction', async () => {
  await transaction.run(async () => {
    const cursor = session.query(
      new Cursor('insert into accounts select g, 0 from generate_series(3, 5) g returning id'),
    );
    assert.is((await cursor.read(10)).length, 3);
    await cursor.close();
    await transaction.abort();
  });
  assert.equal(await db.ids(), [1, 2]);
});

test('what a cursor has written is committed, though no command tag has told', async () => {
  await transaction.run(async () => {
    const cursor = session.query(
      new Cursor('insert into accounts select g, 0 from generate_series(3, 5) g returning id'),
    );
    await cursor.read(10);
    await cursor.close();
  });
  assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
});

test('a stream is read in the transaction, and closes by itself', async () => {
  await transaction.run(async () => {
    await session.query('insert into accounts select g, g from generate_series(3, 500) g');
    const stream = session.query(new QueryStream('select id from accounts order by id', [], { batchSize: 10 }));
    let count = 0;
    for await (const _row of stream) count++;
    assert.is(count, 500);
    assert.is((await session.query('select 1')).rowCount, 1);
  });
});

test('a stream read to its end just before commit doesn’t refuse the commit', async () => {
  for (let i = 0; i < 20; i++) {
    await transaction.run(async () => {
      await session.query('update accounts set balance = balance + 1 where id = 1');
      const stream = session.query(new QueryStream('select generate_series(1, 50) as n'));
      for await (const _row of stream);
    });
  }
  assert.is(await db.balance(1), 120);
});

test('a stream that is left in the middle by break is closed, and the transaction commits', async () => {
  await transaction.run(async () => {
    await session.query('insert into accounts values (3, 3)');
    for await (const row of session.query(
      new QueryStream('select generate_series(1, 5000) as n', [], { batchSize: 10 }),
    )) {
      if ((row as { n: number }).n === 15) break;
    }
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('a cursor left open refuses the commit, and is through with the abort (pitfall 12)', async () => {
  await assert.rejects(
    transaction.run(
      async () => {
        await session.query('insert into accounts values (3, 3)');
        await session.query(new Cursor('select generate_series(1, 1000)')).read(1);
      },
      { attempts: 1 },
    ),
    ConcurrentUseError,
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('a stream or cursor left open is stopped by an abort', async () => {
  for (const open of [
    () => session.query(new Cursor('select generate_series(1, 1000)')).read(1),
    async () => {
      const stream = session.query(new QueryStream('select generate_series(1, 100000) as n', [], { batchSize: 5 }));
      stream.on('error', () => undefined);
      await new Promise((resolve) => stream.once('readable', () => resolve(undefined)));
    },
  ]) {
    await transaction.run(async () => {
      await session.query('insert into accounts values (3, 3)');
      await open();
      await transaction.abort();
    });
    assert.equal(await db.ids(), [1, 2]);
    await db.assertClean();
  }
});

test('a cursor that was never read is stopped by an abort', async () => {
  await transaction.run(async () => {
    session.query(new Cursor('select generate_series(1, 1000)'));
    await transaction.abort();
  });
});

test('errors of a cursor and a stream reach their reader, and the transaction is rolled back', async () => {
  await assert.rejects(
    transaction.run(
      async () => {
        await session.query('insert into accounts values (3, 3)');
        const cursor = session.query(new Cursor('select 1 / (3 - n) from generate_series(1, 5) as n'));
        await cursor.read(10);
      },
      { attempts: 1 },
    ),
    { code: '22012' },
  );
  await db.assertClean();
  await assert.rejects(
    transaction.run(
      async () => {
        await session.query('insert into accounts values (3, 3)');
        for await (const _row of session.query(
          new QueryStream('select 1 / (30 - n) from generate_series(1, 50) as n', [], { batchSize: 5 }),
        ));
      },
      { attempts: 1 },
    ),
    { code: '22012' },
  );
  await db.assertClean();
  await assert.rejects(
    transaction.run(
      async () => {
        for await (const _row of session.query(new QueryStream('selectt')));
      },
      { attempts: 1 },
    ),
    { code: '42601' },
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('the error of a cursor that is swallowed never lets a commit succeed (pitfall 1)', async () => {
  await assert.rejects(
    transaction.run(
      async () => {
        await session.query('insert into accounts values (3, 3)');
        const cursor = session.query(new Cursor('select 1 / 0'));
        await cursor.read(1).catch(() => undefined);
        await cursor.close().catch(() => undefined);
      },
      { attempts: 1 },
    ),
    { code: 'ERR_TXN_SILENT_ROLLBACK' },
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('a stream or cursor without a transaction, or too late, is refused', async () => {
  assert.throws(
    () => session.query(new Cursor('select 1')),
    (error: unknown) => error instanceof NoTransaction,
  );
  const inside = await transaction.run(() => AsyncLocalStorage.snapshot());
  assert.throws(
    () => inside(() => session.query(new Cursor('select 1'))),
    (error: unknown) => error instanceof TransactionClosed,
  );
});
