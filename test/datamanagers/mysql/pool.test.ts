import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import driver, { type PoolOptions } from 'mysql2/promise';
import {
  AcquireTimeoutError,
  ConcurrentUseError,
  DoomedTransaction,
  TransactionTimeoutError,
  transaction,
} from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { noting, onText, outcomes, says } from '../sql/helpers.ts';
import { Database, held, poolState, products, threadsOf, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`connections of the pool, and who has them, on ${product}`);
  const db = await Database.open(server, { name: 'pool', pool: { multipleStatements: true } });
  const plain = db.another({ name: 'plain', register: { twoPhase: false }, pool: { multipleStatements: true } });
  const { proxy, session } = db;
  test.after(() => db.close());
  test.after.each(async () => {
    proxy.onClientData = undefined;
    await db.assertClean();
    await db.reset();
    assert.equal(warnings, []);
  });
  const insert = (id: number, target = session): Promise<unknown> =>
    target.execute('insert into accounts values (?, 0)', [id]);
  const small = (options: PoolOptions = {}): driver.Pool =>
    driver.createPool({ uri: db.url, connectionLimit: 1, ...options });

  test('pitfall 10: requires-new on a pool of one is refused in bounded time, and says why', async () => {
    const one = small();
    const single = new MysqlSession(one, { name: 'single', acquireTimeoutMs: 300 });
    const error = await assert.rejects(
      transaction.run(async () => {
        await insert(3, single);
        await transaction.run(() => insert(4, single), { propagation: 'requires-new' });
      }),
      AcquireTimeoutError,
    );
    assert.match(error.message, /outer transaction/);
    assert.match(error.message, /'single'.*1 of 1, idle: 0/);
    assert.equal(await db.ids(), [1, 2]);
    await assert.eventually(() => poolState(one).waiting === 0 && held(one) === 0);
    // What was asked for in vain is not handed to nobody later.
    await transaction.run(() => insert(5, single));
    await one.end();
  });

  test('pitfall 10: a pool that lets nobody wait, or only so many, says so at once', async () => {
    for (const [options, said] of [
      [{ waitForConnections: false }, /No connections available.*waitForConnections/],
      [{ queueLimit: 1 }, /Queue limit reached.*queueLimit/],
    ] as const) {
      const one = small(options);
      const single = new MysqlSession(one, { name: 'single', acquireTimeoutMs: 2_000 });
      const holder = await one.getConnection();
      const waiting = one.getConnection().catch(() => undefined);
      const error = await assert.rejects(
        transaction.run(() => insert(3, single), attempts),
        AcquireTimeoutError,
      );
      assert.match(error.message, said);
      holder.release();
      (await waiting)?.release();
      await transaction.run(() => insert(3, single), attempts);
      await one.end();
      await db.reset();
    }
  });

  test('pitfall 10: a deadline, a signal and an abort end the wait for a connection', async () => {
    const one = small();
    const single = new MysqlSession(one, { name: 'single', acquireTimeoutMs: 20_000 });
    const holder = await one.getConnection();
    await assert.rejects(
      transaction.run(() => insert(3, single), { ...attempts, timeoutMs: 50 }),
      TransactionTimeoutError,
    );
    const controller = new AbortController();
    const signalled = transaction.run(() => insert(3, single), { ...attempts, signal: controller.signal });
    await assert.eventually(() => poolState(one).waiting > 0);
    controller.abort(new Error('enough'));
    await assert.rejects(signalled, DoomedTransaction);
    await transaction.run(async () => {
      const refused = assert.rejects(insert(3, single));
      await transaction.abort();
      await refused;
    }, attempts);
    holder.release();
    await assert.eventually(() => poolState(one).waiting === 0 && held(one) === 0);
    await one.end();
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a connection that can’t be had fails the statement, holds nothing, and the next statement may try again', async () => {
    proxy.refuse = true;
    const cold = driver.createPool({ uri: proxy.url(db.url) });
    const late = new MysqlSession(cold, { name: 'late' });
    await transaction.run(async () => {
      await assert.rejects(insert(3, late));
      proxy.refuse = false;
      await insert(3, late);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
    assert.is(held(cold), 0);
    await cold.end();
  });

  test('pitfall 11: 200 interleaved contexts over a pool of 10 never cross', async () => {
    const crossed: string[] = [];
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const id = 1_000 + i;
        const target = i % 2 === 0 ? session : plain.session;
        await transaction
          .run(async (txn) => {
            await insert(id, target);
            const [[{ mine }]] = await target.query('select connection_id() as mine');
            await target.query('set @unanimous_test = ?', [id]);
            for (let step = 0; step < 3; step++) {
              await sleep(Math.random() * 3);
              const [[row]] = await target.query('select connection_id() as mine, @unanimous_test as id');
              if (row.mine !== mine || Number(row.id) !== id) crossed.push(`${id} saw ${JSON.stringify(row)}`);
              if (transaction.current !== txn) crossed.push(`${id} is in another transaction`);
            }
            if (i % 5 === 0) throw new Error('aborted');
          }, attempts)
          .catch((error: Error) => {
            if (error.message !== 'aborted') throw error;
          });
      }),
    );
    assert.equal(crossed, []);
    assert.is((await db.ids()).length, 2 + 160);
  });

  test('pitfall 12: statements at once run in the order in which they were asked for', async () => {
    await db.admin.query('create table log (i int auto_increment primary key, what varchar(9)) engine=innodb');
    await transaction.run(async () => {
      await Promise.all(
        Array.from({ length: 30 }, (_, i) =>
          i % 3 === 0
            ? session.query(`insert into log (what) select concat('s${i}', left(sleep(0.002), 0))`)
            : session.execute('insert into log (what) values (?)', [`s${i}`]),
        ),
      );
    }, attempts);
    assert.equal(
      (await db.rows('select what from log order by i')).map(({ what }) => what),
      Array.from({ length: 30 }, (_, i) => `s${i}`),
    );
    await db.admin.query('drop table log');
  });

  test('pitfall 12: a commit with a statement in flight, or one that waits, refuses and stores nothing', async () => {
    for (const count of [1, 3]) {
      const { calls, manager } = noting();
      const pending: Promise<unknown>[] = [];
      await assert.rejects(
        transaction.run(async (txn) => {
          txn.join(manager);
          await insert(3);
          for (let i = 0; i < count; i++)
            pending.push(session.query(`insert into accounts select ${10 + i}, sleep(0.05)`));
          for (const each of pending) each.catch(() => undefined);
        }, attempts),
        ConcurrentUseError,
      );
      assert.not.ok(calls.includes('tpcFinish'));
      await outcomes(...pending);
      assert.equal(await db.ids(), [1, 2]);
      await db.assertClean();
    }
  });

  test('pitfall 12: commit() beside the first statement, for which a connection is still awaited', async () => {
    await transaction.context(async () => {
      await transaction.begin();
      const refused = assert.rejects(insert(3));
      await assert.rejects(transaction.commit(), ConcurrentUseError);
      await refused.catch(() => undefined);
      await transaction.abort();
    });
    assert.equal(await db.ids(), [1, 2]);
  });

  /** Makes the server refuse the next beginning, by another text of the same length. */
  function spoil(from: string, to: string): () => boolean {
    let spoiled = false;
    proxy.onClientData = (data) => {
      const at = data.toString('latin1').indexOf(from);
      if (at < 0) return;
      data.write(to, at, 'latin1');
      spoiled = true;
      proxy.onClientData = undefined;
    };
    return () => spoiled;
  }

  for (const [what, isolation, from, to] of [
    ['XA START', undefined, 'xa start', 'xb start'],
    ['XA START behind SET', 'serializable', 'xa start', 'xb start'],
    ['SET before XA START', 'serializable', 'set transaction', 'sex transaction'],
  ] as const) {
    test(`pitfall 13: ${what} that fails lets no statement run outside of the transaction`, async () => {
      const errors: unknown[] = [];
      const wasSpoiled = spoil(from, to);
      await assert.rejects(
        transaction.run(
          async () => {
            for (const id of [3, 4, 5]) await insert(id).catch((error: unknown) => errors.push(error));
            throw errors[0];
          },
          { ...attempts, isolation },
        ),
        { errno: 1064 },
      );
      assert.ok(wasSpoiled());
      assert.is(errors.length, 3);
      assert.equal(await db.ids(), [1, 2]);
    });
  }

  test('pitfall 13: many statements behind a first one that fails: none is stored', async () => {
    const pending: Promise<unknown>[] = [];
    await assert.rejects(
      transaction.run(async () => {
        pending.push(insert(1), insert(3), insert(4));
        await Promise.all(pending);
      }, attempts),
      { errno: 1062 },
    );
    await outcomes(...pending);
    assert.equal(await db.ids(), [1, 2]);
  });

  for (const [kind, target] of [
    ['a branch', session],
    ['a plain transaction', plain.session],
  ] as const) {
    test(`pitfall 15: what is behind an error in ${kind} never commits by itself: a deadlock has rolled all back`, async () => {
      const holder = await db.admin.getConnection();
      const errors = await outcomes(
        transaction.run(async () => {
          await insert(3, target);
          await target.query('update accounts set balance = 1 where id = 1');
          // Whoever has changed less is rolled back.
          await holder.query(
            'start transaction; update accounts set balance = 2 where id = 2; insert into accounts values (50, 0), (51, 0), (52, 0), (53, 0), (54, 0)',
          );
          const other = holder.query('update accounts set balance = 2 where id = 1').catch((error: Error) => error);
          await assert.eventually(() => isWaiting());
          await assert.rejects(target.query('update accounts set balance = 1 where id = 2'), { errno: 1213 });
          await other;
          await holder.query('rollback');
          const refused = await assert.rejects(insert(4, target), { code: 'ERR_TXN_STATE' });
          assert.match(refused.message, /rolled back by the server/);
          await assert.rejects(target.query('select 1'), { code: 'ERR_TXN_STATE' });
          await assert.rejects(target.execute('insert into accounts values (5, 0)'), { code: 'ERR_TXN_STATE' });
        }, attempts),
      );
      holder.release();
      assert.is((errors[0] as { code?: string }).code, 'ERR_TXN_SILENT_ROLLBACK');
      assert.equal(await db.ids(), [1, 2]);
    });

    test(`pitfall 15: ${kind} whose lock timeout rolled back all (innodb_rollback_on_timeout) is no half one`, async () => {
      // What that setting does, which is the server's, a ROLLBACK in a prepared statement does too, where it is possible.
      if (target === session) return;
      await assert.rejects(
        transaction.run(async () => {
          await insert(3, target);
          await target.query("prepare unseen from 'rollback'");
          await target.query('execute unseen');
          await insert(4, target);
        }, attempts),
        { code: 'ERR_TXN_STATE' },
      );
      assert.equal(await db.ids(), [1, 2]);
    });
  }

  /** Whether somebody waits for a lock. */
  async function isWaiting(): Promise<boolean> {
    const rows = await db.rows<{ info: string | null }>(
      "select info as info from information_schema.processlist where db = database() and command = 'Query'",
    );
    return rows.some(({ info }) => info?.startsWith('update accounts set balance = 2 where id = 1') === true);
  }

  test('pitfall 15: a procedure that commits inside of a plain transaction is noticed, and in a branch refused by the server', async () => {
    await db.admin.query('create procedure commits() begin insert into accounts values (9, 0); commit; end');
    const error = await assert.rejects(
      transaction.run(async () => {
        await insert(3, plain.session);
        await plain.session.query('call commits()');
        await insert(4, plain.session);
      }, attempts),
      { code: 'ERR_TXN_STATE' },
    );
    assert.match(error.message, /ended it at the server/);
    assert.equal(await db.ids(), [1, 2, 3, 9]);
    await db.reset();
    // Swallowed, it is no commit either.
    await assert.rejects(
      transaction.run(async () => {
        await insert(3, plain.session);
        await plain.session.query('call commits()').catch(() => undefined);
      }, attempts),
      { code: 'ERR_TXN_STATE' },
    );
    await db.reset();
    await assert.rejects(
      transaction.run(async () => {
        await insert(3);
        await session.query('call commits()');
      }, attempts),
      { errno: 1399 },
    );
    assert.equal(await db.ids(), [1, 2]);
    await db.admin.query('drop procedure commits');
  });

  test('pitfall 15: nothing of a transaction is open for the next user of its connection', async () => {
    const one = small();
    const single = new MysqlSession(one, { name: 'single' });
    const works: Record<string, () => Promise<unknown>> = {
      commits: () => insert(3, single),
      reads: () => single.query('select * from accounts'),
      aborts: () => insert(4, single).then(() => Promise.reject(new Error('no'))),
      fails: () => insert(1, single),
      swallows: () => insert(1, single).catch(() => undefined),
      prepares: () => insert(5, single).then(() => insert(6)),
      'is cancelled': () => single.query('select sleep(5)'),
    };
    for (const [what, work] of Object.entries(works)) {
      await transaction.run(work, { ...attempts, timeoutMs: 200 }).catch(() => undefined);
      const connection = await one.getConnection();
      const [header] = await connection.query('update accounts set balance = balance + 1 where id = 1');
      assert.is((header as unknown as { serverStatus: number }).serverStatus & 1, 0, what);
      const balance = await db.balance(1);
      await connection.query('rollback');
      assert.is(await db.balance(1), balance, what);
      connection.release();
    }
    assert.is(await db.balance(1), 107);
    await one.end();
  });

  test('pitfall 15: a connection that was told to USE another database isn’t for the next user', async () => {
    const one = small();
    const single = new MysqlSession(one, { name: 'single' });
    await transaction.run(async () => {
      await insert(3, single);
      await single.query('use information_schema');
    }, attempts);
    const [[row]] = await one.query<any>('select database() as name');
    assert.match(row.name, /unanimous_pool/);
    assert.equal(await db.ids(), [1, 2, 3]);
    await one.end();
  });

  test('pitfall 15: wait_timeout is what it was after a prepared branch has ended', async () => {
    const one = small();
    const single = new MysqlSession(one, { name: 'single' });
    const wait = async (): Promise<number> => (await one.query<any>('select @@session.wait_timeout as s'))[0][0].s;
    const before = await wait();
    for (const fails of [false, true]) {
      const { manager } = noting('~~');
      await transaction
        .run(async (txn) => {
          if (fails) txn.join({ ...manager, tpcVote: () => Promise.reject(new Error('no')) });
          await insert(5, single);
          await insert(6);
        }, attempts)
        .catch(() => undefined);
      assert.is(await wait(), before);
    }
    await one.end();
  });

  test('a connection that is lost while XA START is on its way is none of the pool any more', async () => {
    onText(proxy, 'xa start', (link) => {
      link.cut();
      return false;
    });
    await assert.rejects(
      transaction.run(() => insert(3), attempts),
      { code: 'ERR_TXN_CONNECTION_LOST' },
    );
    assert.is(held(db.pool), 0);
  });

  for (const settings of [
    { namedPlaceholders: true },
    { rowsAsArray: true },
    { nestTables: true },
    { nestTables: '_' },
    { typeCast: false },
    { typeCast: () => 'cast' },
    { supportBigNumbers: true, bigNumberStrings: true },
    { decimalNumbers: true },
    { dateStrings: true },
    { compress: true },
    { compress: true, namedPlaceholders: true },
    { multipleStatements: true },
    { flags: ['-FOUND_ROWS'] },
    { charset: 'latin1' },
    { disableEval: true },
    { enableKeepAlive: false, maxIdle: 1, idleTimeout: 10 },
    { resetOnRelease: true },
    { gracefulEnd: true },
    { trace: false },
    { queryFormat: (sql: string, values: unknown) => driver.format(sql.replaceAll('!?', '?'), values as never) },
  ] as PoolOptions[]) {
    const what = inspect(settings, { breakLength: Infinity });
    test(`a pool with settings of its own works, and they don’t reach what is asked beside it: ${what}`, async () => {
      const own = driver.createPool({ uri: db.url, connectionLimit: 3, ...settings });
      const mine = new MysqlSession(own, { name: 'settings' });
      await mine.check();
      for (let round = 0; round < 2; round++) {
        await transaction.run(async () => {
          await mine.execute({ sql: 'insert into accounts values (?, ?)', namedPlaceholders: false }, [
            10 + round,
            round,
          ]);
          const savepoint = await transaction.savepoint();
          await assert.rejects(mine.query('insert into accounts values (1, 0)'), { errno: 1062 }, what);
          await savepoint.rollback();
        }, attempts);
        await transaction.run(
          async (txn) => {
            await mine.query(`insert into accounts values (${20 + round}, 0)`);
            await insert(30 + round);
            // Over connections of its own, where what the application likes must not matter.
            txn.join({
              ...noting('!').manager,
              tpcFinish: async () => {
                assert.equal(await mine.listPrepared(), [{ gid: txn.id, branch: 'settings' }], what);
                await killAll(own);
              },
            });
          },
          { ...attempts, isolation: 'serializable' },
        );
        await assert.rejects(
          transaction.run(async () => {
            await mine.query('insert into accounts values (99, 0)');
            await mine.query('selectt').catch(() => undefined);
          }, attempts),
          { code: 'ERR_TXN_SILENT_ROLLBACK' },
          what,
        );
        await assert.rejects(
          transaction.run(() => mine.query('select sleep(5)'), { ...attempts, timeoutMs: 50 }),
          TransactionTimeoutError,
        );
      }
      assert.equal(await db.ids(), [1, 2, 10, 11, 20, 21, 30, 31], what);
      await assert.eventually(() => held(own) === 0);
      await own.end();
      await db.reset();
    });
  }

  /** Ends all connections of a pool: what is prepared must be ended over another one. */
  async function killAll(pool: unknown): Promise<void> {
    for (const thread of threadsOf(pool)) await db.admin.query(`kill connection ${thread}`);
  }

  test('TLS, where the server has it', async () => {
    const own = driver.createPool({ uri: db.url, ssl: { rejectUnauthorized: false } });
    const [rows] = await own.query<any>("show status like 'Ssl_cipher'").catch(() => [[]]);
    if (rows[0] === undefined || rows[0].Value === '') {
      await own.end().catch(() => undefined);
      return;
    }
    const secure = new MysqlSession(own, { name: 'secure' });
    await transaction.run(async (txn) => {
      await insert(3, secure);
      await insert(4);
      txn.join({
        ...noting('!').manager,
        tpcFinish: () => killAll(own),
      });
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
    await assert.rejects(
      transaction.run(() => secure.query('select sleep(5)'), { ...attempts, timeoutMs: 50 }),
      TransactionTimeoutError,
    );
    await own.end();
  });

  test('a pool that has ended is a plain rejection, and the transaction ends', async () => {
    const ended = small();
    const late = new MysqlSession(ended, { name: 'ended' });
    await ended.end();
    await assert.rejects(
      transaction.run(() => late.query('select 1'), attempts),
      says(/Pool is closed/),
    );
    await assert.rejects(late.check(), says(/Pool is closed/));
  });
}
