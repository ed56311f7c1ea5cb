// The pitfalls of pitfalls.test.ts, where a library works by the pool of a session.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PoolConnection, RowDataPacket } from 'mysql2/promise';
import {
  AcquireTimeoutError,
  ConcurrentUseError,
  ConfigurationError,
  DoomedTransaction,
  SilentRollbackError,
  TransactionClosed,
  TransactionTimeoutError,
  transaction,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { onText, outcomes } from '../sql/helpers.ts';
import { Library, attempts } from './enlisting-setup.ts';
import { products } from './setup.ts';

for (const { product, server } of await products()) {
  const test = suite(`what goes wrong elsewhere, through the enlisting pool of ${product}`);
  const library = await Library.open(server, test);
  const { db, pool, core } = library;
  const { pool: plain, session } = db;
  const insert = library.insert.bind(library);

  test('pitfall 13: what was asked for behind a SET TRANSACTION or BEGIN that fails doesn’t run alone', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      for (const texts of [
        ['set transaction isolation level serializable', 'begin'],
        ['start transaction read only'],
      ]) {
        const errors = await outcomes(
          ...texts.map((text) => connection.query(text)),
          insert(3, connection),
          connection.query('commit'),
        );
        for (const error of errors) assert.instance(error, ConfigurationError);
        await connection.query('rollback');
      }
      await insert(4, connection);
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  test('pitfall 1: a library’s COMMIT over a swallowed error is an error, and what it had done is undone', async () => {
    await transaction.run(async () => {
      await insert(3);
      const error = await assert.rejects(
        library.transaction(async (connection) => {
          await insert(4, connection);
          await insert(1, connection).catch(() => undefined);
        }),
        SilentRollbackError,
      );
      assert.is((error.cause as { errno: number }).errno, 1062);
      await insert(5);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 5]);
  });

  test('pitfall 2: a connection, and the pool, refuse work that outlives the transaction', async () => {
    let kept!: PoolConnection;
    let late!: Promise<unknown>;
    for (const open of [false, true]) {
      let tell!: () => void;
      const aborted = new Promise<void>((resolve) => (tell = resolve));
      await transaction
        .run(async () => {
          const connection = await pool.getConnection();
          kept = connection;
          await insert(3, connection);
          if (open) {
            await connection.query('begin');
            await insert(4, connection);
          }
          const attempt = (work: () => Promise<unknown>): Promise<unknown> =>
            assert.rejects(
              aborted.then(() => work()),
              TransactionClosed,
            );
          late = Promise.all([
            attempt(() => insert(5, connection)),
            attempt(() => connection.query('begin')),
            attempt(() => connection.ping()),
            attempt(() => connection.prepare('select 1')),
            attempt(() => insert(6)),
            attempt(() => pool.getConnection()),
            attempt(() => new Promise((_, reject) => core.getConnection((error) => reject(error!)))),
            attempt(() => new Promise((_, reject) => core.query('delete from accounts', (error) => reject(error!)))),
            attempt(() => new Promise((_, reject) => core.query('delete from accounts').on('error', reject))),
            attempt(() => core.query('select 1').stream().toArray()),
          ]);
          await transaction.abort();
          tell();
        }, attempts)
        .catch(() => undefined);
      await late;
      // Whoever has the connection still, from outside of any transaction: it doesn't become the plain pool's.
      await assert.rejects(insert(7, kept), TransactionClosed);
      await kept.query('rollback');
      if (!open) await assert.rejects(kept.query('commit'), TransactionClosed);
      kept.release();
      assert.equal(await db.ids(), [1, 2]);
    }
  });

  test('pitfall 2: the next transaction of the same context isn’t the connection’s', async () => {
    await transaction.context(async () => {
      await transaction.begin();
      const connection = await pool.getConnection();
      await insert(3, connection);
      await transaction.commit();
      await transaction.begin();
      await insert(4);
      await assert.rejects(insert(5, connection), TransactionClosed);
      await transaction.commit();
      connection.release();
    });
    assert.equal(await db.ids(), [1, 2, 3, 4]);
  });

  test('pitfall 3: an abort with a library’s transaction open leaves no row, and nothing follows the ROLLBACK', async () => {
    const sent: string[] = [];
    db.proxy.onClientData = (data) => void sent.push(data.toString('latin1').toLowerCase());
    const siblings: Promise<unknown>[] = [];
    let connection!: PoolConnection;
    await assert.rejects(
      transaction.run(async () => {
        connection = await pool.getConnection();
        await connection.query('begin');
        await insert(3, connection);
        siblings.push(
          connection.query('insert into accounts select 4, sleep(0.1)'),
          insert(5, connection),
          insert(6),
          session.query('insert into accounts values (7, 0)'),
          library.transaction((other) => insert(8, other)),
        );
        await Promise.all([...siblings, sleep(20).then(() => Promise.reject(new Error('one fails')))]);
      }, attempts),
      { message: 'one fails' },
    );
    const errors = await outcomes(...siblings);
    for (const error of errors.slice(1)) assert.instance(error, TransactionClosed);
    await assert.rejects(connection.query('commit'), TransactionClosed);
    await connection.query('rollback');
    connection.release();
    await sleep(30);
    assert.match(sent.at(-1)!, /xa rollback/);
    assert.equal(await db.ids(), [1, 2]);
  });

  test('pitfall 4: libraries’ transactions at the same time take turns, and lose no row', async () => {
    for (let round = 0; round < 5; round++) {
      await transaction.run(async () => {
        const ended = await outcomes(
          ...[10, 11, 12, 13, 14, 15].map((id) =>
            library.transaction(async (connection) => {
              await insert(id, connection);
              await sleep(Math.random() * 3);
              if (id % 3 === 0) throw new Error(`${id} fails`);
              await insert(id + 100, connection);
            }),
          ),
          insert(50),
          session.query('insert into accounts values (51, 0)'),
        );
        assert.equal(
          ended.map((error) => error?.message),
          [undefined, undefined, '12 fails', undefined, undefined, '15 fails', undefined, undefined],
        );
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 10, 11, 13, 14, 50, 51, 110, 111, 113, 114]);
      await db.reset();
    }
  });

  test('pitfall 4: a nested run that begins beside a library’s transaction waits for its end', async () => {
    await transaction.run(async () => {
      let nested!: Promise<unknown>;
      await assert.rejects(
        library.transaction(async (connection) => {
          await insert(3, connection);
          nested = transaction.run(
            async () => {
              await insert(5);
              await library.transaction((other) => insert(6, other));
            },
            { propagation: 'nested' },
          );
          await sleep(20);
          await insert(4, connection);
          throw new Error('the library’s');
        }),
        { message: 'the library’s' },
      );
      await nested;
      await insert(7);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 5, 6, 7]);
  });

  test('pitfall 4: many in a row may take longer than the limit, as long as each has its turn', async () => {
    await transaction.run(async () => {
      await Promise.all(
        [10, 11, 12, 13, 14, 15, 16, 17].map((id) =>
          library.transaction(async (connection) => {
            await insert(id, connection);
            await sleep(80);
          }),
        ),
      );
    }, attempts);
    assert.is((await db.ids()).length, 10);
  });

  test('pitfall 4: a statement that goes past the library’s handle is refused in time, and told how to go on', async () => {
    for (const astray of [
      () => insert(4),
      () => session.query('insert into accounts values (4, 0)'),
      () => pool.getConnection().then((other) => insert(4, other).finally(() => other.release())),
      () => library.transaction((other) => insert(4, other)),
    ] as (() => Promise<unknown>)[]) {
      await transaction.run(async () => {
        const error = await assert.rejects(
          library.transaction(async (connection) => {
            await insert(3, connection);
            await astray();
          }),
          ConcurrentUseError,
        );
        assert.match(error.message, /300 ms \(acquireTimeoutMs\).*handle/);
        await insert(5);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 5]);
      await db.reset();
    }
  });

  test('pitfall 4: the deadline ends a wait for a turn before the limit does', async () => {
    await assert.rejects(
      transaction.run(
        () =>
          library.transaction(async (connection) => {
            await insert(3, connection);
            await insert(4);
          }),
        { ...attempts, timeoutMs: 100 },
      ),
      TransactionTimeoutError,
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  test('pitfall 4: a nested run inside of a library’s transaction is refused in time, rather than rolled back with it', async () => {
    await assert.rejects(
      transaction.run(
        () =>
          library.transaction(async (connection) => {
            await insert(3, connection);
            await transaction.run(() => insert(4, connection), { propagation: 'nested' });
          }),
        attempts,
      ),
      ConcurrentUseError,
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  for (const [what, { text, abort }] of Object.entries({
    'its SAVEPOINT': { text: 'savepoint unanimous' },
    'the first statement': { text: 'insert into accounts' },
    'its RELEASE': { text: 'release savepoint' },
    'its ROLLBACK TO': { text: 'rollback to savepoint', abort: true },
  })) {
    for (const [how, fail] of Object.entries({
      'the link is cut': (link: { cut(): void }) => {
        link.cut();
        return false;
      },
      'the connection is killed': () => {
        void db.terminate();
        return undefined;
      },
    })) {
      test(`pitfall 5: nothing leaks, and nothing is stored, when ${how} at ${what} of a library’s transaction`, async () => {
        let wasAsked = false;
        await assert.rejects(
          transaction.run(
            async () => {
              await pool.query('select 1');
              wasAsked = true;
              onText(db.proxy, text, fail);
              await library
                .transaction(async (connection) => {
                  await insert(3, connection);
                  if (abort === true) throw new Error('aborted');
                  await connection.query('do sleep(0.1)');
                })
                .catch(() => undefined);
              await sleep(100);
              await insert(4);
            },
            { ...attempts, timeoutMs: 3_000 },
          ),
        );
        assert.ok(wasAsked);
        await db.assertClean();
        assert.equal(await db.ids(), [1, 2]);
      });
    }
  }

  test('pitfall 8: callbacks run in the context of whoever passed them, also where a library’s goes on from there', async () => {
    const seen: (string | undefined)[] = [];
    const look = (): void => void seen.push(transaction.current?.description);
    await Promise.all(
      ['a', 'b'].map((note) =>
        transaction.run(
          () =>
            new Promise<void>((resolve, reject) => {
              core.getConnection((error, connection) => {
                look();
                if (error) return reject(error);
                return connection.beginTransaction(() => {
                  look();
                  connection.query('insert into accounts values (?, 0)', [note === 'a' ? 3 : 4], () => {
                    look();
                    connection.commit((failed) => {
                      look();
                      connection.release();
                      if (failed) reject(failed);
                      else resolve();
                    });
                  });
                });
              });
            }),
          { ...attempts, note },
        ),
      ),
    );
    assert.equal(
      [...seen.filter((note) => note === 'a'), ...seen.filter((note) => note !== 'a')],
      ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b'],
    );
    assert.equal(await db.ids(), [1, 2, 3, 4]);
  });

  test('pitfall 8: who waits for a connection outside of any transaction isn’t led into that of who gives one back', async () => {
    const { session: narrow } = db.another({ name: 'narrow', pool: { connectionLimit: 1 } });
    const one = (narrow.pool() as typeof pool).pool;
    const insertBehind = (id: number): Promise<void> =>
      new Promise((resolve, reject) => {
        one.query('insert into accounts values (?, 0)', [id], (error) => (error ? reject(error) : resolve()));
      });
    let waiting!: Promise<unknown>;
    await transaction.run(async () => {
      await narrow.query('select 1');
      waiting = transaction.suspend(() =>
        Promise.all([
          new Promise((resolve) => {
            one.getConnection((_, connection) => {
              connection.release();
              resolve(insertBehind(3));
            });
          }),
          new Promise((resolve) => one.query('select 1', () => resolve(insertBehind(4)))),
          new Promise((resolve) => one.execute('select 1', () => resolve(insertBehind(5)))),
        ]),
      );
      await sleep(20);
    }, attempts);
    await waiting;
    assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
  });

  test('pitfall 8: a pool that is first used inside of a transaction leads nobody else into it', async () => {
    const { session: fresh, pool: own } = db.another({ name: 'fresh', pool: { connectionLimit: 1 } });
    const freshPool = fresh.pool() as typeof pool;
    let inside: unknown = 'not seen';
    own.on('connection', () => (inside = transaction.current));
    await transaction.run(() => freshPool.query('select 1'), attempts);
    assert.is(inside, undefined);
    await freshPool.query('insert into accounts values (3, 0)');
    const [found] = await AsyncLocalStorage.snapshot()(() => freshPool.query<RowDataPacket[]>('select 1 as one'));
    assert.is(found.length, 1);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('pitfall 10: a transaction inside of another one on a pool of one says why it waits in vain', async () => {
    const { session: narrow } = db.another({ name: 'one', acquireTimeoutMs: 100, pool: { connectionLimit: 1 } });
    const one = narrow.pool() as typeof pool;
    await transaction.run(async () => {
      await one.query('select 1');
      await assert.rejects(
        transaction.run(
          async () => {
            const connection = await one.getConnection();
            try {
              await connection.query('begin');
            } finally {
              connection.release();
            }
          },
          { ...attempts, propagation: 'requires-new' },
        ),
        AcquireTimeoutError,
      );
    }, attempts);
  });

  test('pitfall 11: two hundred transactions at once, by one pool, each keep to their own', async () => {
    const { session: patient } = db.another({ name: 'patient', pool: { connectionLimit: 5 } });
    const shared = patient.pool() as typeof pool;
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const ended = transaction.run(async () => {
          await shared.query('insert into accounts values (?, 0)', [1_000 + index]);
          const connection = await shared.getConnection();
          await connection.beginTransaction();
          await sleep(Math.random() * 3);
          await connection.query('update accounts set balance = balance + 1 where id = ?', [1_000 + index]);
          await connection.commit();
          connection.release();
          if (index % 2 === 1) throw new Error('odd');
        }, attempts);
        const [error] = await outcomes(ended);
        assert.is(error?.message, index % 2 === 1 ? 'odd' : undefined);
      }),
    );
    assert.equal(
      await db.rows('select id, balance from accounts where id > 2 order by id'),
      Array.from({ length: 100 }, (_, index) => ({ id: 1_000 + index * 2, balance: 1 })),
    );
  });

  for (const twoPhase of ['auto', false] as const) {
    const how = twoPhase === 'auto' ? 'an XA branch' : 'a plain transaction';
    test(`pitfall 15: a deadlock takes all of ${how}, also what a library’s own had begun: its ROLLBACK does no harm, and nothing is stored`, async () => {
      const { session: own } = db.another({ name: `deadlock-${twoPhase}`, register: { twoPhase } });
      const ownPool = own.pool() as typeof pool;
      const other = await db.admin.getConnection();
      const deadlock = async (connection: PoolConnection): Promise<unknown> => {
        await other.query('start transaction');
        // Whoever has changed less is the one to be rolled back.
        await other.query('insert into accounts values (100, 0), (101, 0), (102, 0), (103, 0)');
        await other.query('update accounts set balance = 0 where id = 2');
        const blocked = other.query('update accounts set balance = 0 where id = 1');
        const [error] = await outcomes(connection.query('update accounts set balance = balance + 1 where id = 2'));
        await blocked;
        await other.query('rollback');
        return error;
      };
      const begin = async (): Promise<PoolConnection> => {
        const connection = await ownPool.getConnection();
        await connection.beginTransaction();
        await connection.query('update accounts set balance = balance + 1 where id = 1');
        return connection;
      };
      let tried = 0;
      await transaction.run(async () => {
        const connection = await begin();
        const error = ++tried === 1 ? await deadlock(connection) : undefined;
        await (error === undefined ? connection.commit() : connection.rollback());
        connection.release();
        if (error !== undefined) throw error as Error;
      });
      assert.is(tried, 2);
      assert.is(await db.balance(1), 101);
      await assert.rejects(
        transaction.run(async () => {
          const connection = await begin();
          assert.is(((await deadlock(connection)) as { errno?: number }).errno, 1213);
          await connection.rollback();
          connection.release();
          await ownPool.query('update accounts set balance = balance + 1 where id = 2').catch(() => undefined);
        }, attempts),
        DoomedTransaction,
      );
      other.release();
      assert.equal([await db.balance(1), await db.balance(2)], [101, 100]);
    });
  }

  test('a connection of the plain pool is left as it was: no savepoint, no isolation, no transaction of a library stays', async () => {
    await transaction.run(() => library.transaction((connection) => insert(3, connection)), {
      ...attempts,
      isolation: 'serializable',
    });
    const [rows] = await plain.query<RowDataPacket[]>(
      product === 'MariaDB' ? 'select @@tx_isolation as level' : 'select @@transaction_isolation as level',
    );
    assert.is(rows[0]!['level'], 'REPEATABLE-READ');
  });
}
