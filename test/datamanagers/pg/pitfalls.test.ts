import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import {
  AcquireTimeoutError,
  ConcurrentUseError,
  DoomedTransaction,
  NoTransaction,
  SilentRollbackError,
  TransactionClosed,
  TransactionTimeoutError,
  transaction,
  type DataManager,
} from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, Gate, onText, outcomes } from './setup.ts';

const test = suite('what goes wrong elsewhere, on PostgreSQL');
const server = await postgres();
const db = await Database.open(server, { name: 'pitfalls', endTimeoutMs: 1_000 });
const second = await Database.open(server, { name: 'second' });
const { pool, proxy, session } = db;
test.after(() => Promise.all([db.close(), second.close()]));
test.after.each(async () => {
  for (const each of [db, second]) {
    each.proxy.onClientData = undefined;
    each.proxy.onServerData = undefined;
    await each.assertClean();
    await each.reset();
  }
});

const warnings: Error[] = [];
process.on('warning', (warning) => warnings.push(warning));

const attempts = { attempts: 1 };
const insert = (id: number, target = session): Promise<unknown> =>
  target.query('insert into accounts values ($1, 0)', [id]);

/** A data manager that notes what it is asked to do. */
function noting(sortKey = 'noting'): { calls: string[]; manager: DataManager } {
  const calls: string[] = [];
  const note = (call: string) => (): void => void calls.push(call);
  const manager = {
    sortKey,
    tpcBegin: note('tpcBegin'),
    commit: note('commit'),
    tpcVote: note('tpcVote'),
    tpcFinish: note('tpcFinish'),
    tpcAbort: note('tpcAbort'),
    abort: note('abort'),
  };
  return { calls, manager };
}

for (const [how, swallow] of Object.entries({
  'a unique violation': () => session.query('insert into accounts values (1, 0)'),
  'a syntax error': () => session.query('selectt'),
  'an error in several statements': () => session.query('select 1; select 1 / 0; select 2'),
  'a callback’s error': () => new Promise((resolve) => session.query('select 1 / 0', resolve as never)),
})) {
  for (const [ways, others] of Object.entries({ alone: [], 'under two-phase': [second.session] })) {
    test(`pitfall 1: a COMMIT that is a ROLLBACK is an error, ${ways}: ${how} was swallowed`, async () => {
      const { calls, manager } = noting();
      const hooks: boolean[] = [];
      const error = await assert.rejects(
        transaction.run(async (txn) => {
          txn.join(manager);
          txn.addAfterCommitHook((committed) => hooks.push(committed));
          await insert(3);
          for (const other of others) await insert(3, other);
          await Promise.resolve(swallow()).catch(() => undefined);
        }, attempts),
        SilentRollbackError,
      );
      assert.instance(error.cause, Error);
      assert.ok((error.cause as { code?: string }).code);
      assert.equal(hooks, [false]);
      assert.ok(calls.includes('abort') || calls.includes('tpcAbort'), calls.join());
      assert.not.ok(calls.includes('tpcFinish'));
      assert.equal(
        [await db.ids(), await second.ids()],
        [
          [1, 2],
          [1, 2],
        ],
      );
    });
  }
}

test('pitfall 1: an error that only COMMIT shows (a deferred constraint) aborts the others too', async () => {
  await db.admin.query(
    'create table parents (id int primary key); create table children (parent int references parents deferrable initially deferred)',
  );
  for (const both of [false, true]) {
    const { calls, manager } = noting();
    await assert.rejects(
      transaction.run(async (txn) => {
        txn.join(manager);
        if (both) await insert(3, second.session);
        await session.query('insert into children values (7)');
      }, attempts),
      { code: '23503' },
    );
    assert.not.ok(calls.includes('tpcFinish'));
    assert.equal(await second.ids(), [1, 2]);
    await db.assertClean();
  }
  await db.admin.query('drop table children, parents');
});

