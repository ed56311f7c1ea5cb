// What becomes of a transaction of a library’s own inside of another one: a savepoint of the connection, and whose turn it is.
import type { PoolConnection as CallbackConnection } from 'mysql2';
import type { PoolConnection, ResultSetHeader } from 'mysql2/promise';
import {
  ConcurrentUseError,
  ConfigurationError,
  TransactionClosed,
  TransactionStateError,
  sessionState,
  transaction,
  type Transaction,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Gate, outcomes, says } from '../sql/helpers.ts';
import { Library, attempts } from './enlisting-setup.ts';
import { products } from './setup.ts';

for (const { product, server } of await products()) {
  const test = suite(`libraries’ own transactions on ${product}`);
  const library = await Library.open(server, test);
  const { db, pool, core, second } = library;
  const { session } = db;
  const insert = library.insert.bind(library);
  const numbers = (count: number): string =>
    `with recursive n as (select 1 as i union all select i + 1 from n where i < ${count}) select i from n`;
  /** The connection of callbacks, whose queries can be streamed. */
  const coreOf = (connection: PoolConnection): CallbackConnection =>
    connection.connection as unknown as CallbackConnection;

  test('a library’s own transaction is a savepoint: what it rolls back is gone, what it commits waits for the outer one', async () => {
    await transaction.run(async () => {
      await insert(3);
      await library.transaction(async (connection) => {
        await insert(4, connection);
        assert.equal(await db.ids(), [1, 2]);
      });
      await assert.rejects(
        library.transaction(async (connection) => {
          await insert(5, connection);
          throw new Error('the library’s');
        }),
        { message: 'the library’s' },
      );
      await insert(6);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4, 6]);
    await assert.rejects(
      transaction.run(async () => {
        await library.transaction((connection) => insert(7, connection));
        throw new Error('the outer one’s');
      }, attempts),
      { message: 'the outer one’s' },
    );
    assert.equal(await db.ids(), [1, 2, 3, 4, 6]);
  });

  test('what ends and begins it may be said in every way that MySQL knows, and is answered as by mysql2', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      for (const text of [
        'begin;',
        'savepoint a',
        'rollback to savepoint a',
        'release savepoint a',
        '/* why */ COMMIT WORK',
        'start transaction',
        'commit and no chain no release',
        'Begin Work',
        '-- again\nbegin',
        'rollback work',
        'rollback',
        'START TRANSACTION READ WRITE;',
        'commit no release',
      ]) {
        const [header, fields] = await connection.query<ResultSetHeader>(text);
        assert.is(header.affectedRows, 0, text);
        assert.is(header.serverStatus & 1, 1, text);
        assert.is(fields, undefined, text);
      }
      connection.release();
    });
  });

  test('savepoints of the library’s own are what they were, in as many levels as it likes', async () => {
    await transaction.run(async () => {
      await library.transaction(async (connection) => {
        await insert(3, connection);
        await connection.query('SAVEPOINT sp1');
        await insert(4, connection);
        await connection.query('SAVEPOINT `Sp 2`');
        await insert(5, connection);
        await connection.query('ROLLBACK TO SAVEPOINT `Sp 2`');
        await connection.query('RELEASE SAVEPOINT sp1');
        await connection.query('SAVEPOINT sp1');
        await insert(6, connection);
        await assert.rejects(insert(6, connection), { errno: 1062 });
        await assert.rejects(connection.query('savepoint too_late'), TransactionStateError);
        await connection.query('ROLLBACK WORK TO sp1');
        await insert(7, connection);
      });
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4, 7]);
  });

  test('a savepoint without a BEGIN, or under a name of ours, is refused: nothing would keep others from it', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      for (const text of ['savepoint a', 'release savepoint a', 'rollback to a']) {
        await assert.rejects(connection.query(text), TransactionStateError);
        await assert.rejects(pool.query(text), TransactionStateError);
      }
      await connection.query('begin');
      for (const text of ['savepoint unanimous_1', 'release savepoint `unanimous_1`', 'rollback to Unanimous_1']) {
        await assert.rejects(connection.query(text), TransactionStateError);
      }
      await connection.query('rollback');
      connection.release();
    });
  });

  test('what ends the outer transaction, by itself or without a word, is refused, and nothing is sent', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      await insert(3, connection);
      for (const text of [
        'commit',
        "xa start 'x'",
        "xa commit 'x'",
        'rollback and chain',
        'commit release',
        'begin; select 1',
        'select 1; commit',
        'set autocommit = 0',
        'create table other (id int)',
        'truncate accounts',
        'lock tables accounts write',
      ]) {
        await assert.rejects(connection.query(text), TransactionStateError, text);
        await assert.rejects(connection.execute(text), TransactionStateError, text);
        await assert.rejects(connection.prepare(text), TransactionStateError, text);
      }
      await connection.query('begin');
      for (const text of [
        "xa end 'x'",
        'rollback and chain',
        'insert into accounts values (4, 0); commit',
        'alter table accounts add other int',
        'set session autocommit = off',
      ]) {
        await assert.rejects(connection.query(text), TransactionStateError, text);
      }
      await connection.query('commit');
      for (const text of ['begin', 'commit', 'rollback']) {
        await assert.rejects(pool.query(text), TransactionStateError);
      }
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('what libraries say to be sure changes nothing: autocommit is on, as it was', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      await insert(3, connection);
      for (const text of ['SET autocommit=1', 'set session autocommit := ON;', 'SET @@autocommit = 1']) {
        await connection.query(text);
        await pool.query(text);
      }
      await connection.beginTransaction();
      await connection.query('set autocommit = true');
      await insert(4, connection);
      await connection.rollback();
      await connection.query('set @note = 1, session sort_buffer_size = 262144');
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('SET TRANSACTION ahead of a BEGIN, and a BEGIN, must agree with how the outer transaction began', async () => {
    const begins = async (texts: readonly string[]): Promise<Error | undefined> => {
      const connection = await pool.getConnection();
      const errors = await outcomes(...texts.map((text) => connection.query(text)));
      await connection.query('rollback');
      connection.release();
      return errors.find((error) => error !== undefined);
    };
    const set = (modes: string): string[] => [`set transaction ${modes}`, 'begin'];
    for (const [options, agreed, refused] of [
      [
        {},
        [['start transaction read write'], set('read write')],
        [
          set('isolation level serializable'),
          set('isolation level repeatable read;'),
          ['start transaction read only'],
          ['start transaction with consistent snapshot'],
        ],
      ],
      [
        { isolation: 'serializable' },
        [['begin'], set('ISOLATION LEVEL SERIALIZABLE'), set('isolation level serializable, read write')],
        [set('isolation level repeatable read'), set('read only')],
      ],
      [
        { isolation: 'repeatable read', readOnly: true },
        [['begin'], ['start transaction read only'], set('isolation level repeatable read, read only')],
        [['start transaction read write'], set('isolation level read uncommitted')],
      ],
    ] as const) {
      await transaction.run(
        async () => {
          for (const texts of agreed) assert.is(await begins(texts), undefined, texts.join('; '));
          for (const texts of refused) assert.instance(await begins(texts), ConfigurationError, texts.join('; '));
          await pool.query('select 1');
        },
        { ...attempts, ...options },
      );
    }
  });

  test('release() with the library’s transaction open rolls that back; a commit waits for it', async () => {
    for (const how of ['release', 'destroy', 'end'] as const) {
      await transaction.run(async () => {
        await insert(3);
        const connection = await pool.getConnection();
        await connection.query('begin');
        await insert(4, connection);
        void connection[how]();
        await insert(5);
        const another = await pool.getConnection();
        await another.query('begin');
        await insert(6, another);
        void another[how]();
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 5]);
      await db.reset();
    }
  });

  test('release() with a BEGIN still on its way, or with a stream open, rolls back as well', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      const begun = connection.query('begin');
      const inserted = insert(3, connection);
      connection.release();
      const errors = await outcomes(begun, inserted);
      assert.is(errors[0], undefined);
      const reading = await pool.getConnection();
      await reading.query('begin');
      await insert(4, reading);
      for await (const row of coreOf(reading).query(numbers(900)).stream({ highWaterMark: 2 })) {
        assert.ok(row);
        break;
      }
      const another = coreOf(reading).query(numbers(900)).stream({ highWaterMark: 2 });
      another.on('error', () => undefined);
      another.once('data', () => undefined);
      reading.release();
      await insert(5);
    }, attempts);
    assert.equal(
      (await db.ids()).filter((id) => id !== 3),
      [1, 2, 5],
    );
  });

  test('statements that aren’t awaited keep their order behind the connection’s BEGIN, COMMIT and ROLLBACK', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      await Promise.all([
        connection.beginTransaction(),
        insert(3, connection),
        connection.rollback(),
        insert(4, connection),
        connection.query('set transaction read write'),
        connection.query('begin'),
        insert(5, connection),
        connection.query('savepoint a'),
        insert(6, connection),
        connection.query('rollback to a'),
        connection.commit(),
        insert(7, connection),
      ]);
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 4, 5, 7]);
  });

  test('an error in the library’s transaction that is rolled back leaves the outer one as it was', async () => {
    await transaction.run(async () => {
      await pool.query('select 1');
      const state = sessionState(session);
      await assert.rejects(
        library.transaction(async (connection) => {
          await insert(3, connection);
          await insert(3, connection);
        }),
        { errno: 1062 },
      );
      assert.is(sessionState(session), state, 'nothing is written any more');
      await insert(4);
      await assert.rejects(
        library.transaction((connection) => insert(4, connection)),
        { errno: 1062 },
      );
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 4]);
    await transaction.run(async (txn) => {
      await library.transaction((connection) => connection.query('select 1'));
      assert.is(sessionState(session), 'active');
      await second.session.query('insert into accounts values (3, 0)');
      txn.addAfterCommitHook(() => undefined);
    }, attempts);
    assert.equal(await second.ids(), [1, 2, 3]);
  });

  test('an error outside of a library’s transaction stands against a BEGIN, as against the commit', async () => {
    await assert.rejects(
      transaction.run(async () => {
        await insert(3);
        await assert.rejects(insert(3), { errno: 1062 });
        await library.transaction((connection) => insert(4, connection));
      }, attempts),
      says(/savepoint must be made before a statement fails/),
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  test('two databases: libraries’ own transactions on both are committed by two-phase commit, or not at all', async () => {
    const both = (id: number): Promise<Transaction> =>
      transaction.run(async (txn) => {
        await library.transaction((connection) => insert(id, connection));
        const other: PoolConnection = await second.session.pool().getConnection();
        await other.beginTransaction();
        await insert(id, other);
        await other.commit();
        other.release();
        if (id === 4) throw new Error('left');
        return txn;
      }, attempts);
    assert.is((await both(3)).outcome?.way, 'two-phase');
    await assert.rejects(both(4), { message: 'left' });
    assert.equal(
      [await db.ids(), await second.ids()],
      [
        [1, 2, 3],
        [1, 2, 3],
      ],
    );
  });

  test('a connection works in the transaction that it was taken in, wherever its library asks from', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      await connection.query('begin');
      await insert(3, connection);
      await transaction.suspend(() => insert(4, connection));
      await transaction.run(() => insert(5, connection), { ...attempts, propagation: 'requires-new' });
      assert.equal(await db.ids(), [1, 2]);
      await connection.query('commit');
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
  });

  test('a library’s transaction inside of a nested run is undone with it; the connection hears of it, and is good again', async () => {
    await transaction.run(async () => {
      await insert(3);
      const connection = await pool.getConnection();
      const gate = new Gate();
      let late!: Promise<(Error | undefined)[]>;
      await assert.rejects(
        transaction.run(
          async () => {
            await insert(4);
            await connection.query('begin');
            await insert(5, connection);
            late = gate.opened.then(() => outcomes(insert(6, connection), connection.query('commit')));
            throw new Error('the nested run’s');
          },
          { propagation: 'nested' },
        ),
        { message: 'the nested run’s' },
      );
      gate.open();
      for (const error of await late) assert.instance(error, TransactionClosed);
      await connection.query('rollback');
      await connection.query('begin');
      await insert(7, connection);
      await connection.query('commit');
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 7]);
  });

  test('a savepoint that is rolled back takes a library’s open transaction along, and those that wait for it', async () => {
    await transaction.run(async () => {
      await insert(3);
      const savepoint = await transaction.savepoint();
      const connection = await pool.getConnection();
      await connection.query('begin');
      await insert(4, connection);
      const waiting = outcomes(insert(5));
      await savepoint.rollback();
      assert.instance((await waiting)[0], TransactionClosed);
      await assert.rejects(insert(6, connection), TransactionClosed);
      await assert.rejects(connection.query('commit'), TransactionClosed);
      await insert(7, connection);
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 7]);
  });

  test('a commit while a library’s transaction is open is refused, rather than committing half', async () => {
    let connection!: PoolConnection;
    await assert.rejects(
      transaction.run(async () => {
        await insert(3);
        connection = await pool.getConnection();
        await connection.query('begin');
        await insert(4, connection);
      }, attempts),
      ConcurrentUseError,
    );
    await assert.rejects(insert(5, connection), TransactionClosed);
    connection.release();
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a stream has the connection to itself: others wait for it, for so long and no longer', async () => {
    await transaction.run(async () => {
      const connection = await pool.getConnection();
      let rows = 0;
      const stream = core.query(numbers(500)).stream({ highWaterMark: 5 });
      const waiting = insert(3);
      for await (const row of stream) rows += row === undefined ? 0 : 1;
      await waiting;
      assert.is(rows, 500);
      await connection.query('begin');
      await insert(4, connection);
      const inside = coreOf(connection).query(numbers(500)).stream({ highWaterMark: 5 });
      const loop = (async () => {
        for await (const row of inside) await connection.query('select ?', [(row as { i: number }).i]);
      })();
      await assert.rejects(loop, ConcurrentUseError);
      await connection.query('commit');
      connection.release();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
  });

  test('a rollback of a library’s transaction that can’t be done dooms the outer one', async () => {
    await assert.rejects(
      transaction.run(async () => {
        await insert(3);
        const connection = await pool.getConnection();
        await connection.query('begin');
        await insert(4, connection);
        const unread = coreOf(connection).query(numbers(900)).stream({ highWaterMark: 1 });
        unread.on('error', () => undefined);
        await assert.rejects(connection.query('rollback'), ConcurrentUseError);
        connection.release();
        await insert(5).catch(() => undefined);
      }, attempts),
      { code: 'ERR_TXN_DOOMED' },
    );
    assert.equal(await db.ids(), [1, 2]);
  });
}
