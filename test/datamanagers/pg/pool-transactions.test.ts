// What becomes of a transaction of a library’s own inside of another one: a savepoint of the connection, and whose turn it is.
import type pg from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import {
  ConcurrentUseError,
  ConfigurationError,
  TransactionClosed,
  TransactionStateError,
  sessionState,
  transaction,
  type Transaction,
} from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Library, attempts } from './pool-setup.ts';
import { Gate, outcomes, says } from './setup.ts';

const test = suite('libraries’ own transactions on PostgreSQL');
const library = await Library.open(await postgres(), test);
const { db, pool, second } = library;
const { session } = db;
const insert = library.insert.bind(library);

test('a library’s own transaction is a savepoint: what it rolls back is gone, what it commits waits for the outer one', async () => {
  await transaction.run(async () => {
    await insert(3);
    await library.transaction(async (client) => {
      await insert(4, client);
      assert.equal(await db.ids(), [1, 2]);
    });
    await assert.rejects(
      library.transaction(async (client) => {
        await insert(5, client);
        throw new Error('the library’s');
      }),
      { message: 'the library’s' },
    );
    await insert(6);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4, 6]);
  await assert.rejects(
    transaction.run(async () => {
      await library.transaction((client) => insert(7, client));
      throw new Error('the outer one’s');
    }, attempts),
    { message: 'the outer one’s' },
  );
  assert.equal(await db.ids(), [1, 2, 3, 4, 6]);
});

test('what a statement is answered with is what pg would answer', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    const command = async (text: string): Promise<string> => (await client.query(text)).command;
    assert.is(await command('begin;'), 'BEGIN');
    assert.is(await command('savepoint a'), 'SAVEPOINT');
    assert.is(await command('rollback to savepoint a'), 'ROLLBACK');
    assert.is(await command('release a'), 'RELEASE');
    assert.is(await command('/* why */ COMMIT WORK'), 'COMMIT');
    assert.is(await command('start transaction'), 'START');
    assert.is(await command('end'), 'COMMIT');
    assert.is(await command('Begin Transaction'), 'BEGIN');
    assert.is(await command('begin'), 'BEGIN', 'the server warns, and it is the same transaction');
    assert.is(await command('abort'), 'ROLLBACK');
    assert.is(await command('rollback'), 'ROLLBACK', 'the server warns');
    const result = await client.query('begin');
    assert.equal([result.rows, result.fields, result.rowCount], [[], [], null]);
    assert.is(await command('commit and no chain'), 'COMMIT');
    client.release();
  });
});

test('savepoints of the library’s own are what they were, in as many levels as it likes', async () => {
  await transaction.run(async () => {
    await library.transaction(async (client) => {
      await insert(3, client);
      await client.query('SAVEPOINT sp1');
      await insert(4, client);
      await client.query('SAVEPOINT "Sp 2"');
      await insert(5, client);
      await client.query('ROLLBACK TO SAVEPOINT "Sp 2"');
      await client.query('RELEASE SAVEPOINT sp1');
      await client.query('SAVEPOINT sp1');
      await insert(6, client);
      await assert.rejects(insert(6, client), { code: '23505' });
      await client.query('ROLLBACK WORK TO sp1');
      await insert(7, client);
    });
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4, 7]);
});

test('a savepoint without a BEGIN, or under a name of ours, is refused: nothing would keep others from it', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    for (const text of ['savepoint a', 'release a', 'rollback to a']) {
      await assert.rejects(client.query(text), TransactionStateError);
    }
    await client.query('begin');
    for (const text of ['savepoint unanimous_1', 'release "unanimous_1"', 'rollback to unanimous_1']) {
      await assert.rejects(client.query(text), TransactionStateError);
    }
    await client.query('rollback');
    client.release();
  });
});

