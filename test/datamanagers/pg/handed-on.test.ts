// Protects a transaction that takes the end of a read-only one along on its connection: it is a transaction of its own in everything, and nobody else
// waits longer for a connection, or finds one in the midst of a transaction.
import pg from 'pg';
import { register, transaction } from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText } from './setup.ts';

const test = suite('a connection that is handed on');
const db = await Database.open(await postgres(), { name: 'handed-on', pool: { max: 1 } });
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const readOnly = { readOnly: true, attempts: 1 } as const;
const DIVISION_BY_ZERO = { code: '22012' };
const says =
  (words: string) =>
  (error: unknown): boolean =>
    (error as Error).message.includes(words);
const balance = async (id = 1): Promise<unknown> =>
  (await db.session.query('select balance from accounts where id = $1', [id])).rows[0]?.balance;
const show = async (name: string): Promise<unknown> =>
  (await db.session.query('select current_setting($1) as setting', [name])).rows[0].setting;

test('read-only transactions that follow each other at once take one round trip each, and one for the last end', async () => {
  const several = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) assert.is(await transaction.run(() => balance(), readOnly), 100);
    await assert.eventually(() => db.pool.idleCount === 1);
  };
  await several();
  db.proxy.resetFlights();
  await several();
  assert.is(db.proxy.flights, 11);
});

test('where nothing follows at once the end is sent by itself, and the next one begins as ever', async () => {
  const sent: string[] = [];
  onText(db.proxy, 'rollback', () => void sent.push('rollback'));
  await transaction.run(() => balance(), readOnly);
  await assert.eventually(() => db.pool.idleCount === 1);
  assert.equal(sent, ['rollback']);
  db.proxy.resetFlights();
  await transaction.run(() => db.session.query('update accounts set balance = 1 where id = 1'));
  assert.is(db.proxy.flights, 2);
});

test('the next one has options of its own, sees what was stored meanwhile, and may write', async () => {
  await transaction.run(() => balance(), { ...readOnly, isolation: 'repeatable read' });
  await transaction.run(
    async () => {
      assert.is(await show('transaction_isolation'), 'serializable');
      assert.is(await show('transaction_read_only'), 'off');
      await db.session.query('update accounts set balance = 7 where id = 1');
    },
    { isolation: 'serializable' },
  );
  assert.is(await db.balance(1), 7);
  await transaction.run(() => balance(), { ...readOnly, isolation: 'repeatable read' });
  await transaction.run(async () => {
    await db.admin.query('update accounts set balance = 8 where id = 1');
    assert.is(await balance(), 8, 'not the snapshot of the one before');
  }, readOnly);
});

test('its settings, cursors and savepoints are gone for the next one', async () => {
  await transaction.run(async () => {
    await db.session.query("set local work_mem = '77kB'");
    await db.session.query("set search_path = 'nowhere'");
    await db.session.query('declare before cursor for select 1');
  }, readOnly);
  const next = transaction.run(
    async () => {
      assert.is.not(await show('work_mem'), '77kB');
      assert.is.not(await show('search_path'), 'nowhere');
      await db.session.query('fetch before');
    },
    { attempts: 1 },
  );
  await assert.rejects(next, { code: '34000' });
});

for (const [title, ask] of Object.entries<() => Promise<unknown>>({
  'a statement with a parameter': () => db.session.query('select 1 / $1::int', [0]),
  'several statements in a text': () => db.session.query('select 1; select 1 / 0'),
  'statements that are asked for at once': () =>
    Promise.all([db.session.query('select 1 / $1::int', [0]), db.session.query('select $1::int', [1])]),
})) {
  test(`the next one's failure is its own: ${title}`, async () => {
    await transaction.run(() => balance(), readOnly);
    await assert.rejects(() => transaction.run(ask, { attempts: 1 }), DIVISION_BY_ZERO);
    await transaction.run(() => balance(), readOnly);
    await assert.rejects(() => transaction.run(ask, readOnly), DIVISION_BY_ZERO);
    assert.is(await transaction.run(() => balance(), readOnly), 100);
  });
}