test('pitfall 2: work that outlives its transaction is refused, and nothing is written', async () => {
  for (const end of ['commit', 'abort', 'throw'] as const) {
    let late!: Promise<unknown>;
    await transaction
      .run(async () => {
        await insert(3);
        late = assert.rejects(
          sleep(50).then(() => insert(4)),
          TransactionClosed,
        );
        if (end === 'throw') throw new Error('left');
        if (end === 'abort') await transaction.abort();
      }, attempts)
      .catch(() => undefined);
    await late;
    assert.not.ok((await db.ids()).includes(4));
    await db.reset();
  }
});

test('pitfall 2: the next transaction of the same context isn’t taken for the one that ended', async () => {
  await transaction.context(async () => {
    const inFirst = await (async () => {
      await transaction.begin();
      await insert(3);
      const inside = AsyncLocalStorage.snapshot();
      await transaction.commit();
      return inside;
    })();
    await transaction.begin();
    await insert(4);
    await assert.rejects(
      inFirst(() => insert(5)),
      TransactionClosed,
    );
    await transaction.commit();
  });
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('pitfall 3: an abort doesn’t overtake siblings: no row, and no statement after the ROLLBACK', async () => {
  const sent: string[] = [];
  proxy.onClientData = (data) => void sent.push(data.toString('latin1').toLowerCase());
  const gate = new Gate();
  const siblings: Promise<unknown>[] = [];
  await assert.rejects(
    transaction.run(async () => {
      await insert(8);
      siblings.push(
        insert(3),
        session.query('insert into accounts select 4, 0 from pg_sleep(0.2)'),
        insert(5),
        gate.opened.then(() => insert(6)),
      );
      const all = Promise.all([...siblings, sleep(20).then(() => Promise.reject(new Error('one fails')))]);
      return await all;
    }, attempts),
    { message: 'one fails' },
  );
  gate.open();
  const errors = await outcomes(...siblings);
  assert.instance(errors[3], NoTransaction);
  await sleep(50);
  assert.equal(await db.ids(), [1, 2]);
  assert.match(sent.at(-1)!, /rollback/);
});

test('pitfall 4: parallel nested runs lose no row, and one that fails takes no sibling’s work along', async () => {
  for (let round = 0; round < 10; round++) {
    await transaction.run(async () => {
      const nested = (id: number): Promise<unknown> =>
        transaction.run(
          async () => {
            await insert(id);
            await sleep(Math.random() * 3);
            if (id % 3 === 0) throw new Error(`${id} fails`);
            await insert(id + 100);
          },
          { propagation: 'nested' },
        );
      const ended = await outcomes(...[10, 11, 12, 13, 14, 15].map(nested));
      assert.equal(
        ended.map((error) => error?.message),
        [undefined, undefined, '12 fails', undefined, undefined, '15 fails'],
      );
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 10, 11, 13, 14, 110, 111, 113, 114]);
    await db.reset();
  }
});

test('pitfall 4: a statement beside an open nested run is refused rather than rolled back with it', async () => {
  await transaction.run(async () => {
    const gate = new Gate();
    const begun = new Gate();
    const nested = transaction.run(
      async () => {
        await insert(10);
        begun.open();
        await gate.opened;
        throw new Error('rolled back');
      },
      { propagation: 'nested' },
    );
    await begun.opened;
    await assert.rejects(insert(3), ConcurrentUseError);
    await assert.rejects(transaction.savepoint(), ConcurrentUseError);
    gate.open();
    await assert.rejects(nested, { message: 'rolled back' });
    await insert(4);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('pitfall 4: nested in nested, in parallel, to three levels', async () => {
  await transaction.run(async () => {
    const level = async (id: number, depth: number): Promise<void> => {
      await insert(id);
      if (depth === 0) {
        if (id % 2 === 0) throw new Error('even');
        return;
      }
      await outcomes(
        ...[1, 2, 3].map((child) =>
          transaction.run(() => level(id * 10 + child, depth - 1), { propagation: 'nested' }),
        ),
      );
    };
    await level(7, 2);
  }, attempts);
  const expected = [1, 2, 7, 71, 72, 73];
  for (const parent of [71, 72, 73]) expected.push(parent * 10 + 1, parent * 10 + 3);
  assert.equal(
    await db.ids(),
    expected.toSorted((a, b) => a - b),
  );
});

const failing: Record<string, { text: string; both?: boolean; abort?: boolean }> = {
  BEGIN: { text: 'begin' },
  'the first statement': { text: 'insert into accounts' },
  COMMIT: { text: 'commit' },
  ROLLBACK: { text: 'rollback', abort: true },
  PREPARE: { text: 'prepare transaction', both: true },
  'COMMIT PREPARED': { text: 'commit prepared', both: true },
  SAVEPOINT: { text: 'savepoint' },
};
let killing: Promise<unknown> | undefined;
for (const [what, { text, both, abort }] of Object.entries(failing)) {
  for (const [how, fail] of Object.entries({
    'the link is cut': (link: { cut(): void }) => {
      link.cut();
      return false;
    },
    'the process is terminated': () => {
      killing = db.terminate('true');
      return undefined;
    },
    'no answer comes': (link: { dropReplies: boolean }) => void (link.dropReplies = true),
  })) {
    // Until a server that says nothing is given up, a few seconds pass; one statement stands for all.
    if (how === 'no answer comes' && (what === 'SAVEPOINT' || what === 'the first statement')) continue;
    test(`pitfall 5: nothing leaks when ${how} at ${what}`, async () => {
      const ignore = (): void => undefined;
      pool.on('error', ignore);
      onText(proxy, text, fail);
      const ended = transaction.run(
        async () => {
          await insert(3);
          if (text === 'savepoint') await transaction.savepoint();
          if (both === true) await insert(3, second.session);
          if (abort === true) throw new Error('aborted');
        },
        { attempts: 1, timeoutMs: 700 },
      );
      const error = await ended.then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      await killing;
      for (const each of [db, second]) {
        // A connection whose process was ended behind the end may still seem to be idle.
        await assert.eventually(() => each.assertClean());
        const isStored = error === undefined && (each === db || both === true);
        assert.is((await each.ids()).includes(3), isStored, String(error));
      }
      pool.off('error', ignore);
    });
  }
}

test('pitfall 5: a connection whose transaction timed out isn’t pooled', async () => {
  const before = await pool.connect().then((client) => {
    client.release();
    return (client as unknown as { processID: number }).processID;
  });
  await assert.rejects(
    transaction.run(() => session.query('select pg_sleep(5)'), { ...attempts, timeoutMs: 50 }),
    TransactionTimeoutError,
  );
  await assert.eventually(() => pool.idleCount === pool.totalCount);
  assert.not.ok((await db.activity()).some(({ pid, state }) => pid === before && state !== 'idle'));
});

test('pitfall 6: a checked-out connection that dies is no uncaught exception: between statements', async () => {
  const { calls, manager } = noting();
  const error = await assert.rejects(
    transaction.run(async (txn) => {
      txn.join(manager);
      await insert(3);
      await db.terminate();
      await sleep(50);
      await insert(4);
    }, attempts),
    { code: 'ERR_TXN_CONNECTION_LOST' },
  );
  assert.is((error.cause as { code: string }).code, '57P01');
  assert.equal(calls, ['abort']);
});

test('pitfall 6: a checked-out connection that dies is no uncaught exception: during a statement', async () => {
  await assert.rejects(
    transaction.run(async () => {
      // The statement may fail before whoever has ended it hears that.
      await Promise.all([
        session.query('select pg_sleep(10)'),
        assert.eventually(async () => (await db.terminate("query like '%pg_sleep%'")) > 0),
      ]);
    }, attempts),
    { code: '57P01' },
  );
});

test('pitfall 6: a transaction that dies with its connection and is aborted says so, once', async () => {
  await transaction.context(async () => {
    await transaction.begin();
    await insert(3);
    await db.terminate();
    await sleep(50);
    const error = await assert.rejects(transaction.abort(), { code: 'ERR_TXN_CONNECTION_LOST' });
    assert.is((error.cause as { code: string }).code, '57P01');
  });
});

test('pitfall 6: idle_in_transaction_session_timeout ends the connection, not the process, and the commit says why', async () => {
  const error = await assert.rejects(
    transaction.run(async () => {
      await session.query("set local idle_in_transaction_session_timeout = '50ms'");
      await insert(3);
      await sleep(200);
    }, attempts),
    { code: 'ERR_TXN_CONNECTION_LOST' },
  );
  assert.is((error.cause as { code: string }).code, '25P03');
  assert.equal(await db.ids(), [1, 2]);
});

test('pitfall 6: a transaction that only read and lost its connection still isn’t an uncaught exception', async () => {
  await transaction
    .run(async () => {
      await session.query('select 1');
      await db.terminate();
      await sleep(50);
    }, attempts)
    .catch(() => undefined);
});

test('pitfall 7: no hook of a commit that failed hears of success; a hook that throws leaves it committed', async () => {
  const hooks: boolean[] = [];
  await assert.rejects(
    transaction.run(async (txn) => {
      txn.addAfterCommitHook((committed) => hooks.push(committed));
      await insert(3);
      await db.terminate();
    }, attempts),
  );
  assert.equal(hooks, [false]);
  const reported: Error[] = [];
  transaction.configure({ onError: (error) => reported.push(error) });
  await transaction.run(async (txn) => {
    txn.addAfterCommitHook(() => {
      throw new Error('from a hook');
    });
    await insert(3);
  }, attempts);
  assert.equal(
    reported.map(({ message }) => message),
    ['from a hook'],
  );
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('pitfall 8: a pool that is opened inside of a transaction never leads others into it', async () => {
  const seen = new Map<string, unknown>();
  const note = (where: string): void => void seen.set(where, transaction.current?.description);
  const own = new pg.Pool({ connectionString: db.url, max: 1 });
  own.on('connect', (client) => {
    note('connect');
    client.on('notification', () => note('notification'));
    client.on('notice', () => note('notice'));
    client.on('end', () => note('end'));
  });
  own.on('acquire', () => note('acquire'));
  const late = new PgSession(own, { name: 'late' });
  const inA = new Gate();
  const a = transaction.run(
    async () => {
      await late.query('select 1');
      await transaction.commit();
      await inA.opened;
    },
    { ...attempts, note: 'A' },
  );
  await assert.eventually(() => own.idleCount === 1);
  await transaction.run(
    async () => {
      await late.query('listen news');
      await late.query("do $$ begin raise notice 'x'; end $$");
      await late.query("notify news, 'x'");
      await new Promise<void>((resolve) => {
        late.query('select 1', () => {
          note('callback in B');
          resolve();
        });
      });
    },
    { ...attempts, note: 'B' },
  );
  await db.admin.query("notify news, 'y'");
  await assert.eventually(() => seen.has('notification'));
  inA.open();
  await a;
  await own.end();
  assert.is(seen.get('callback in B'), 'B');
  for (const where of ['connect', 'notification', 'notice', 'end']) assert.is(seen.get(where), undefined, where);
});

test('pitfall 8: a connection that a session opens knows nothing of the transaction that needed it', async () => {
  const storage = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const own = new pg.Pool({ connectionString: db.url });
  own.on('connect', (client) => client.on('notice', () => seen.push(storage.getStore())));
  const late = new PgSession(own, { name: 'late' });
  await storage.run('caller', () => transaction.run(() => late.query("do $$ begin raise notice 'x'; end $$")));
  assert.equal(seen, [undefined]);
  await own.end();
});

test('pitfall 10: requires-new on a pool of one is refused in bounded time, and says why', async () => {
  for (const settings of [{}, { connectionTimeoutMillis: 150 }]) {
    const one = new pg.Pool({ connectionString: db.url, max: 1, ...settings });
    const single = new PgSession(one, { name: 'single', acquireTimeoutMs: 300 });
    const error = await assert.rejects(
      transaction.run(async () => {
        await insert(3, single);
        await transaction.run(() => insert(4, single), { propagation: 'requires-new' });
      }),
      AcquireTimeoutError,
    );
    assert.match(error.message, /outer transaction/);
    assert.match(error.message, /single/);
    assert.equal(await db.ids(), [1, 2]);
    assert.is(one.waitingCount, 0);
    assert.is(one.idleCount, one.totalCount);
    // What was asked for in vain is not handed to nobody later.
    await transaction.run(() => insert(5, single));
    await one.end();
    await db.reset();
  }
});

test('pitfall 10: a deadline, a signal and an abort end the wait for a connection', async () => {
  const one = new pg.Pool({ connectionString: db.url, max: 1 });
  const single = new PgSession(one, { name: 'single', acquireTimeoutMs: 20_000 });
  const held = await one.connect();
  await assert.rejects(
    transaction.run(() => insert(3, single), { ...attempts, timeoutMs: 50 }),
    TransactionTimeoutError,
  );
  const controller = new AbortController();
  const signalled = transaction.run(() => insert(3, single), { ...attempts, signal: controller.signal });
  await assert.eventually(() => one.waitingCount > 0);
  controller.abort(new Error('enough'));
  await assert.rejects(signalled, DoomedTransaction);
  const aborted = transaction.run(async () => {
    const pending = insert(3, single);
    const refused = assert.rejects(pending);
    await transaction.abort();
    await refused;
  }, attempts);
  await Promise.race([
    aborted,
    sleep(5_000).then(() => {
      throw new Error('an abort waits for a connection that it has no use for');
    }),
  ]);
  held.release();
  await assert.eventually(() => one.waitingCount === 0 && one.idleCount === one.totalCount);
  await one.end();
  assert.equal(await db.ids(), [1, 2]);
});

test('pitfall 11: 200 interleaved contexts over a pool of 10 never cross', async () => {
  const crossed: string[] = [];
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const id = 1_000 + i;
      await transaction
        .run(async (txn) => {
          await insert(id);
          const mine = (await session.query('select pg_current_xact_id()::text as x')).rows[0].x;
          for (let step = 0; step < 3; step++) {
            await sleep(Math.random() * 3);
            const { rows } = await session.query(
              'select pg_current_xact_id()::text as x, max(id) as id from accounts where id >= 1000 and xmin::text = pg_current_xact_id()::text',
            );
            if (rows[0].x !== mine || rows[0].id !== id) crossed.push(`${id} saw ${JSON.stringify(rows)}`);
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
  await db.admin.query('create table if not exists log (i serial, what text)');
  await transaction.run(async () => {
    await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        i % 3 === 0
          ? session.query(`insert into log (what) select 's${i}' from pg_sleep(0.002)`)
          : session.query('insert into log (what) values ($1)', [`s${i}`]),
      ),
    );
  }, attempts);
  const { rows } = await db.admin.query('select what from log order by i');
  assert.equal(
    rows.map(({ what }) => what),
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
          pending.push(session.query(`insert into accounts select ${10 + i}, 0 from pg_sleep(0.05)`));
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
    const pending = insert(3);
    const refused = assert.rejects(pending);
    await assert.rejects(transaction.commit(), ConcurrentUseError);
    await refused.catch(() => undefined);
    await transaction.abort();
  });
  assert.equal(await db.ids(), [1, 2]);
});

/** Makes the server refuse the next BEGIN, by another text of the same length. */
function spoilBegin(): () => boolean {
  let spoiled = false;
  proxy.onClientData = (data) => {
    const at = data.toString('latin1').indexOf('begin');
    if (at < 0) return;
    data.write('bagin', at, 'latin1');
    spoiled = true;
    proxy.onClientData = undefined;
  };
  return () => spoiled;
}

for (const [what, write] of Object.entries({
  'with values': () => insert(3),
  'without values': () => session.query('insert into accounts values (3, 0)'),
  'with a name': () => session.query({ name: 'spoiled', text: 'insert into accounts values ($1, 0)', values: [3] }),
  'of several statements': () =>
    session.query('insert into accounts values (3, 0); insert into accounts values (4, 0)'),
  'that limits its rows': () =>
    session.query({ text: 'insert into accounts values (3, 0) returning id', rows: 1 } as never),
})) {
  test(`pitfall 13: a BEGIN that fails lets no statement run outside of the transaction: one ${what}`, async () => {
    for (const warm of [false, true]) {
      if (warm) await transaction.run(() => insert(9));
      if (warm) await db.reset();
      const wasSpoiled = spoilBegin();
      await assert.rejects(transaction.run(write, attempts), { code: '42601' });
      assert.ok(wasSpoiled());
      assert.equal(await db.ids(), [1, 2]);
      await db.assertClean();
    }
    await transaction.run(write, attempts);
    assert.ok((await db.ids()).includes(3));
  });
}

test('pitfall 13: a BEGIN that fails and is swallowed: nothing more of the transaction runs', async () => {
  spoilBegin();
  const errors: unknown[] = [];
  const ended = transaction.run(async () => {
    for (const id of [3, 4, 5]) await insert(id).catch((error: unknown) => errors.push(error));
  }, attempts);
  await assert.rejects(ended);
  assert.is(errors.length, 3);
  assert.equal(await db.ids(), [1, 2]);
});

test('pitfall 13: many statements behind a first one that fails: none is stored', async () => {
  const pending: Promise<unknown>[] = [];
  await assert.rejects(
    transaction.run(async () => {
      pending.push(session.query('insert into accounts values (1, 0)'), insert(3), insert(4));
      await Promise.all(pending);
    }, attempts),
    { code: '23505' },
  );
  const errors = await outcomes(...pending);
  assert.ok(errors.every((error) => error !== undefined));
  assert.equal(await db.ids(), [1, 2]);
});

test('pitfall 14: query_timeout cancels the statement at the server, twice in one transaction too', async () => {
  const hasty = db.another({ name: 'hasty', pool: { query_timeout: 100 } });
  await assert.rejects(
    transaction.run(() => hasty.session.query('select pg_sleep(20)'), attempts),
    { message: 'Query read timeout' },
  );
  await assert.eventually(
    async () => !(await db.activity()).some(({ state, query }) => state === 'active' && query.includes('pg_sleep')),
  );
  assert.is(hasty.pool.idleCount, hasty.pool.totalCount);
  const start = performance.now();
  await transaction.run(async () => {
    await insert(3, hasty.session);
    for (let i = 0; i < 2; i++) {
      const savepoint = await transaction.savepoint();
      await assert.rejects(hasty.session.query('select pg_sleep(20)'), { message: 'Query read timeout' });
      await savepoint.rollback();
    }
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3], `after ${performance.now() - start} ms`);
});

test('pitfall 14: a signal and timeoutMs cancel the statement at the server, and run rejects with why', async () => {
  const running = async (): Promise<boolean> =>
    (await db.activity()).some(({ state, query }) => state === 'active' && query.includes('pg_sleep'));
  const controller = new AbortController();
  const signalled = transaction.run(() => session.query('select pg_sleep(20)'), {
    ...attempts,
    signal: controller.signal,
  });
  await assert.eventually(running);
  const reason = new Error('the client has gone');
  controller.abort(reason);
  const error = await assert.rejects(signalled, DoomedTransaction);
  assert.is(error.cause, reason);
  await assert.eventually(async () => !(await running()));
  await db.assertClean();
  await assert.rejects(
    transaction.run(() => session.query('select pg_sleep(20)'), { ...attempts, timeoutMs: 100 }),
    TransactionTimeoutError,
  );
  await assert.eventually(async () => !(await running()));
});

test('pitfall 14: a deadline with a kept connection cancels in each of its transactions, and never the next one', async () => {
  const kept = db.another({ name: 'kept', register: { keepSession: true } });
  await transaction.context(async () => {
    for (let i = 0; i < 3; i++) {
      await assert.rejects(
        transaction.run(() => kept.session.query('select pg_sleep(20)'), { ...attempts, timeoutMs: 100 }),
        TransactionTimeoutError,
      );
      await assert.eventually(
        async () => !(await db.activity()).some(({ state, query }) => state === 'active' && query.includes('pg_sleep')),
      );
      await transaction.run(() => kept.session.query('insert into accounts values ($1, 0)', [10 + i]), attempts);
    }
    kept.session.close();
  });
  assert.equal(await db.ids(), [1, 2, 10, 11, 12]);
  assert.is(kept.pool.idleCount, kept.pool.totalCount);
});

test('pitfall 14: none of all this has made pg or Node warn', () => {
  assert.equal(
    warnings.map(({ message }) => message),
    [],
  );
});