test('what ends or prepares the outer transaction is refused, and nothing is sent', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    await insert(3, client);
    for (const text of [
      'commit',
      "prepare transaction 'x'",
      "commit prepared 'x'",
      'rollback and chain',
      'commit and chain',
      'begin; select 1',
      'select 1; commit',
    ]) {
      await assert.rejects(client.query(text), TransactionStateError, text);
    }
    await client.query('begin');
    for (const text of [
      "prepare transaction 'x'",
      'rollback and chain',
      'insert into accounts values (4, 0); commit',
    ]) {
      await assert.rejects(client.query(text), TransactionStateError, text);
    }
    await client.query('commit');
    for (const text of ['begin', 'commit', 'rollback']) await assert.rejects(pool.query(text), TransactionStateError);
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('a BEGIN must agree with how the outer transaction began', async () => {
  const begins = async (text: string): Promise<Error | undefined> => {
    const client = await pool.connect();
    const [error] = await outcomes(client.query(text));
    await client.query('rollback');
    client.release();
    return error;
  };
  for (const [options, agreed, refused] of [
    [
      {},
      ['begin read write', 'begin not deferrable'],
      [
        'begin isolation level serializable',
        'begin isolation level read committed',
        'begin read only',
        'begin deferrable',
      ],
    ],
    [
      { isolation: 'serializable' },
      [
        'begin',
        'START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE',
        'begin transaction isolation level serializable',
      ],
      ['begin isolation level repeatable read', 'begin isolation level serializable read only'],
    ],
    [
      { isolation: 'repeatable read', readOnly: true },
      ['begin', 'begin read only', 'begin isolation level repeatable read, read only'],
      ['begin read write', 'begin isolation level read uncommitted'],
    ],
  ] as const) {
    await transaction.run(
      async () => {
        for (const text of agreed) assert.is(await begins(text), undefined, text);
        for (const text of refused) assert.instance(await begins(text), ConfigurationError, text);
        await pool.query('select 1');
      },
      { ...attempts, ...options },
    );
  }
});

test('SET TRANSACTION behind a library’s BEGIN is held against the outer one too', async () => {
  await transaction.run(
    async () => {
      await library.transaction(async (client) => {
        const { command } = await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
        assert.is(command, 'SET');
        await insert(3, client);
        await assert.rejects(client.query('set transaction isolation level serializable'), ConfigurationError);
        await assert.rejects(client.query("set transaction snapshot 'x'"), ConfigurationError);
        await client.query('set constraints all deferred');
        await client.query("set local lock_timeout = '1s'");
      });
    },
    { ...attempts, isolation: 'repeatable read' },
  );
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('release() with the library’s transaction open rolls that back, with an error or not; a commit waits for it', async () => {
  for (const error of [undefined, true, new Error('the library’s')]) {
    await transaction.run(async () => {
      await insert(3);
      const client = await pool.connect();
      await client.query('begin');
      await insert(4, client);
      client.release(error);
      await insert(5);
      const another = await pool.connect();
      await another.query('begin');
      await insert(6, another);
      another.release(error);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 5]);
    await db.reset();
  }
});

test('release() with a BEGIN still on its way, or with a stream open, rolls back as well', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    const begun = client.query('begin');
    const inserted = insert(3, client);
    client.release();
    const errors = await outcomes(begun, inserted);
    assert.is(errors[0], undefined);
    const reading = await pool.connect();
    await reading.query('begin');
    await insert(4, reading);
    const stream = reading.query(new QueryStream('select generate_series(1, 100000) as n', [], { batchSize: 2 }));
    stream.on('error', () => undefined);
    for await (const row of stream) {
      assert.ok(row);
      break;
    }
    const another = reading.query(new QueryStream('select generate_series(1, 100000) as n', [], { batchSize: 2 }));
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

test('statements that aren’t awaited keep their order behind the client’s BEGIN, COMMIT and ROLLBACK', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    await Promise.all([
      client.query('begin'),
      insert(3, client),
      client.query('rollback'),
      insert(4, client),
      client.query('begin'),
      insert(5, client),
      client.query('savepoint a'),
      insert(6, client),
      client.query('rollback to a'),
      client.query('commit'),
      insert(7, client),
    ]);
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4, 5, 7]);
});

test('an error in the library’s transaction that is rolled back leaves the outer one as it was', async () => {
  await transaction.run(async () => {
    await pool.query('select 1');
    const state = sessionState(session);
    await assert.rejects(
      library.transaction(async (client) => {
        await insert(3, client);
        await insert(3, client);
      }),
      { code: '23505' },
    );
    assert.is(sessionState(session), state, 'nothing is written any more');
  }, attempts);
  await transaction.run(async (txn) => {
    await library.transaction((client) => client.query('select 1'));
    assert.is(sessionState(session), 'active');
    await second.session.query('insert into accounts values (3, 0)');
    txn.addAfterCommitHook(() => undefined);
  }, attempts);
  assert.equal(await second.ids(), [1, 2, 3]);
});

test('two databases: libraries’ own transactions on both are committed by two-phase commit, or not at all', async () => {
  const both = (id: number): Promise<Transaction> =>
    transaction.run(async (txn) => {
      await library.transaction((client) => insert(id, client));
      const other = await second.session.pool().connect();
      await other.query('begin');
      await insert(id, other);
      await other.query('commit');
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

test('a client works in the transaction that it was taken in, wherever its library asks from', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    await client.query('begin');
    await insert(3, client);
    await transaction.suspend(() => insert(4, client));
    await transaction.run(() => insert(5, client), { ...attempts, propagation: 'requires-new' });
    const late = transaction.run(async () => ({ after: async () => insert(6, client) }), {
      ...attempts,
      propagation: 'requires-new',
    });
    await (await late).after();
    assert.equal(await db.ids(), [1, 2]);
    await client.query('commit');
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4, 5, 6]);
});

test('two libraries’ clients of two transactions, asked from one context, each keep to their own', async () => {
  const calls: (() => Promise<unknown>)[] = [];
  let dispatched!: () => void;
  const dispatch = new Promise<void>((resolve) => (dispatched = resolve));
  /** As a loader does that sends what was asked for in one tick: from the context of whoever came first. */
  const ask = async (id: number): Promise<void> => {
    await library.transaction(async (client) => {
      const done = new Promise((resolve, reject) => {
        calls.push(() => insert(id, client).then(resolve, reject));
      });
      if (calls.length === 2) for (const call of calls) void call();
      if (calls.length === 2) dispatched();
      await dispatch;
      await done;
      const { rows } = await client.query('select id from accounts where id > 2');
      assert.equal(rows, [{ id }]);
    });
    throw new Error('left');
  };
  const [a, b] = await outcomes(...[3, 4].map((id) => transaction.run(() => ask(id), attempts)));
  assert.equal([a?.message, b?.message], ['left', 'left']);
  assert.equal(await db.ids(), [1, 2]);
});

test('a library’s transaction inside of a nested run is undone with it; the client hears of it, and is good again', async () => {
  await transaction.run(async () => {
    await insert(3);
    const client = await pool.connect();
    const gate = new Gate();
    let late!: Promise<(Error | undefined)[]>;
    await assert.rejects(
      transaction.run(
        async () => {
          await insert(4);
          await client.query('begin');
          await insert(5, client);
          late = gate.opened.then(() => outcomes(insert(6, client), client.query('commit')));
          throw new Error('the nested run’s');
        },
        { propagation: 'nested' },
      ),
      { message: 'the nested run’s' },
    );
    gate.open();
    for (const error of await late) assert.instance(error, TransactionClosed);
    await client.query('rollback');
    await client.query('begin');
    await insert(7, client);
    await client.query('commit');
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 7]);
});

test('a savepoint that is rolled back takes a library’s open transaction along, and those that wait for it', async () => {
  await transaction.run(async () => {
    await insert(3);
    const savepoint = await transaction.savepoint();
    const client = await pool.connect();
    await client.query('begin');
    await insert(4, client);
    const waiting = outcomes(insert(5));
    await savepoint.rollback();
    assert.instance((await waiting)[0], TransactionClosed);
    await assert.rejects(insert(6, client), TransactionClosed);
    await assert.rejects(client.query('commit'), TransactionClosed);
    await insert(7, client);
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 7]);
});

test('the session joins again behind a savepoint that it joined after; a library’s transaction of before is over', async () => {
  await transaction.run(async () => {
    const savepoint = await transaction.savepoint();
    const client = await pool.connect();
    await client.query('begin');
    await insert(3, client);
    await savepoint.rollback();
    await assert.rejects(insert(4, client), TransactionClosed);
    await client.query('begin');
    await insert(5, client);
    await client.query('commit');
    await insert(6);
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 5, 6]);
});

test('a commit while a library’s transaction is open is refused, rather than committing half', async () => {
  let client!: pg.PoolClient;
  await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      client = await pool.connect();
      await client.query('begin');
      await insert(4, client);
    }, attempts),
    ConcurrentUseError,
  );
  await assert.rejects(insert(5, client), TransactionClosed);
  client.release();
  assert.equal(await db.ids(), [1, 2]);
});

