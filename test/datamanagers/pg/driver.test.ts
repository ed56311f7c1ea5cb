// The module of a session for libraries that make their own clients, and keep them in pools of their own.
import pg from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import {
  ConcurrentUseError,
  ConfigurationError,
  TransactionClosed,
  TransactionStateError,
  sessionState,
  transaction,
} from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Library, attempts } from './pool-setup.ts';
import { onText, outcomes, says } from './setup.ts';

const test = suite('the driver of a session on PostgreSQL');
const library = await Library.open(await postgres(), test);
const { db } = library;
const { pool: plain, session } = db;
const driver = session.driver(pg);
const insert = library.insert.bind(library);

// Made once, as a library's pool keeps it, and used from everywhere.
const client = new driver.Client({ host: 'nowhere.invalid', database: 'another' });
await client.connect();

test('it is the module pg but for its clients and pools, which are the session’s', async () => {
  assert.is(driver.types, pg.types);
  assert.is(driver.defaults, pg.defaults);
  assert.is(new driver.Pool({ host: 'nowhere.invalid' }), session.pool());
  assert.is.not(driver.Client, pg.Client);
  await new Promise<void>((resolve, reject) =>
    new driver.Client().connect((error: Error | undefined) => (error === undefined ? resolve() : reject(error))),
  );
  for (const wrong of [undefined, null, {}, plain, pg.Client]) {
    assert.throws(() => session.driver(wrong as never), says(/takes the module pg/));
  }
});

test('each statement of a client belongs to the transaction of the code that asks for it', async () => {
  await insert(3, client);
  await transaction.run(async () => {
    await insert(4, client);
    assert.is(sessionState(session), 'changed');
    await transaction.suspend(() => insert(5, client));
    assert.equal(await db.ids(), [1, 2, 3, 5]);
    await transaction.run(() => insert(6, client), { ...attempts, propagation: 'requires-new' });
    assert.equal(await db.ids(), [1, 2, 3, 5, 6]);
  }, attempts);
  await assert.rejects(
    transaction.run(async () => {
      await insert(7, client);
      throw new Error('left');
    }, attempts),
    { message: 'left' },
  );
  assert.equal(await db.ids(), [1, 2, 3, 4, 5, 6]);
});

