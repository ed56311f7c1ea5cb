/** Protects the automatic names of statements: they save the server's work, are bounded, and never change an outcome. */
import pg from 'pg';
import { register, transaction } from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { assert, suite } from '../../support/suite.ts';
import { postgres } from '../../support/servers.ts';

const test = suite('names of statements');
const server = await postgres();
const pool = new pg.Pool({ connectionString: await server.database('names'), max: 1 });
test.after(() => pool.end());

const session = register(new PgSession(pool, { name: 'names' }));
const prepared = async (): Promise<string[]> => {
  const { rows } = await pool.query<{ statement: string }>(
    'select statement from pg_prepared_statements order by statement',
  );
  return rows.map(({ statement }) => statement);
};

test.before(async () => {
  await pool.query('create table item (id int primary key, label text)');
  await pool.query("insert into item select n, 'item ' || n from generate_series(1, 100) n");
});

/** The connection is known to be the server's own from its first write on. */
async function write(): Promise<void> {
  await transaction.run(() => session.query('update item set label = label where id = $1', [1]));
}

test('a statement with parameters that comes again is prepared, one without parameters never is', async () => {
  for (let round = 0; round < 4; round++) {
    await write();
    await transaction.run(async () => {
      const { rows } = await session.query('select label from item where id = $1', [round + 1]);
      assert.equal(rows, [{ label: `item ${round + 1}` }]);
      await session.query(`select label from item where id = ${round}`);
    });
  }
  const names = await prepared();
  assert.ok(names.includes('select label from item where id = $1'));
  assert.ok(names.includes('update item set label = label where id = $1'));
  assert.not.ok(names.some((text) => /id = \d/.test(text)));
});

test('there are at most 200 names on a connection, however many statements come', async () => {
  for (let round = 0; round < 2; round++) {
    await transaction.run(async () => {
      for (let n = 0; n < 300; n++) await session.query(`select $1::int + ${n} as sum`, [n]);
    });
  }
  const names = await prepared();
  assert.ok(names.length > 100 && names.length <= 201, `${names.length} statements are prepared`);
});

test('a table altered behind a prepared statement costs one more attempt, not an error', async () => {
  const fresh = new pg.Pool({ connectionString: pool.options.connectionString!, max: 1 });
  const own = register(new PgSession(fresh, { name: 'altered' }));
  try {
    for (let round = 0; round < 3; round++) {
      await transaction.run(async () => {
        await own.query('update item set label = label where id = $1', [2]);
        await own.query('select * from item where id = $1', [2]);
      });
    }
    await pool.query('alter table item add column extra int default 7');
    const attempts: number[] = [];
    const row = await transaction.run(
      async (txn) => {
        attempts.push(txn.attempt);
        return (await own.query('select * from item where id = $1', [2])).rows[0];
      },
      { backoff: false },
    );
    assert.equal(row, { id: 2, label: 'item 2', extra: 7 });
    assert.equal(attempts, [1, 2]);
  } finally {
    await fresh.end();
  }
});

test('within a transaction that alters a table nothing is named behind that', async () => {
  await write();
  await transaction.run(
    async () => {
      for (let round = 0; round < 3; round++) await session.query('select * from item where id = $1', [3]);
      await session.query('alter table item drop column if exists extra');
      for (let round = 0; round < 2; round++) {
        const { rows } = await session.query('select * from item where id = $1 and id = $1', [3]);
        assert.equal(rows, [{ id: 3, label: 'item 3' }]);
      }
    },
    { attempts: 1 },
  );
});

test('DISCARD ALL by hand on the same connection costs one more attempt, not an error', async () => {
  const work = async (): Promise<void> => {
    await session.query('select 1 where $1 = 1', [1]);
    await session.query('select 2 where $1 = 1', [1]);
    await session.query('select 3 where $1 = 1', [1]);
    await session.query('update item set label = label where id = $1', [1]);
  };
  for (let round = 0; round < 3; round++) await transaction.run(work);
  await pool.query('discard all');
  const attempts: number[] = [];
  await transaction.run(
    async (txn) => {
      attempts.push(txn.attempt);
      await work();
    },
    { backoff: false },
  );
  assert.equal(attempts, [1, 2]);
});

test('namesStatements: false names nothing', async () => {
  const fresh = new pg.Pool({ connectionString: pool.options.connectionString!, max: 1 });
  const own = register(new PgSession(fresh, { name: 'plain', namesStatements: false }));
  try {
    for (let round = 0; round < 4; round++) {
      await transaction.run(() => own.query('update item set label = label where id = $1', [4]));
    }
    const { rows } = await fresh.query("select name from pg_prepared_statements where statement like 'update%'");
    assert.equal(rows, []);
  } finally {
    await fresh.end();
  }
});