test('a stream has the connection to itself: others wait for it, for so long and no longer', async () => {
  const series = (): QueryStream => new QueryStream('select generate_series(1, 50) as n', [], { batchSize: 5 });
  await transaction.run(async () => {
    const client = await pool.connect();
    let rows = 0;
    const stream = client.query(series());
    const waiting = insert(3);
    for await (const row of stream) rows += row === undefined ? 0 : 1;
    await waiting;
    assert.is(rows, 50);
    const cursor = client.query(new Cursor('select generate_series(1, 50) as n'));
    assert.is((await cursor.read(10)).length, 10);
    await cursor.close();
    await client.query('begin');
    await insert(4, client);
    const inside = client.query(series());
    const loop = (async () => {
      for await (const row of inside) await client.query('select $1::int', [(row as { n: number }).n]);
    })();
    await assert.rejects(loop, ConcurrentUseError);
    await client.query('commit');
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('the same loop over a session’s own stream is refused too, rather than hanging', async () => {
  await assert.rejects(
    transaction.run(async () => {
      const stream = session.query(new QueryStream('select generate_series(1, 500) as n', [], { batchSize: 5 }));
      for await (const row of stream) {
        await session.query('select $1::int', [(row as { n: number }).n]);
      }
    }, attempts),
    says(/cursor or stream is open.*300 ms/),
  );
});

test('a rollback of a library’s transaction that can’t be done dooms the outer one', async () => {
  await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      const client = await pool.connect();
      await client.query('begin');
      await insert(4, client);
      client.query(new Cursor('select generate_series(1, 50) as n'));
      await assert.rejects(client.query('rollback'), ConcurrentUseError);
      client.release();
      await insert(5).catch(() => undefined);
    }, attempts),
    { code: 'ERR_TXN_DOOMED' },
  );
  assert.equal(await db.ids(), [1, 2]);
});
