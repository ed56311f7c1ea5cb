import { transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from './setup.ts';

const test = suite('statements that come again get a name, and nobody notices');
const server = await postgres();
const db = await Database.open(server, { name: 'names', pool: { max: 1 } });
const { pool, session } = db;
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const attempts = { attempts: 1 };
const prepared = async (): Promise<string[]> =>
  (await pool.query<{ name: string }>('select name from pg_prepared_statements order by name')).rows.map(
    ({ name }) => name,
  );
const times = async (count: number, work: (i: number) => Promise<unknown>): Promise<void> => {
  for (let i = 0; i < count; i++) await transaction.run(() => work(i), attempts);
};

test('a statement with values is prepared once, and answers the same each time', async () => {
  await times(6, async (i) => {
    const { rows } = await session.query('select $1::int + 1 as n', [i]);
    assert.equal(rows, [{ n: i + 1 }]);
  });
  assert.ok((await prepared()).length > 0);
});

test('a statement that comes once is not prepared: texts that never come again would use up the names', async () => {
  await times(3, () => session.query('update accounts set balance = 0 where id = $1', [1]));
  await times(5, (i) => session.query(`select $1::int as once_${i}`, [i]));
  const { rows } = await pool.query("select statement from pg_prepared_statements where statement like '%once%'");
  assert.equal(rows, []);
});

test('DEALLOCATE ALL in a transaction: what comes behind it is prepared again, without an error and another attempt', async () => {
  const read = (): Promise<unknown> => session.query('select $1::int + 7 as seven', [1]);
  await times(3, () => session.query('update accounts set balance = 0 where id = $1', [1]));
  await times(3, read);
  await times(2, async () => {
    await read();
    await session.query('deallocate prepare all');
    await read();
  });
  const { rows } = await pool.query("select 1 from pg_prepared_statements where statement like '%as seven'");
  assert.is(rows.length, 1);
});

test('a statement is prepared too where a connection has only ever read, in read-only transactions', async () => {
  const reader = db.another({ name: 'reader', pool: { max: 1 } });
  for (let i = 0; i < 4; i++) {
    await transaction.run(() => reader.session.query('select $1::int + 1 as reading', [i]), { readOnly: true });
  }
  const { rows } = await reader.pool.query("select 1 from pg_prepared_statements where statement like '%as reading'");
  assert.is(rows.length, 1);
});

test('the same text with values of other kinds and with other row modes', async () => {
  const text = 'select $1::text as a, $2::jsonb as b';
  for (const [values, row] of [
    [[1, '{}'], { a: '1', b: {} }],
    [['x', { y: 1 }], { a: 'x', b: { y: 1 } }],
    [[null, null], { a: null, b: null }],
    [[true, '7'], { a: 'true', b: 7 }],
  ] as const) {
    await times(2, async () => {
      assert.equal((await session.query(text, [...values])).rows, [row]);
      assert.equal((await session.query({ text, rowMode: 'array' }, [...values])).rows, [Object.values(row)]);
      assert.equal((await session.query({ text, values: [...values] })).rows, [row]);
    });
  }
});

test('a table that is altered between transactions: run returns the new columns', async () => {
  await db.admin.query('create table altered (i int); insert into altered values (1)');
  const read = (): Promise<unknown[]> =>
    transaction.run(async () => (await session.query('select * from altered where i = $1', [1])).rows);
  for (let i = 0; i < 4; i++) assert.equal(await read(), [{ i: 1 }]);
  await db.admin.query('alter table altered add j int default 2');
  for (let i = 0; i < 4; i++) assert.equal(await read(), [{ i: 1, j: 2 }]);
  await db.admin.query('alter table altered alter j type text');
  for (let i = 0; i < 4; i++) assert.equal(await read(), [{ i: 1, j: '2' }]);
  await db.admin.query('drop table altered');
});

test('a table that is altered, or made anew, within the transaction', async () => {
  const read = async (): Promise<unknown[]> =>
    (await session.query('select * from inner_table where i = $1', [1])).rows;
  for (let round = 0; round < 4; round++) {
    await transaction.run(async () => {
      await session.query('create table inner_table (i int)');
      await session.query('insert into inner_table values ($1)', [1]);
      assert.equal(await read(), [{ i: 1 }]);
      assert.equal(await read(), [{ i: 1 }]);
      await session.query('alter table inner_table add j int default 2');
      assert.equal(await read(), [{ i: 1, j: 2 }]);
      await session.query('drop table inner_table');
      await session.query('create table inner_table (i bigint, k text)');
      await session.query('insert into inner_table values ($1)', [1]);
      assert.equal(await read(), [{ i: '1', k: null }]);
      await transaction.abort();
    }, attempts);
  }
});

test('DEALLOCATE ALL within a transaction, and DISCARD ALL beside it, cost no more than another attempt', async () => {
  const work = (i: number) => async (): Promise<void> => {
    await session.query('insert into accounts values ($1, 0)', [10 + i]);
    await session.query('select $1::int', [1]);
  };
  for (let i = 0; i < 4; i++) await transaction.run(work(i));
  await transaction.run(async () => {
    await session.query('deallocate all');
    await work(4)();
  });
  await pool.query('discard all');
  for (let i = 5; i < 9; i++) await transaction.run(work(i));
  await pool.query('deallocate all');
  for (let i = 9; i < 12; i++) await transaction.run(work(i));
  await transaction.run(() => session.query('prepare theirs as select 1; deallocate theirs'));
  for (let i = 12; i < 15; i++) await transaction.run(work(i), attempts);
  assert.is((await db.ids()).length, 17);
});

test('statements without end take a bounded number of names at the server', { timeoutMs: 120_000 }, async () => {
  const own = db.another({ name: 'own', pool: { max: 1 } });
  for (let i = 0; i < 300; i++) {
    const text = `select $1::int + ${i} as n`;
    for (let again = 0; again < 3; again++) {
      await transaction.run(
        async () => assert.equal((await own.session.query(text, [1])).rows, [{ n: i + 1 }]),
        attempts,
      );
    }
  }
  const { rows } = await own.pool.query('select count(*)::int as n from pg_prepared_statements');
  assert.ok(rows[0].n <= 210, `${rows[0].n} statements are prepared`);
});

test('the same text on two databases, where it means other things', async () => {
  const other = await Database.open(server, { name: 'elsewhere', pool: { max: 2 } });
  await db.admin.query('create table things (i int)');
  await other.admin.query('create table things (i text, j int)');
  await Promise.all(
    Array.from({ length: 40 }, (_, i) => {
      const one = i % 2 === 0 ? db : other;
      return transaction.run(async () => {
        await one.session.query('delete from things where i = $1', [String(i)]);
        const { fields } = await one.session.query('select * from things where i = $1', [String(i)]);
        assert.is(fields.length, one === db ? 1 : 2);
      }, attempts);
    }),
  );
  await db.admin.query('drop table things');
  await other.close();
});

test('a statement that fails under its name works afterwards, in the flight of BEGIN and later, behind a savepoint too', async () => {
  const text = 'select 1 / $1::int as n';
  for (let round = 0; round < 4; round++) {
    await assert.rejects(
      transaction.run(() => session.query(text, [0]), attempts),
      { code: '22012' },
    );
    await transaction.run(async () => {
      assert.equal((await session.query(text, [1])).rows, [{ n: 1 }]);
      const savepoint = await transaction.savepoint();
      await assert.rejects(session.query(text, [0]), { code: '22012' });
      await savepoint.rollback();
      assert.equal((await session.query(text, [-1])).rows, [{ n: -1 }]);
    }, attempts);
  }
  const missing = 'select * from not_yet where i = $1';
  for (let round = 0; round < 3; round++)
    await assert.rejects(
      transaction.run(() => session.query(missing, [1]), attempts),
      { code: '42P01' },
    );
  await db.admin.query('create table not_yet (i int)');
  await times(3, () => session.query(missing, [1]));
  await db.admin.query('drop table not_yet');
});

test('what fails to be encoded, or is of the wrong number, harms no later use', async () => {
  const text = 'select $1::jsonb as a';
  const circular: { self?: unknown } = {};
  circular.self = circular;
  await times(3, () => session.query(text, ['1']));
  for (let round = 0; round < 3; round++) {
    await assert.rejects(transaction.run(() => session.query(text, [circular]), attempts));
    await transaction.run(async () => {
      await session.query('update accounts set balance = 1 where id = $1', [1]);
      await assert.rejects(session.query(text, [circular]));
      await assert.rejects(session.query({ name: 'their_own', text: 'select $1::json as a', values: [circular] }));
      assert.equal((await session.query({ name: 'their_own', text: 'select $1::json as a', values: [2] })).rows, [
        { a: 2 },
      ]);
    }, attempts);
    await assert.rejects(
      transaction.run(() => session.query(text, [1, 2]), attempts),
      { code: '08P01' },
    );
    await times(1, async () => assert.equal((await session.query(text, ['1'])).rows, [{ a: 1 }]));
  }
});
