// Protects what is told, and what is given back, where a connection is lost at a moment at which hardly any is.
import type pg from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { AcquireTimeoutError, ConnectionLostError, markChanged, TransactionClosed, transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf, plain } from '../sql/helpers.ts';
import { Database, onText } from './setup.ts';

const test = suite('connections that are lost at odd moments', { timeoutMs: 60_000 });
const server = await postgres();
const db = await Database.open(server, { name: 'moments', acquireTimeoutMs: 500 });
const behind = await Database.open(server, { name: 'behind', commitsBehindStatements: true });
test.after(() => Promise.all([db.close(), behind.close()]));
test.after.each(async () => {
  for (const each of [db, behind]) {
    each.proxy.onClientData = each.proxy.onServerData = undefined;
    each.proxy.release();
    await each.assertClean();
    await each.reset();
  }
});

const attempts = { attempts: 1 };
const { session } = db;
const insert = (id: number): Promise<unknown> => session.query('insert into accounts values ($1, 0)', [id]);

/** Waits until the server runs a statement that holds `text`. */
const runs = (database: Database, text: string): Promise<unknown> =>
  assert.eventually(async () =>
    (await database.activity()).some(({ state, query }) => state === 'active' && query.includes(text)),
  );

test('the application ends a connection itself while a statement is under way: it is lost, and not given to anybody else', async () => {
  const clients: pg.Client[] = [];
  const own = db.another({ name: 'ending' });
  own.pool.on('connect', (client) => void clients.push(client as unknown as pg.Client));
  const error = await failureOf(
    transaction.run(async () => {
      await own.session.query('insert into accounts values (3, 0)');
      const sleeping = own.session.query('select pg_sleep(60)');
      await runs(db, 'pg_sleep');
      for (const client of clients) void client.end();
      await sleeping;
    }, attempts),
  );
  assert.instance(error, ConnectionLostError);
  assert.match(error.message, /Connection terminated/);
  assert.is(own.pool.totalCount, 0);
  await transaction.run(() => own.session.query('insert into accounts values (4, 0)'), attempts);
  await db.terminate("query like '%pg_sleep%'");
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('a cursor on a connection that was lost before is told so', async () => {
  const error = await failureOf(
    transaction.run(async () => {
      await insert(3);
      await db.terminate();
      await assert.eventually(async () => (await failureOf(session.query('select 1'))) !== undefined);
      const cursor = session.query(new Cursor('select 1'));
      assert.instance(await failureOf(cursor.read(1)), ConnectionLostError);
    }, attempts),
  );
  assert.instance(error, ConnectionLostError);
  assert.equal(await db.ids(), [1, 2]);
});

test('the process of a statement is terminated with the COMMIT behind it: nothing is stored, and it may be tried again', async () => {
  let sleeping: Promise<any> | undefined;
  const committed = failureOf(
    transaction.run(async () => {
      await behind.session.query('insert into accounts values ($1, 0)', [3]);
      sleeping = failureOf(behind.session.query('select pg_sleep(60), $1::int', [1]));
    }, attempts),
  );
  await runs(behind, 'pg_sleep');
  await behind.terminate("query like '%pg_sleep%'");
  assert.instance(await committed, ConnectionLostError);
  assert.is((await sleeping).code, '57P01');
  assert.equal(await behind.ids(), [1, 2]);
});

test('a query that keeps its error to itself: the COMMIT that the server answers by ROLLBACK is an error', async () => {
  class Silent extends Cursor {
    override submit(connection: never): void {
      // Whatever was put around it: only the query itself is told.
      Object.assign(this, { handleError: (Cursor.prototype as unknown as { handleError: unknown }).handleError });
      super.submit(connection);
    }
  }
  const error = await failureOf(
    transaction.run(async () => {
      await insert(3);
      await failureOf(session.query(new Silent('select 1 / 0')).read(1));
    }, attempts),
  );
  assert.is(error.code, 'ERR_TXN_SILENT_ROLLBACK');
  assert.is(error.cause, undefined);
  assert.equal(await db.ids(), [1, 2]);
});

test('a stream that can’t be stopped, as the server is silent, doesn’t hold up an abort for ever: its connection is cut', async () => {
  await transaction.run(async () => {
    await insert(3);
    const stream = session.query(new QueryStream('select generate_series(1, 100000) as n', [], { batchSize: 5 }));
    stream.on('error', () => undefined);
    await new Promise<void>((resolve) => stream.once('readable', () => resolve()));
    db.proxy.hold();
    await transaction.abort();
  }, attempts);
  db.proxy.release();
  assert.equal(await db.ids(), [1, 2]);
});

test('the reply to the COMMIT of serializable reads is lost: nothing can have been stored, so it may be tried again', async () => {
  onText(db.proxy, 'commit', (link) => {
    link.cut();
    return false;
  });
  const read = (): Promise<unknown> => session.query('select * from accounts');
  const options = { readOnly: true, isolation: 'serializable' } as const;
  const error = await failureOf(transaction.run(read, { ...attempts, ...options }));
  assert.instance(error, ConnectionLostError);
});

test('the COMMIT of serializable reads takes longer than the pool allows: that is the error, and the connection is given back', async () => {
  const slow = await Database.open(server, { name: 'slow', pool: { query_timeout: 2_000 } });
  let letGo: (() => void) | undefined;
  let isAskedToStop = false;
  slow.proxy.onClientData = (data, link) => {
    const text = data.toString('latin1').toLowerCase();
    isAskedToStop ||= text.includes('pg_cancel_backend');
    if (letGo !== undefined || !text.includes('commit')) return undefined;
    letGo = () => void link.server.write(data);
    return false;
  };
  const options = { readOnly: true, isolation: 'serializable' } as const;
  const ended = failureOf(
    transaction.run(() => slow.session.query('select * from accounts'), { ...attempts, ...options }),
  );
  try {
    // Over another connection, which has ended when the statement has.
    await assert.eventually(() => isAskedToStop && slow.proxy.links.size === 1);
    letGo!();
    assert.is((await ended).message, 'Query read timeout');
    await slow.assertClean();
  } finally {
    await slow.close();
  }
});

test('serializable reads beside another database’s writes end by a COMMIT too, which keeps others from making them wrong', async () => {
  const ends: string[] = [];
  db.proxy.onClientData = (data) => {
    const text = data.toString('latin1');
    if (/commit|rollback/i.test(text)) ends.push(text);
    return undefined;
  };
  await transaction.run(
    async () => {
      await behind.session.query('insert into accounts values (3, 0)');
      await session.query('select * from accounts');
    },
    { ...attempts, isolation: 'serializable' },
  );
  assert.is(ends.length, 1);
  assert.match(ends[0]!, /commit/);
  assert.equal(await behind.ids(), [1, 2, 3]);
});

test('a connection that can’t be had after all, when nobody waits for it any more, is no error of anybody’s', async () => {
  const late = await Database.open(server, { name: 'late', acquireTimeoutMs: 200 });
  late.proxy.hold();
  const refused = await failureOf(
    transaction.run(async () => {
      const error = await failureOf(late.session.query('select 1'));
      late.proxy.cut();
      await assert.eventually(() => late.pool.totalCount === 0);
      throw error;
    }, attempts),
  );
  assert.instance(refused, AcquireTimeoutError);
  late.proxy.release();
  await late.assertClean();
  await late.close();
});

test('statements that wait for a connection together: where the first can’t have one, each of the others asks for itself', async () => {
  const cold = await Database.open(server, { name: 'cold' });
  cold.proxy.refuse = true;
  const add = (id: number): Promise<unknown> => cold.session.query('insert into accounts values ($1, 0)', [id]);
  await transaction.run(async () => {
    for (const error of await Promise.all([3, 4].map((id) => failureOf(add(id))))) assert.instance(error, Error);
    cold.proxy.refuse = false;
    await add(5);
  }, attempts);
  assert.equal(await cold.ids(), [1, 2, 5]);
  await cold.assertClean();
  await cold.close();
});

test('a session is marked as changed when its part has been closed for work: refused', async () => {
  await transaction.run(async (txn) => {
    await insert(3);
    const commit = (): void =>
      assert.throws(
        () => markChanged(session),
        (error: unknown) => error instanceof TransactionClosed,
      );
    txn.join(plain('~~', { commit }));
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
});