test('its own transaction inside of another one is a savepoint, and the client is free again behind it', async () => {
  await transaction.run(async () => {
    await client.query('START TRANSACTION;');
    await insert(3, client);
    await client.query('COMMIT;');
    await client.query('START TRANSACTION;');
    await insert(4, client);
    await client.query('ROLLBACK;');
    await insert(5, client);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
  await insert(6, client);
  assert.equal(await db.ids(), [1, 2, 3, 5, 6]);
});

test('its own transaction outside of any has a connection to itself until it ends, however it does', async () => {
  for (const [end, stored] of [
    ['commit', true],
    ['rollback', false],
  ] as const) {
    await client.query('begin');
    assert.is(plain.idleCount, plain.totalCount - 1);
    await insert(3, client);
    await client.query('savepoint a');
    await insert(4, client);
    await client.query('rollback to a');
    assert.equal(await db.ids(), [1, 2]);
    await client.query(end);
    assert.is(plain.idleCount, plain.totalCount);
    assert.is((await db.ids()).includes(3), stored);
    await db.reset();
  }
  await client.query('begin');
  await assert.rejects(insert(1, client), { code: '23505' });
  await assert.rejects(insert(3, client), { code: '25P02' });
  await client.query('rollback');
  await assert.rejects(client.query('begin isolation level nonsense'), { code: '42601' });
  await insert(3, client);
  await client.query('begin; insert into accounts values (4, 0)');
  await client.query('insert into accounts values (5, 0); commit');
  assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
});

test('its own transaction outside of any is its own inside of one too: its handle says so', async () => {
  await client.query('begin');
  await transaction.run(async () => {
    await insert(3, client);
    await insert(4);
    await transaction.abort();
  }, attempts);
  await client.query('commit');
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('statements that aren’t awaited keep their order, inside of a transaction and outside of any', async () => {
  const both = async (): Promise<void> => {
    await Promise.all([
      client.query('begin'),
      insert(3, client),
      client.query('rollback'),
      insert(4, client),
      client.query('begin'),
      insert(5, client),
      client.query('commit'),
    ]);
  };
  await both();
  assert.equal(await db.ids(), [1, 2, 4, 5]);
  await db.reset();
  await transaction.run(both, attempts);
  assert.equal(await db.ids(), [1, 2, 4, 5]);
});

test('a setting is refused, as it would stay on a connection that others get; one that ends with the transaction isn’t', async () => {
  const refused = [
    'SET TIME ZONE INTERVAL 1',
    'set client_min_messages to warning; select 1',
    '/* why */ set search_path to x',
    'reset all',
    'discard all',
    'set session characteristics as transaction read only',
  ];
  const both = async (): Promise<void> => {
    for (const text of refused) await assert.rejects(client.query(text), ConfigurationError, text);
    await client.query('begin');
    await client.query("set local lock_timeout = '1s'");
    await client.query('set constraints all deferred');
    for (const text of refused) await assert.rejects(client.query(text), ConfigurationError, text);
    await client.query('commit');
  };
  await both();
  await transaction.run(both, attempts);
});

test('parsers of the client’s own are for its statements, wherever they go', async () => {
  const types = { getTypeParser: () => (value: string) => `<${value}>` };
  const own = new driver.Client({ types });
  const look = async (): Promise<void> => {
    assert.equal((await own.query('select 7 as a')).rows, [{ a: '<7>' }]);
    assert.equal((await own.query({ text: 'select 7 as a' })).rows, [{ a: '<7>' }]);
    assert.equal((await own.query({ text: 'select 7 as a', types: pg.types })).rows, [{ a: 7 }]);
    assert.equal((await client.query('select 7 as a')).rows, [{ a: 7 }]);
  };
  await look();
  await transaction.run(look, attempts);
  await own.end();
});

test('cursors and streams, inside of a transaction and outside of any', async () => {
  const both = async (): Promise<void> => {
    let sum = 0;
    const stream = client.query(new QueryStream('select generate_series(1, 20) as n', [], { batchSize: 3 }));
    for await (const { n } of stream as AsyncIterable<{ n: number }>) sum += n;
    assert.is(sum, 210);
    const cursor = client.query(new Cursor('select generate_series(1, 20) as n'));
    assert.is((await cursor.read(3)).length, 3);
    await cursor.close();
    await client.query('begin');
    await insert(3, client);
    const inside = client.query(new Cursor('select id from accounts order by id'));
    assert.is((await inside.read(10)).length, 3);
    await inside.close();
    await client.query('rollback');
  };
  await both();
  await transaction.run(both, attempts);
  const failing = client.query(new Cursor('selectt'));
  await assert.rejects(failing.read(1), { code: '42601' });
  assert.equal(await db.ids(), [1, 2]);
});

test('a client that is closed sends nothing more; what it has begun is rolled back, and leaves nothing behind', async () => {
  const begun = async (id: number): Promise<pg.Client> => {
    const own = new driver.Client();
    await own.query('begin');
    await insert(id, own);
    await own.end();
    await new Promise<void>((resolve) => own.end(() => resolve()));
    await assert.rejects(own.query('select 1'), TransactionStateError);
    return own;
  };
  await begun(3);
  await transaction.run(async () => {
    await begun(4);
    await insert(5);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 5]);
});

test('pitfall 2: in a transaction that has ended it sends nothing, whatever it had begun', async () => {
  let late!: Promise<(Error | undefined)[]>;
  let ended!: () => void;
  const end = new Promise<void>((resolve) => (ended = resolve));
  const own = new driver.Client();
  await transaction
    .run(async () => {
      await own.query('begin');
      await insert(3, own);
      late = end.then(() => outcomes(insert(4, own), own.query('commit'), insert(5, client), client.query('rollback')));
      await transaction.abort();
    }, attempts)
    .catch(() => undefined);
  ended();
  for (const error of (await late).slice(0, 3)) assert.instance(error, TransactionClosed);
  assert.equal((await late).slice(3), [undefined], 'a ROLLBACK to clean up does no harm');
  // Its own transaction is over with that COMMIT: in the library's pool it may be used again.
  await insert(6, own);
  await own.query('begin');
  await own.query('rollback');
  await own.end();
  assert.equal(await db.ids(), [1, 2, 6]);
});

test('pitfall 4: two clients in one transaction take turns', async () => {
  const other = new driver.Client();
  await transaction.run(async () => {
    await client.query('begin');
    await insert(3, client);
    const waiting = insert(4, other);
    await client.query('rollback');
    await waiting;
    await client.query('begin');
    await assert.rejects(insert(5, other), ConcurrentUseError);
    await client.query('commit');
  }, attempts);
  await other.end();
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('pitfall 6: the connection of its transaction dies: it is told as a client of pg tells it, or by the next statement', async () => {
  const ignore = (): void => undefined;
  plain.on('error', ignore);
  for (const listens of [true, false]) {
    const own = new driver.Client();
    const errors: Error[] = [];
    if (listens) own.on('error', (error) => errors.push(error));
    await own.query('begin');
    await insert(3, own);
    await db.terminate();
    await assert.eventually(() => plain.totalCount === plain.idleCount);
    assert.is(errors.length, listens ? 1 : 0);
    await own.query('select 1');
    await own.end();
  }
  plain.off('error', ignore);
  assert.equal(await db.ids(), [1, 2]);
});

for (const [what, text] of Object.entries({ BEGIN: 'begin', 'a statement': 'insert into', COMMIT: 'commit' })) {
  test(`pitfall 5: nothing leaks when the link is cut at ${what} outside of any transaction`, async () => {
    const ignore = (): void => undefined;
    plain.on('error', ignore);
    const own = new driver.Client();
    own.on('error', ignore);
    onText(db.proxy, text, (link) => {
      link.cut();
      return false;
    });
    await assert.rejects(
      (async () => {
        await own.query('begin');
        await insert(3, own);
        await own.query('commit');
      })(),
    );
    await own.query('rollback').catch(ignore);
    await own.end();
    plain.off('error', ignore);
    assert.equal(await db.ids(), [1, 2]);
  });
}

test('pitfall 11: one client from two hundred transactions at once sends each statement to its own', async () => {
  const { session: patient } = db.another({ name: 'patient', pool: { max: 5 } });
  const shared = new (patient.driver(pg).Client)();
  await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const [error] = await outcomes(
        transaction.run(async () => {
          await insert(1_000 + index, shared);
          const { rows } = await shared.query('select id from accounts where xmin = pg_current_xact_id()::xid');
          assert.equal(rows, [{ id: 1_000 + index }]);
          if (index % 2 === 1) throw new Error('odd');
        }, attempts),
      );
      assert.is(error?.message, index % 2 === 1 ? 'odd' : undefined);
    }),
  );
  assert.is((await db.ids()).length, 102);
});
