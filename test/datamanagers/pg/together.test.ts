// Protects statements that are sent in one flight because nobody awaits one before asking for the next: each is answered as it would be alone,
// wherever one of them fails.
import { transaction } from 'unanimous';
import type pg from 'pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText } from './setup.ts';
import type { PgQueryConfig } from 'unanimous/pg';

const test = suite('statements that travel together', { timeoutMs: 60_000 });
const db = await Database.open(await postgres(), { name: 'together', pool: { max: 2 } });
const { session } = db;
await db.admin.query('create table things (id int primary key, what text, data jsonb, at timestamptz)');
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.admin.query('truncate things');
  await db.reset();
});

const attempts = { attempts: 1 };

type Ask = [config: string | PgQueryConfig, values?: unknown[]];
type Answer = { readonly code?: string | undefined; readonly result?: unknown };

const insert = (id: number): Ask => ['insert into things (id, what) values ($1, $2) returning *', [id, `thing ${id}`]];

async function answerOf(asked: Promise<unknown>): Promise<Answer> {
  try {
    const one = (result: unknown): unknown => {
      const { command, rowCount, rows, fields } = result as pg.QueryResult;
      return {
        command,
        rowCount,
        rows,
        names: fields.map(({ name, dataTypeID, format }) => [name, dataTypeID, format]),
      };
    };
    const result = await asked;
    return { result: Array.isArray(result) ? result.map(one) : one(result) };
  } catch (error) {
    return { code: (error as { code?: string }).code ?? (error as Error).message };
  }
}

/** Asks one by one, then all at once; everything is rolled back in between. */
async function bothWays(asks: readonly Ask[]): Promise<{ alone: Answer[]; together: Answer[]; flights: number }> {
  const alone: Answer[] = [];
  const together: Answer[] = [];
  const rollBack = async (work: () => Promise<void>): Promise<void> => {
    await transaction
      .run(async (txn) => {
        await work();
        txn.doom();
      }, attempts)
      .catch(() => undefined);
  };
  await rollBack(async () => {
    for (const ask of asks) alone.push(await answerOf(session.query(...ask)));
  });
  await rollBack(async () => {
    await session.query('select 1');
    db.proxy.resetFlights();
    together.push(...(await Promise.all(asks.map((ask) => answerOf(session.query(...ask))))));
  });
  const flights = db.proxy.flights - 1;
  return { alone, together, flights };
}

const kinds: Record<string, Ask[]> = {
  'rows, parameters of every kind that travels, and none': [
    insert(1),
    ['select $1::int[] as list, $2::timestamptz as at, $3::bytea as bytes', [[1, 2], new Date(0), Buffer.from('x')]],
    ['select 1 as one'],
    ['update things set what = $1', [null]],
    ['delete from things where id = $1', [99]],
    ['select $1::bool as yes, $2::bigint as big', [true, 12n]],
    [{ text: 'select id, what from things where id = $1', values: [1], rowMode: 'array' }],
  ],
  'names of the user’s, the same one twice, and the same text': [
    [{ name: 'things', text: 'select $1::int as i', values: [1] }],
    [{ name: 'things', text: 'select $1::int as i', values: [2] }],
    ['select $1::int as j', [1]],
    ['select $1::int as j', [2]],
    ['select $1::int as j', [3]],
  ],
  'with what can’t travel in between: several statements, an object to encode, a change of a table': [
    insert(1),
    ['select 1 as a; select 2 as b'],
    insert(2),
    ['update things set data = $1 where id = 1 returning data', [{ a: 1 }]],
    ['select * from things where id = $1', [1]],
    ['select * from things where id = $1', [2]],
    ['alter table things add column more int default 7'],
    ['select * from things where id = $1', [1]],
    insert(3),
  ],
  'a savepoint, and what comes behind it': [insert(1), ['savepoint mine'], insert(2), ['release mine'], insert(3)],
};
for (const [what, asks] of Object.entries(kinds)) {
  test(`answers are those of one by one: ${what}`, async () => {
    // Twice, as statements that come again are prepared.
    for (let i = 0; i < 3; i++) {
      const { alone, together } = await bothWays(asks);
      assert.equal(together, alone);
      assert.ok(together.every(({ code }) => code === undefined));
    }
  });
}

