import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import driver from 'mysql2/promise';
import { ConcurrentUseError, NoTransaction, SilentRollbackError, TransactionClosed, transaction } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { Gate, failureOf, noting, onText, outcomes } from '../sql/helpers.ts';
import { Database, poolState, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`what goes wrong elsewhere, on ${product}`);
  const db = await Database.open(server, { name: 'pitfalls', endTimeoutMs: 1_000, pool: { multipleStatements: true } });
  const second = await Database.open(server, { name: 'second', endTimeoutMs: 1_000 });
  const plain = db.another({ name: 'plain', register: { twoPhase: false }, pool: { multipleStatements: true } });
  const { proxy, session } = db;
  test.after(() => Promise.all([db.close(), second.close()]));
  test.after.each(async () => {
    for (const each of [db, second]) {
      each.proxy.onClientData = undefined;
      each.proxy.onServerData = undefined;
      await each.assertClean();
      await each.reset();
    }
    assert.equal(warnings, []);
  });
  const insert = (id: number, target = session): Promise<unknown> =>
    target.execute('insert into accounts values (?, 0)', [id]);

  const swallowed: Record<string, (target: MysqlSession) => Promise<unknown>> = {
    'a unique violation (1062)': (target) => target.query('insert into accounts values (1, 0)'),
    'a syntax error': (target) => target.query('selectt'),
    'an error in several statements': (target) => target.query('select 1; selectt; select 2'),
    'an error of a prepared statement': (target) => target.execute('insert into accounts values (?, 0)', [1]),
    'an error of a stream': (target) =>
      new Promise((resolve) => {
        const stream = target.queryStream('select * from nothing');
        stream.on('error', () => undefined);
        stream.on('close', resolve);
      }),
    'a lock timeout (1205)': async (target) => {
      const holder = await db.admin.getConnection();
      await holder.query('start transaction');
      await holder.query('select * from accounts where id = 2 for update');
      try {
        await target.query('set session innodb_lock_wait_timeout = 1');
        await target.query('update accounts set balance = 1 where id = 2');
      } finally {
        await holder.query('rollback');
        holder.release();
      }
    },
  };
  for (const [how, swallow] of Object.entries(swallowed)) {
    for (const [ways, own, others] of [
      ['alone', session, []],
      ['in a plain transaction', plain.session, []],
      ['under two-phase', session, [second.session]],
      ['as a last resource', plain.session, [second.session]],
    ] as const) {
      test(`pitfall 1: half of the work is no commit, ${ways}: ${how} was swallowed`, async () => {
        const { calls, manager } = noting();
        const hooks: boolean[] = [];
        const error = await assert.rejects(
          transaction.run(async (txn) => {
            txn.join(manager);
            txn.addAfterCommitHook((committed) => hooks.push(committed));
            await insert(3, own);
            for (const other of others) await insert(3, other);
            await swallow(own).catch(() => undefined);
          }, attempts),
          SilentRollbackError,
        );
        assert.type((error.cause as { errno?: number }).errno, 'number');
        assert.equal(hooks, [false]);
        assert.not.ok(calls.includes('tpcFinish'), calls.join());
        for (const each of [db, second]) assert.equal(await each.ids(), [1, 2]);
      });
    }
  }

  test('pitfall 2: work that outlives its transaction is refused, and nothing is written', async () => {
    for (const end of ['commit', 'abort', 'throw'] as const) {
      let late!: Promise<unknown>;
      await transaction
        .run(async () => {
          await insert(3);
          const prepared = await session.prepare('insert into accounts values (?, 0)');
          const calls = [
            () => insert(4),
            () => session.query('insert into accounts values (5, 0)'),
            () => prepared.execute([6]),
            () => prepared.close(),
            () => session.prepare('insert into accounts values (7, 0)'),
            async () => session.queryStream('insert into accounts values (8, 0)').toArray(),
          ];
          late = Promise.all(calls.map((call) => assert.rejects(sleep(50).then(call), TransactionClosed)));
          if (end === 'throw') throw new Error('left');
          if (end === 'abort') await transaction.abort();
        }, attempts)
        .catch(() => undefined);
      await late;
      assert.equal(await db.ids(), end === 'commit' ? [1, 2, 3] : [1, 2]);
      await db.reset();
    }
  });

  test('pitfall 2: without a transaction nothing is sent', async () => {
    const before = poolState(db.pool).all;
    for (let i = 0; i < 2; i++) await assert.rejects(insert(3), NoTransaction);
    assert.throws(
      () => session.queryStream('select 1'),
      (error: unknown) => error instanceof NoTransaction,
    );
    await assert.rejects(session.prepare('select 1'), NoTransaction);
    assert.is(poolState(db.pool).all, before);
  });

  for (const [kind, target] of [
    ['branch', session],
    ['plain transaction', plain.session],
  ] as const) {
    test(`pitfall 3: an abort doesn’t overtake siblings: no row, and no statement after the rollback of a ${kind}`, async () => {
      const sent: string[] = [];
      proxy.onClientData = (data) => void sent.push(data.toString('latin1').toLowerCase());
      const gate = new Gate();
      const siblings: Promise<unknown>[] = [];
      await assert.rejects(
        transaction.run(async () => {
          await insert(8, target);
          siblings.push(
            insert(3, target),
            target.query('insert into accounts select 4, sleep(0.2)'),
            insert(5, target),
            gate.opened.then(() => insert(6, target)),
          );
          return Promise.all([...siblings, sleep(20).then(() => Promise.reject(new Error('one fails')))]);
        }, attempts),
        { message: 'one fails' },
      );
      gate.open();
      const errors = await outcomes(...siblings);
      assert.instance(errors[3], NoTransaction);
      await sleep(50);
      assert.equal(await db.ids(), [1, 2]);
      if (target === session) assert.match(sent.at(-1)!, /rollback/);
    });
  }

  test('pitfall 4: parallel nested runs lose no row, and one that fails takes no sibling’s work along', async () => {
    for (let round = 0; round < 5; round++) {
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
      const [gate, begun] = [new Gate(), new Gate()];
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
      gate.open();
      await assert.rejects(nested, { message: 'rolled back' });
      await insert(4);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 4]);
  });

  let killing: Promise<unknown> | undefined;
  const failing: Record<string, { text: string; target?: MysqlSession; both?: boolean; abort?: boolean }> = {
    'XA START': { text: 'xa start' },
    'the first statement': { text: 'insert into accounts' },
    'XA COMMIT … ONE PHASE': { text: 'one phase' },
    'XA ROLLBACK': { text: 'xa rollback', abort: true },
    'XA PREPARE': { text: 'xa prepare', both: true },
    'XA COMMIT': { text: 'xa commit', both: true },
    SAVEPOINT: { text: 'savepoint' },
  };
  for (const [what, { text, both, abort }] of Object.entries(failing)) {
    for (const [how, fail] of Object.entries({
      'the link is cut': (link: { cut(): void }) => {
        link.cut();
        return false;
      },
      'the connection is killed': () => {
        killing = db.terminate(() => true);
        return undefined;
      },
      'no answer comes': (link: { dropReplies: boolean }) => void (link.dropReplies = true),
    })) {
      // Until a server that says nothing is given up, a few seconds pass; one statement stands for all.
      if (how === 'no answer comes' && (what === 'SAVEPOINT' || what === 'the first statement')) continue;
      test(`pitfall 5: nothing leaks when ${how} at ${what}`, async () => {
        onText(proxy, text, fail);
        const error = await failureOf(
          transaction.run(
            async () => {
              await insert(3);
              if (text === 'savepoint') await transaction.savepoint();
              if (both === true) await insert(3, second.session);
              if (abort === true) throw new Error('aborted');
            },
            { attempts: 1, timeoutMs: 700 },
          ),
        );
        await killing;
        const mayBe =
          error?.code === 'ERR_TXN_OUTCOME_UNKNOWN' && (text === 'one phase' || how === 'the connection is killed');
        for (const each of [db, second]) {
          // A connection that was killed behind the end may still seem to be idle.
          await assert.eventually(() => each.assertClean());
          const isStored = error === undefined && (each === db || both === true);
          if (!mayBe) assert.is((await each.ids()).includes(3), isStored, String(error));
        }
      });
    }
  }

  test('pitfall 6: a connection that dies in a transaction is no uncaught exception: between statements', async () => {
    const { calls, manager } = noting();
    await assert.rejects(
      transaction.run(async (txn) => {
        txn.join(manager);
        await insert(3);
        await db.terminate();
        await sleep(50);
        await insert(4);
      }, attempts),
      { code: 'ERR_TXN_CONNECTION_LOST' },
    );
    assert.equal(calls, ['abort']);
  });

  test('pitfall 6: a connection that dies in a transaction is no uncaught exception: during a statement, a stream, at the end', async () => {
    for (const [text, work] of Object.entries({
      'sleep(10)': () => session.query('select sleep(10)'),
      'sleep(11)': async () => {
        for await (const _row of session.queryStream('select sleep(11)'));
      },
    })) {
      await assert.rejects(
        transaction.run(async () => {
          await insert(3);
          const working = work();
          working.catch(() => undefined);
          await assert.eventually(async () => (await db.terminate(({ info }) => info?.includes(text) === true)) > 0);
          await working;
        }, attempts),
      );
      await db.assertClean();
    }
    const lost = await assert.rejects(
      transaction.run(async (txn) => {
        await insert(3);
        txn.addBeforeCommitHook(async () => {
          await db.terminate();
          await sleep(50);
        });
      }, attempts),
      { code: 'ERR_TXN_CONNECTION_LOST' },
    );
    assert.instance(lost.cause, Error);
  });

  test('pitfall 6: a transaction that dies with its connection and is aborted says so, once', async () => {
    await transaction.context(async () => {
      await transaction.begin();
      await insert(3);
      await db.terminate();
      await sleep(50);
      await assert.rejects(transaction.abort(), { code: 'ERR_TXN_CONNECTION_LOST' });
    });
  });

  test('pitfall 6: wait_timeout ends the connection, not the process, and the commit says why', async () => {
    await assert.rejects(
      transaction.run(async () => {
        await session.query('set session wait_timeout = 1');
        await insert(3);
        await sleep(1_500);
      }, attempts),
      { code: 'ERR_TXN_CONNECTION_LOST' },
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a connection that died while idle in the pool: run tries again, before anything was done', async () => {
    for (const how of ['killed', 'cut'] as const) {
      await transaction.run(() => session.query('select 1'));
      assert.ok(poolState(db.pool).free > 0);
      // The pool finds out at the moment when the transaction begins.
      onText(proxy, 'xa start', (link) => {
        if (how === 'cut') link.cut();
        else void db.terminate(() => true);
        return false;
      });
      await transaction.run(() => insert(3));
      assert.equal(await db.ids(), [1, 2, 3]);
      await db.reset();
    }
    await transaction.run(() => session.query('select 1'));
    await db.cut();
    await transaction.run(() => insert(3), attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('pitfall 7: no hook of a commit that failed hears of success', async () => {
    const hooks: boolean[] = [];
    await assert.rejects(
      transaction.run(async (txn) => {
        txn.addAfterCommitHook((committed) => hooks.push(committed));
        await insert(3);
        await db.terminate();
      }, attempts),
    );
    assert.equal(hooks, [false]);
  });

  test('pitfall 8: a pool that is opened inside of a transaction never leads others into it', async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen = new Map<string, unknown>();
    const note = (where: string): void => {
      seen.set(where, transaction.current?.description ?? storage.getStore());
    };
    const own = driver.createPool({ uri: db.url, connectionLimit: 1 });
    own.on('connection', (connection) => {
      note('connection');
      connection.on('error', () => note('error'));
      connection.on('end', () => note('end'));
    });
    const late = new MysqlSession(own, { name: 'late' });
    const inA = new Gate();
    const a = storage.run('A', () =>
      transaction.run(
        async () => {
          await late.query('select 1');
          await transaction.commit();
          await inA.opened;
        },
        { ...attempts, note: 'A' },
      ),
    );
    await assert.eventually(() => poolState(own).free === 1);
    await transaction.run(
      async () => {
        await late.query('select 1');
        note('after a statement in B');
      },
      { ...attempts, note: 'B' },
    );
    await db.terminate(() => true);
    await assert.eventually(() => seen.has('end') || seen.has('error'));
    inA.open();
    await a;
    await own.end();
    assert.is(seen.get('after a statement in B'), 'B');
    for (const where of ['connection', 'error', 'end']) assert.is(seen.get(where), undefined, where);
  });
}
