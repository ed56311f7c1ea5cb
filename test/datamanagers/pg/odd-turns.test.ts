// Protects whose statements are sent where a library's client, a cursor or a commit meets the end of what it belongs to.
import pg from 'pg';
import Cursor from 'pg-cursor';
import { ConcurrentUseError, ConfigurationError, TransactionClosed, TransactionManager, transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { Library, attempts } from './pool-setup.ts';
import { Database, onText, outcomes } from './setup.ts';

const test = suite('turns that end at odd moments', { timeoutMs: 60_000 });
const server = await postgres();
const library = await Library.open(server, test);
const behind = await Database.open(server, { name: 'behind', commitsBehindStatements: true });
test.after(() => behind.close());
test.after.each(async () => {
  await behind.assertClean();
  await behind.reset();
});
const { db, pool } = library;
const { session } = db;
const insert = library.insert.bind(library);

test('a ROLLBACK that isn’t awaited behind a BEGIN that fails is answered, and leaves the outer transaction as it was', async () => {
  await transaction.run(async () => {
    await insert(3);
    const client = await pool.connect();
    const errors = await outcomes(
      client.query('begin isolation level serializable'),
      client.query('rollback'),
      insert(4, client),
    );
    assert.instance(errors[0], ConfigurationError);
    assert.equal(errors.slice(1), [undefined, undefined]);
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('a client knows the server’s process while its transaction is open, and none behind its end', async () => {
  let client!: pg.PoolClient;
  await transaction.run(async () => {
    client = await pool.connect();
    assert.is((client as pg.PoolClient & { processID: unknown }).processID, null);
    const { rows } = await client.query('select pg_backend_pid() as pid');
    assert.is((client as pg.PoolClient & { processID: unknown }).processID, rows[0].pid);
  }, attempts);
  assert.is((client as pg.PoolClient & { processID: unknown }).processID, null);
  client.release();
});

test('a client of a transaction that has ended belongs to none, wherever it was taken', async () => {
  let client!: pg.PoolClient;
  await transaction.context(async () => {
    await transaction.begin();
    client = await pool.connect();
    await insert(3, client);
    await transaction.commit();
    await transaction.begin();
    // The context that it was taken in has another transaction by now.
    const error = await transaction.suspend(() => failureOf(insert(4, client)));
    assert.instance(error, TransactionClosed);
    await transaction.abort();
  });
  client.release();
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('the connection is lost under a library’s ROLLBACK, when the transaction has been given up already: that is no second reason', async () => {
  const controller = new AbortController();
  const error = await failureOf(
    transaction.run(
      async () => {
        await insert(3);
        const client = await pool.connect();
        await client.query('begin');
        await insert(4, client);
        onText(db.proxy, 'rollback to savepoint', (link) => {
          controller.abort(new Error('given up'));
          link.cut();
          return false;
        });
        const failure = await failureOf(client.query('rollback'));
        assert.ok(failure !== undefined);
        client.release();
        throw failure;
      },
      { ...attempts, signal: controller.signal },
    ),
  );
  assert.ok([error.message, error.cause?.message].includes('given up'), String(error));
  assert.equal(await db.ids(), [1, 2]);
});

test('a cursor that waits behind a statement when its savepoint is rolled back is never sent', async () => {
  const sent: string[] = [];
  await transaction.run(async () => {
    await insert(3);
    const savepoint = await transaction.savepoint();
    db.proxy.onClientData = (data) => {
      if (data.includes('series')) sent.push(data.toString('latin1'));
      return undefined;
    };
    const slow = session.query('select pg_sleep(0.2)');
    const cursor = session.query(new Cursor('select generate_series(1, 3) as series'));
    const read = failureOf(cursor.read(1));
    await savepoint.rollback();
    await slow;
    assert.instance(await read, TransactionClosed);
    await insert(4);
  }, attempts);
  assert.equal(sent, []);
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('given up while a statement runs, with another one behind it that was to go with the COMMIT: neither is stored', async () => {
  const controller = new AbortController();
  let statements: Promise<any>[] = [];
  const ended = failureOf(
    transaction.run(
      async () => {
        await behind.session.query('insert into accounts values ($1, 0)', [3]);
        const slow = behind.session.query('select pg_sleep(60)');
        await assert.eventually(async () =>
          (await behind.activity()).some(({ state, query }) => state === 'active' && query.includes('pg_sleep')),
        );
        statements = [slow, behind.session.query('insert into accounts values ($1, 0)', [4])].map(failureOf);
        setTimeout(() => controller.abort(new Error('given up')), 50);
      },
      { ...attempts, signal: controller.signal },
    ),
  );
  const error = await ended;
  assert.ok([error.message, error.cause?.message].includes('given up'), String(error));
  for (const failure of await Promise.all(statements)) assert.ok(failure !== undefined);
  assert.equal(await behind.ids(), [1, 2]);
});

test('a client’s transaction that can’t begin, as a stream is open, has taken no turn', async () => {
  await transaction.run(async () => {
    await insert(3);
    const cursor = session.query(new Cursor('select generate_series(1, 50)'));
    await cursor.read(1);
    const client = await pool.connect();
    await assert.rejects(client.query('begin'), ConcurrentUseError);
    await cursor.close();
    await client.query('begin');
    await insert(4, client);
    await client.query('commit');
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('a ROLLBACK to clean up, which isn’t awaited: what comes behind it belongs to whom it would without', async () => {
  const client = new (session.driver(pg).Client)();
  assert.equal(await outcomes(client.query('rollback'), insert(3, client)), [undefined, undefined]);
  assert.equal(await db.ids(), [1, 2, 3]);
  await transaction.run(async () => {
    assert.equal(await outcomes(client.query('rollback'), insert(4, client)), [undefined, undefined]);
    await transaction.abort();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
  await client.end();
});

test('a client of a manager’s transaction that has ended isn’t one of the next', async () => {
  const manager = new TransactionManager();
  const own = db.another({ name: 'own', register: { coordinator: manager } });
  await manager.begin();
  const client = await own.session.pool().connect();
  await insert(3, client);
  await manager.commit();
  await manager.begin();
  assert.instance(await failureOf(insert(4, client)), TransactionClosed);
  await insert(5, own.session.pool());
  await manager.commit();
  client.release();
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('a client whose transaction ended with the one around it hears of that at its next BEGIN, and may begin again then', async () => {
  const client = new (session.driver(pg).Client)();
  await transaction.run(async () => {
    await client.query('begin');
    await insert(3, client);
    await transaction.abort();
  }, attempts);
  assert.instance(await failureOf(client.query('begin')), TransactionClosed);
  await client.query('begin');
  await insert(4, client);
  await client.query('commit');
  await client.end();
  assert.equal(await db.ids(), [1, 2, 4]);
});