test('a statement that fails to parse leaves its name free', async () => {
  const ask = (): Promise<unknown> => db.session.query('select nothing from accounts where id = $1', [1]);
  for (let i = 0; i < 3; i++) {
    await transaction.run(() => balance(), readOnly);
    await assert.rejects(() => transaction.run(ask, readOnly), { code: '42703' });
  }
  await db.admin.query('alter table accounts add nothing int');
  await transaction.run(() => balance(), readOnly);
  await transaction.run(ask, readOnly);
  await db.admin.query('alter table accounts drop nothing');
});

test('a text of several statements, a cursor and a client of the pool are run in the next one, not in the one before', async () => {
  const insert = 'insert into accounts values (3, 1)';
  await transaction.run(() => balance(), readOnly);
  await transaction.run(() => db.session.query(`${insert}; select 1`));
  await transaction.run(() => balance(), readOnly);
  await transaction.run(async () => {
    const client = await db.session.pool().connect();
    await client.query('update accounts set balance = 2 where id = 3');
    client.release();
  });
  assert.is(await db.balance(3), 2);
});

test('one whose only statement is never sent rolls back what lingers', async () => {
  await transaction.run(() => balance(), readOnly);
  const refused = { text: 'select $1', values: 'no array' } as never;
  await assert.rejects(
    () => transaction.run(() => db.session.query(refused), { attempts: 1 }),
    says('must be an array'),
  );
  await assert.eventually(() => assert.is(db.pool.idleCount, 1, 'its connection is back, and was not closed'));
});

test('where the connection is lost with both, the next one has failed, and another attempt has another connection', async () => {
  await transaction.run(() => balance(), readOnly);
  await db.assertClean();
  let cuts = 0;
  onText(db.proxy, 'rollback', (link) => {
    if (cuts++ === 0) link.cut();
    return undefined;
  });
  let attempts = 0;
  await transaction.run(() => balance(), readOnly);
  const second = transaction.run(
    () => {
      attempts++;
      return balance();
    },
    { readOnly: true, attempts: 3 },
  );
  assert.is(await second, 100);
  assert.is(cuts, 1);
  assert.is(attempts, 2);
});

test('whoever waits for a connection comes before the next transaction', async () => {
  let isDone = false;
  let others = 0;
  const loop = (async () => {
    for (let i = 0; i < 300; i++) await transaction.run(() => balance(), readOnly);
    isDone = true;
  })();
  while (others < 20) {
    await db.pool.query('select 1');
    assert.not(isDone, 'it had its turn while the others went on');
    others++;
  }
  await loop;
});

test('one that goes on for ever comes back to its pool from time to time, so that the pool can age it', async () => {
  let releases = 0;
  const count = (): void => void releases++;
  db.pool.on('release', count);
  try {
    for (let i = 0; i < 250; i++) await transaction.run(() => balance(), readOnly);
    assert.ok(releases >= 2 && releases < 50, `${releases} of 250`);
  } finally {
    db.pool.off('release', count);
  }
});

test('a pool that ends has all of its connections back, and gives none away', async () => {
  const pool = new pg.Pool({ connectionString: db.url, max: 1 });
  const session = register(new PgSession(pool, { name: 'ending' }));
  const read = (): Promise<unknown> => session.query('select 1');
  await transaction.run(read, readOnly);
  const ended = pool.end().then(() => pool.totalCount);
  await assert.rejects(() => transaction.run(read, readOnly), says('after calling end'));
  assert.is(await ended, 0);
});

test('many at once never meet in a connection', async () => {
  const { session } = db.another({ name: 'many', pool: { max: 4 } });
  await Promise.all(
    Array.from({ length: 16 }, async (_, client) => {
      for (let i = 0; i < 40; i++) {
        const mark = `${client}/${i}`;
        await transaction.run(async () => {
          await session.query("select set_config('test.mark', $1, true)", [mark]);
          const { rows } = await session.query("select current_setting('test.mark') as mark");
          assert.is(rows[0].mark, mark);
        }, readOnly);
      }
    }),
  );
});