const failing: Record<string, Ask> = {
  'a duplicate key': insert(1),
  'a division by zero': ['select 1 / $1::int', [0]],
  'a text that does not parse': ['select from where $1', [1]],
  'a value that its type refuses': ['select $1::int', ['x']],
  'a name for another text': [{ name: 'taken', text: 'select 2 as i', values: [] }],
  'values that are no list': ['select 1', 'x' as never],
};
for (const [what, fails] of Object.entries(failing)) {
  for (const at of [0, 1, 2, 3]) {
    test(`${what}, as number ${at + 1} of four: the others are answered as one by one`, async () => {
      const asks = [insert(2), insert(3), insert(4)];
      asks.splice(at, 0, fails);
      await transaction.run(() => session.query(...insert(1)), attempts);
      await transaction.run(() => session.query({ name: 'taken', text: 'select 1 as i' }), attempts);
      const { alone, together } = await bothWays(asks);
      assert.equal(together, alone);
      assert.ok(together[at]!.code !== undefined, 'it does fail');
    });
  }
}

test('one fails and nobody looks: the commit says so, and nothing is stored', async () => {
  for (const at of [0, 1, 2]) {
    const asks = [insert(2), insert(3)];
    asks.splice(at, 0, ['select 1 / 0']);
    await assert.rejects(
      transaction.run(() => Promise.all(asks.map((ask) => answerOf(session.query(...ask)))), attempts),
      { name: 'SilentRollbackError' },
    );
  }
  assert.is((await db.admin.query('select from things')).rowCount, 0);
});

test('a failing one behind a savepoint: back there, the transaction goes on', async () => {
  await transaction.run(async (txn) => {
    await session.query(...insert(1));
    const savepoint = await txn.savepoint();
    const answers = await Promise.all([insert(2), insert(1), insert(3)].map((ask) => answerOf(session.query(...ask))));
    assert.equal(
      answers.map(({ code }) => code),
      [undefined, '23505', '25P02'],
    );
    await savepoint.rollback();
    await Promise.all([session.query(...insert(4)), session.query(...insert(5))]);
  }, attempts);
  const { rows } = await db.admin.query('select id from things order by id');
  assert.equal(rows, [{ id: 1 }, { id: 4 }, { id: 5 }]);
});

test('a BEGIN that fails: none of them runs outside of the transaction', async () => {
  let spoiled = false;
  db.proxy.onClientData = (data) => {
    const at = data.toString('latin1').indexOf('begin');
    if (at < 0) return;
    data.write('begim', at, 'latin1');
    spoiled = true;
    db.proxy.onClientData = undefined;
  };
  let answers: Answer[] = [];
  await transaction
    .run(async () => {
      answers = await Promise.all([1, 2, 3].map((id) => answerOf(session.query(...insert(id)))));
    }, attempts)
    .catch(() => undefined);
  db.proxy.onClientData = undefined;
  assert.ok(spoiled);
  assert.ok(answers.every(({ code }) => code !== undefined));
  assert.is((await db.admin.query('select from things')).rowCount, 0);
});

test('250 at once: all are done, in the order in which they were asked for', async () => {
  await transaction.run(async () => {
    await Promise.all(Array.from({ length: 250 }, (_, i) => session.query(...insert(i))));
    const { rows } = await session.query<{ sorted: boolean }>(
      'select bool_and(ctid > before or before is null) as sorted from (select ctid, lag(ctid) over (order by id) as before from things) as t',
    );
    assert.equal(rows, [{ sorted: true }]);
  }, attempts);
  assert.is((await db.admin.query('select from things')).rowCount, 250);
});

test('the deadline passes during the second: all are refused by it, and nothing is stored', async () => {
  const errors: (string | undefined)[] = [];
  const noting = (asked: Promise<unknown>): Promise<void> =>
    asked.then(
      () => void errors.push(undefined),
      (error: Error) => void errors.push(error.name),
    );
  await assert.rejects(
    transaction.run(
      () =>
        Promise.all(
          [session.query(...insert(1)), session.query('select pg_sleep(20)'), session.query(...insert(2))].map(noting),
        ),
      { ...attempts, timeoutMs: 300 },
    ),
    { name: 'TransactionTimeoutError' },
  );
  await assert.eventually(() => errors.length === 3);
  assert.equal(errors.slice(1), ['TransactionTimeoutError', 'TransactionTimeoutError']);
  assert.is((await db.admin.query('select from things')).rowCount, 0);
});

