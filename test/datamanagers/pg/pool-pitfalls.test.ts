// The pitfalls of pitfalls.test.ts, where a library works by the pool of a session.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import {
  AcquireTimeoutError,
  ConcurrentUseError,
  ConfigurationError,
  SilentRollbackError,
  TransactionClosed,
  TransactionTimeoutError,
  transaction,
} from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Library, attempts } from './pool-setup.ts';
import { Gate, onText, outcomes } from './setup.ts';

const test = suite('what goes wrong elsewhere, through the enlisting pool');
const library = await Library.open(await postgres(), test);
const { db, pool } = library;
const { pool: plain, session } = db;
const insert = library.insert.bind(library);

test('pitfall 13: what was asked for behind a BEGIN that fails doesn’t run alone', async () => {
  await transaction.run(async () => {
    const client = await pool.connect();
    const errors = await outcomes(
      client.query('begin isolation level serializable'),
      insert(3, client),
      client.query('commit'),
    );
    for (const error of errors) assert.instance(error, ConfigurationError);
    await client.query('rollback');
    await insert(4, client);
    client.release();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('pitfall 1: a library’s COMMIT over a swallowed error is an error, and what it had done is undone', async () => {
  await transaction.run(async () => {
    await insert(3);
    const error = await assert.rejects(
      library.transaction(async (client) => {
        await insert(4, client);
        await insert(1, client).catch(() => undefined);
      }),
      SilentRollbackError,
    );
    assert.is((error.cause as { code: string }).code, '23505');
    await insert(5);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('pitfall 2: a client, and the pool, refuse work that outlives the transaction', async () => {
  let kept!: pg.PoolClient;
  let late!: Promise<unknown>;
  for (const open of [false, true]) {
    const over = new Gate();
    await transaction
      .run(async () => {
        const client = await pool.connect();
        kept = client;
        await insert(3, client);
        if (open) {
          await client.query('begin');
          await insert(4, client);
        }
        const attempt = (work: () => Promise<unknown>): Promise<unknown> =>
          assert.rejects(
            over.opened.then(() => work()),
            TransactionClosed,
          );
        late = Promise.all([
          attempt(() => insert(5, client)),
          attempt(() => client.query('begin')),
          attempt(() => insert(6)),
          attempt(() => pool.connect()),
          attempt(() => new Promise((_, reject) => pool.connect((error) => reject(error!)))),
          attempt(() => new Promise((_, reject) => pool.query('delete from accounts', (error) => reject(error)))),
        ]);
        await transaction.abort();
      }, attempts)
      .catch(() => undefined);
    over.open();
    await late;
    // Whoever has the client still, from outside of any transaction: it doesn't become the plain pool's.
    await assert.rejects(insert(7, kept), TransactionClosed);
    await kept.query('rollback');
    if (!open) await assert.rejects(kept.query('commit'), TransactionClosed);
    kept.release();
    assert.equal(await db.ids(), [1, 2]);
  }
});

test('pitfall 2: the next transaction of the same context isn’t the client’s', async () => {
  await transaction.context(async () => {
    await transaction.begin();
    const client = await pool.connect();
    await insert(3, client);
    await transaction.commit();
    await transaction.begin();
    await insert(4);
    await assert.rejects(insert(5, client), TransactionClosed);
    await transaction.commit();
    client.release();
  });
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('pitfall 3: an abort with a library’s transaction open leaves no row, and nothing follows the ROLLBACK', async () => {
  const sent: string[] = [];
  db.proxy.onClientData = (data) => void sent.push(data.toString('latin1').toLowerCase());
  const siblings: Promise<unknown>[] = [];
  let client!: pg.PoolClient;
  await assert.rejects(
    transaction.run(async () => {
      client = await pool.connect();
      await client.query('begin');
      await insert(3, client);
      siblings.push(
        client.query('insert into accounts select 4, 0 from pg_sleep(0.1)'),
        insert(5, client),
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
  await assert.rejects(client.query('commit'), TransactionClosed);
  await client.query('rollback');
  client.release();
  await sleep(30);
  assert.match(sent.at(-1)!, /rollback/);
  assert.equal(await db.ids(), [1, 2]);
});

test('pitfall 4: libraries’ transactions at the same time take turns, and lose no row', async () => {
  for (let round = 0; round < 5; round++) {
    await transaction.run(async () => {
      const ended = await outcomes(
        ...[10, 11, 12, 13, 14, 15].map((id) =>
          library.transaction(async (client) => {
            await insert(id, client);
            await sleep(Math.random() * 3);
            if (id % 3 === 0) throw new Error(`${id} fails`);
            await insert(id + 100, client);
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
      library.transaction(async (client) => {
        await insert(3, client);
        nested = transaction.run(
          async () => {
            await insert(5);
            await library.transaction((other) => insert(6, other));
          },
          { propagation: 'nested' },
        );
        await sleep(20);
        await insert(4, client);
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
        library.transaction(async (client) => {
          await insert(id, client);
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
    () => pool.connect().then((other) => insert(4, other).finally(() => other.release())),
    () => library.transaction((other) => insert(4, other)),
  ] as (() => Promise<unknown>)[]) {
    await transaction.run(async () => {
      const error = await assert.rejects(
        library.transaction(async (client) => {
          await insert(3, client);
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
        library.transaction(async (client) => {
          await insert(3, client);
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
        library.transaction(async (client) => {
          await insert(3, client);
          await transaction.run(() => insert(4, client), { propagation: 'nested' });
        }),
      attempts,
    ),
    ConcurrentUseError,
  );
  assert.equal(await db.ids(), [1, 2]);
});

let killing: Promise<unknown> | undefined;
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
    'the process is terminated': () => {
      killing = db.terminate('true');
      // Not passed on, lest it be answered before the process has ended.
      return false;
    },
  })) {
    test(`pitfall 5: nothing leaks, and nothing is stored, when ${how} at ${what} of a library’s transaction`, async () => {
      const ignore = (): void => undefined;
      plain.on('error', ignore);
      onText(db.proxy, text, fail);
      let wasAsked = false;
      await assert.rejects(
        transaction.run(
          async () => {
            await pool.query('select 1');
            wasAsked = true;
            await library
              .transaction(async (client) => {
                await insert(3, client);
                if (abort === true) throw new Error('aborted');
              })
              .catch(() => undefined);
            await insert(4);
          },
          { ...attempts, timeoutMs: 2_000 },
        ),
      );
      assert.ok(wasAsked);
      await killing;
      // A connection whose process was ended behind the end may still seem to be idle.
      await assert.eventually(() => db.assertClean());
      assert.equal(await db.ids(), [1, 2]);
      plain.off('error', ignore);
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
            pool.connect((error, client, release) => {
              look();
              if (error !== undefined) return reject(error);
              return client!.query('begin', () => {
                look();
                client!.query('insert into accounts values ($1, 0)', [note === 'a' ? 3 : 4], () => {
                  look();
                  client!.query('commit', (failed) => {
                    look();
                    release();
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
    seen.toSorted((a, b) => (a! < b! ? -1 : 1)),
    ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b'],
  );
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('pitfall 8: a pool that is first used inside of a transaction leads nobody else into it', async () => {
  const { session: fresh, pool: own } = db.another({ name: 'fresh', pool: { max: 1 } });
  const freshPool = fresh.pool();
  let inside: unknown = 'not seen';
  own.on('connect', () => (inside = transaction.current));
  await transaction.run(() => freshPool.query('select 1'), attempts);
  assert.is(inside, undefined);
  await freshPool.query('insert into accounts values (3, 0)');
  const found = await AsyncLocalStorage.snapshot()(() => freshPool.query('select 1'));
  assert.is(found.rowCount, 1);
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('pitfall 10: a transaction inside of another one on a pool of one says why it waits in vain', async () => {
  const { session: narrow } = db.another({ name: 'narrow', acquireTimeoutMs: 100, pool: { max: 1 } });
  const one = narrow.pool();
  await transaction.run(async () => {
    await one.query('select 1');
    await assert.rejects(
      transaction.run(
        async () => {
          const client = await one.connect();
          try {
            await client.query('begin');
          } finally {
            client.release();
          }
        },
        { ...attempts, propagation: 'requires-new' },
      ),
      AcquireTimeoutError,
    );
  }, attempts);
});

test(
  'pitfall 11: two hundred transactions at once, by one pool, each keep to their own',
  { timeoutMs: 120_000 },
  async () => {
    const { session: patient } = db.another({ name: 'patient', pool: { max: 5 }, acquireTimeoutMs: 60_000 });
    const shared = patient.pool();
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const ended = transaction.run(async () => {
          await shared.query('insert into accounts values ($1, 0)', [1_000 + index]);
          const client = await shared.connect();
          await client.query('begin');
          await sleep(Math.random() * 3);
          const { rows } = await client.query<{ id: number }>(
            'select id from accounts where xmin = pg_current_xact_id()::xid',
          );
          await client.query('commit');
          client.release();
          assert.equal(rows, [{ id: 1_000 + index }]);
          if (index % 2 === 1) throw new Error('odd');
        }, attempts);
        const [error] = await outcomes(ended);
        assert.is(error?.message, index % 2 === 1 ? 'odd' : undefined);
      }),
    );
    assert.equal(
      (await db.ids()).slice(2),
      Array.from({ length: 100 }, (_, index) => 1_000 + index * 2),
    );
  },
);
