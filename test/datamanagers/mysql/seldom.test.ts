// Protects a session of MySQL or MariaDB in what seldom happens: servers and users that can do less, pools that others have made or that wait
// for a server, what libraries call that needs nothing, and errors that say less than usual.
import mysql, { type Connection, type QueryError } from 'mysql2';
import driver from 'mysql2/promise';
import {
  ConfigurationError,
  ConnectionLostError,
  TransactionCoordinator,
  TransactionStateError,
  outboxed,
  register,
  transaction,
} from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { checkServer } from '../../../datamanagers/mysql/check.ts';
import { type MysqlCorePool, corePoolOf, errorNumber } from '../../../datamanagers/mysql/driver.ts';
import { openConnection } from '../../../datamanagers/mysql/out-of-band.ts';
import { PrivatePool } from '../../../datamanagers/mysql/private-pool.ts';
import { endPrepared, unowned } from '../../../datamanagers/mysql/resolve.ts';
import { tcpProxy } from '../../support/proxy.ts';
import { assert, suite } from '../../support/suite.ts';
import { onText, says } from '../sql/helpers.ts';
import { Database, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`what seldom happens on ${product}`, { timeoutMs: 60_000 });
  const options = { name: 'seldom', acquireTimeoutMs: 10_000, endTimeoutMs: 10_000, resolveTimeoutMs: 10_000 };
  const db = await Database.open(server, options);
  const { session, pool, proxy } = db;
  const core = corePoolOf(pool)!;
  test.after.each(async () => {
    proxy.onClientData = undefined;
    proxy.onServerData = undefined;
    proxy.refuse = false;
    await db.assertClean();
    await db.reset();
    assert.equal(warnings.splice(0), []);
  });
  test.after(() => db.close());
  const insert = (id: number): Promise<unknown> => session.query('insert into accounts values (?, 0)', [id]);

  test('a statement whose stream is lost in the middle is told as a lost connection', async () => {
    const error = await assert.rejects(
      transaction.run(async () => {
        const stream = session.queryStream('select * from accounts a, accounts b, accounts c');
        onText(proxy, 'select', (link) => {
          link.cut();
          return false;
        });
        for await (const _ of stream) assert.unreachable('no row can have come');
      }, attempts),
    );
    assert.instance(error, ConnectionLostError);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a library may close, pause and describe its connection in every way that mysql2 has, and the transaction goes on', async () => {
    const enlisted = session.pool() as typeof pool;
    await transaction.run(async () => {
      for (const leave of ['destroy', 'close', 'end', 'release'] as const) {
        const connection = await new Promise<Connection & Record<string, any>>((resolve, reject) =>
          enlisted.pool.getConnection((error, given) => (error ? reject(error) : resolve(given as never))),
        );
        connection.pause();
        connection.resume();
        assert.is(connection['state'], 'authenticated');
        connection[leave]();
      }
      const disposed = await enlisted.getConnection();
      const inner = (disposed as unknown as { connection: Disposable & { changeUser: Function } }).connection;
      for (const args of [[{ user: 'x' }], []]) {
        const refused = await new Promise<Error>((resolve) => inner.changeUser(...args, resolve));
        assert.instance(refused, TransactionStateError);
      }
      inner[Symbol.dispose]();
      await insert(3);
    });
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('an error that is no server’s has no number', () => {
    assert.is(errorNumber(undefined), undefined);
    assert.is(errorNumber(new Error('x')), undefined);
    assert.is(errorNumber({ errno: 1062, sqlState: '23000' }), 1062);
  });

  test('a server whose version says less than it should is taken by what it says', async () => {
    const saying = (version: string) => async (text: string) =>
      (text.includes('version') ? [{ version, v: version }] : []) as never;
    await assert.rejects(checkServer(saying('5'), 'own', false), ConfigurationError);
    await assert.rejects(checkServer(saying('10.5.1-MariaDB'), 'own', false), ConfigurationError);
    await checkServer(saying('8'), 'own', false);
  });

  test('a branch that nobody owns and the server does not name is unowned', async () => {
    const xid = { gid: 'nobodys', branch: 'seldom' };
    assert.equal(await unowned(async () => [], [xid]), [xid]);
    assert.equal(await unowned(async () => [{ owner0: 7 }] as never, [xid]), []);
  });

  test('an XA COMMIT whose connection is lost is sent again over another one', async () => {
    let sent = 0;
    proxy.onClientData = (data, link) => {
      if (!data.toString('latin1').includes('xa commit')) return undefined;
      sent++;
      if (sent === 1) link.cut();
      return sent > 1;
    };
    const question = { pool: core, timeoutMs: 15_000, owner: undefined } as never;
    // As nothing is prepared by that name, it has been ended.
    await endPrepared(question, 'commit', { gid: 'none', branch: 'seldom' });
    assert.is(sent, 2);
  });

  test('a server that can not be reached is told by the connection of a library too', async () => {
    const made = session.driver(mysql).createPool({});
    proxy.refuse = true;
    await db.cut();
    const error = await new Promise<Error | null>((resolve) => made.getConnection((failed) => resolve(failed)));
    assert.ok(error);
    const connection = session.driver(mysql).createConnection({});
    const refused = await new Promise<QueryError | null>((resolve) => connection.query('select 1', resolve as never));
    assert.ok(refused);
    proxy.refuse = false;
  });

  test('a library may say nothing of what it wants, or options for each statement', async () => {
    const made = session.driver(mysql).createPool(undefined as never);
    const rows = await new Promise((resolve, reject) =>
      made.query({ sql: 'select ? as n', values: [1] }, (error: Error | null, found: unknown) =>
        error ? reject(error) : resolve(found),
      ),
    );
    assert.equal(rows, [{ n: 1 }]);
  });

  test('a library that wants values to be cast as usual is refused where the pool casts them its own way', async () => {
    const own = driver.createPool({ uri: db.url, typeCast: (_field, next) => next() });
    const casting = register(new MysqlSession(own, { name: 'casting' }));
    assert.throws(() => casting.driver(mysql).createPool({ typeCast: true }), says(/typeCast must be for the pool/));
    await own.end();
  });

  test('a connection that comes too late is not used, and none is opened for who has given up', async () => {
    const silent = await tcpProxy(server.port);
    const own = driver.createPool({ uri: silent.url(server.url) });
    silent.hold();
    const late = await assert.rejects(openConnection(corePoolOf(own)!, 100));
    assert.match((late as Error).message, /did not answer within 100 ms/);
    silent.release();
    // Its socket is closed, rather than left to be connected.
    await assert.eventually(() => silent.links.size === 0);
    await own.end();
    await silent.close();
  });

  test('the decision store’s own connections are opened one for each, wait for their turn, and are given up where they fail', async () => {
    const through = await tcpProxy(server.port);
    const own = driver.createPool({ uri: through.url(db.url) });
    const store = new PrivatePool(corePoolOf(own)!, 15_000);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => store.query<{ n: number }>(`select ${n} as n`)),
    );
    assert.equal(
      answers.map(({ rows }) => rows[0]!.n),
      Array.from({ length: 20 }, (_, n) => n),
    );
    await assert.rejects(store.query('select nothing from nowhere'), { errno: 1146 });
    await assert.rejects(
      store.transaction(async (ask) => {
        await ask('insert into accounts values (9, 9)');
        throw new Error('thrown');
      }),
      says(/thrown/),
    );
    assert.equal(await db.ids(), [1, 2]);
    onText(through, 'select 42', (link) => {
      link.cut();
      return false;
    });
    await assert.rejects(store.query('select 42'));
    const hasty = new PrivatePool(corePoolOf(own)!, 500);
    const slow = Array.from({ length: 20 }, () => hasty.query('select sleep(20)').catch((error: Error) => error));
    const errors = (await Promise.all(slow)).filter((each) => each instanceof Error);
    hasty.end();
    assert.is(errors.length, 20);
    assert.is((await store.query<{ n: number }>('select 1 as n')).rows[0]!.n, 1);
    through.refuse = true;
    through.cut();
    await assert.eventually(() => through.links.size === 0);
    await assert.rejects(store.query('select 1'));
    through.refuse = false;
    assert.is((await store.query<{ n: number }>('select 2 as n')).rows[0]!.n, 2);
    store.end();
    await own.end();
    await through.close();
  });

  test('a pool that says less of itself than mysql2 does is described by what it says', async () => {
    const own = driver.createPool({ uri: db.url, connectionLimit: 1 });
    const inner = corePoolOf(own)!;
    const quiet = Object.create(inner, {
      getConnection: { value: inner.getConnection.bind(inner) },
      _allConnections: { value: undefined },
      _freeConnections: { value: undefined },
      _connectionQueue: { value: undefined },
      config: { value: { connectionConfig: inner.config.connectionConfig } },
    }) as MysqlCorePool;
    const silent = register(new MysqlSession(quiet as never, { name: 'quiet', acquireTimeoutMs: 200 }));
    const held = await own.getConnection();
    const error = await assert.rejects(transaction.run(() => silent.query('select 1'), attempts));
    assert.match((error as Error).message, /connections in its pool: \? of \?, idle: \?, waiting for one: \?/);
    held.release();
    await own.end();
  });

  test('a reader’s pool is checked as well', async () => {
    const reader = driver.createPool({ uri: db.url });
    const own = register(new MysqlSession(pool, { name: 'read', readerPool: reader }));
    await own.check();
    const nowhere = driver.createPool({ host: '127.0.0.1', port: 1 });
    const lost = register(new MysqlSession(pool, { name: 'lost', readerPool: nowhere, acquireTimeoutMs: 10_000 }));
    await assert.rejects(lost.check());
    await reader.end();
    await nowhere.end();
  });

  test('a server that could not be checked before the first transaction is checked before the next one', async () => {
    const through = await tcpProxy(server.port);
    const own = driver.createPool({ uri: through.url(db.url) });
    const preparing = register(new MysqlSession(own, { name: 'preparing', acquireTimeoutMs: 10_000 }), {
      twoPhase: true,
    });
    through.refuse = true;
    await assert.rejects(transaction.run(() => preparing.query('select 1'), attempts));
    through.refuse = false;
    await transaction.run(() => preparing.query('select 1'), attempts);
    await own.end();
    await through.close();
  });

  test('a decision log is made of a session of MySQL and of nothing else', () => {
    for (const wrong of [undefined, {}, pool]) {
      assert.throws(() => new MysqlDecisionLog(wrong as never), says(/needs the session of its database/));
    }
  });

  test('what is stored with a decision is stored by the commit that carries it, or not at all', async () => {
    const coordinator = new TransactionCoordinator();
    const { session: deciding } = db.another({ name: 'deciding', register: { coordinator } });
    const log = new MysqlDecisionLog(deciding, { tablePrefix: 'seldom_' });
    coordinator.configure({ decisionLog: log });
    const called: unknown[] = [];
    const call = outboxed('seldom', (payload: unknown) => void called.push(payload), { coordinator });
    const work = async (id: number): Promise<void> => {
      await deciding.query('insert into accounts values (?, 0)', [id]);
      call(id);
    };
    await coordinator.run(() => work(3));
    await assert.rejects(coordinator.run(() => work(3), attempts));
    await coordinator.recover();
    assert.equal(called, [3]);
    assert.equal(await db.ids(), [1, 2, 3]);
    // Whoever fences and is told something else than that it must wait hears that.
    await coordinator.close();
    await db.admin.query('drop table seldom_lease');
    const another = new MysqlDecisionLog(deciding, { tablePrefix: 'seldom_' });
    await assert.rejects(another.fence('nobody'), { errno: 1146 });
    await another.close();
    await db.admin.query('drop table if exists seldom_node, seldom_decision');
  });
}