for (const [how, strike] of Object.entries({
  'the server ends the connection': () => db.terminate("query like '%pg_sleep%'"),
  'the link is cut': () => db.proxy.cut(),
})) {
  test(`${how} in their midst: all that were not answered fail, and nothing is stored`, async () => {
    const answers: Promise<Answer[]> = transaction
      .run(
        () =>
          Promise.all(
            [insert(1), ['select pg_sleep(20)'] as Ask, insert(2)].map((ask) => answerOf(session.query(...ask))),
          ),
        attempts,
      )
      .catch((error: Error) => [{ code: error.name }]);
    await assert.eventually(async () => (await db.activity()).some(({ query }) => query.includes('pg_sleep')));
    await strike();
    assert.ok((await answers).some(({ code }) => code !== undefined));
    await db.terminate("query like '%pg_sleep%'");
    assert.is((await db.admin.query('select from things')).rowCount, 0);
  });
}

test('what was prepared is gone: run tries all of them again', async () => {
  const work = (): Promise<unknown> =>
    Promise.all([1, 2, 3].map((i) => session.query('select $1::int + 41 as again', [i])));
  for (let i = 0; i < 3; i++) await transaction.run(work, attempts);
  for (let i = 0; i < 2; i++) {
    const clients = await Promise.all([db.pool.connect(), db.pool.connect()]);
    for (const client of clients) {
      await client.query('deallocate all');
      client.release();
    }
    await transaction.run(work);
  }
});

test('parsers of the pool’s own are used for those that travel', async () => {
  const types = { getTypeParser: () => (value: string) => `<${value}>` };
  const own = db.another({ name: 'typed', pool: { types } });
  await transaction.run(async () => {
    const answers = await Promise.all([1, 2].map((i) => own.session.query('select $1::int as i', [i])));
    assert.equal(
      answers.map(({ rows }) => rows),
      [[{ i: '<1>' }], [{ i: '<2>' }]],
    );
  }, attempts);
});

test('through a client that a library holds, inside of its own transaction: a failing one undoes that one only', async () => {
  await transaction.run(async () => {
    await session.query(...insert(1));
    const client = await session.pool().connect();
    const send = ([config, values]: Ask): Promise<unknown> => client.query(config as string, values as unknown[]);
    await client.query('begin');
    const answers = await Promise.all([insert(2), insert(1), insert(3)].map((ask) => answerOf(send(ask))));
    assert.equal(
      answers.map(({ code }) => code),
      [undefined, '23505', '25P02'],
    );
    await client.query('rollback');
    await client.query('begin');
    await Promise.all([insert(4), insert(5)].map(send));
    await client.query('commit');
    client.release();
  }, attempts);
  const { rows } = await db.admin.query('select id from things order by id');
  assert.equal(rows, [{ id: 1 }, { id: 4 }, { id: 5 }]);
});

test('they take one flight, where pg doesn’t watch the time of each', async () => {
  const { flights } = await bothWays([insert(1), insert(2), insert(3)]);
  // Asked for while the connection is idle: the first goes at once, the others behind it.
  assert.is(flights, 2);
  const watched = db.another({ name: 'watched', pool: { query_timeout: 5_000 } });
  await transaction.run(() => Promise.all([1, 2, 3].map((id) => watched.session.query(...insert(id)))), attempts);
  assert.is((await db.admin.query('select from things')).rowCount, 3);
});

test('the reply to them is lost: no answer is taken for a failure that did not happen', async () => {
  onText(db.proxy, 'thing 1', (link) => {
    link.dropReplies = true;
    setTimeout(() => link.cut(), 50);
  });
  const answers = await transaction
    .run(() => Promise.all([1, 2].map((id) => answerOf(session.query(...insert(id))))), attempts)
    .catch((error: Error) => [{ code: error.name }]);
  assert.ok(answers.every(({ code }) => code !== undefined));
  assert.is((await db.admin.query('select from things')).rowCount, 0);
});
