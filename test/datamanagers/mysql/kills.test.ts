// Servers of one's own are killed in every phase, and money is conserved.
import { setTimeout as sleep } from 'node:timers/promises';
import { transaction, type Transaction } from 'unanimous';
import { startMariadb, startMysql, type PrivateMariadb } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf, onText, plain } from '../sql/helpers.ts';
import { Database, poolState } from './setup.ts';

const starts: Record<string, PrivateMariadb | undefined> = { MariaDB: await startMariadb(), MySQL: await startMysql() };

for (const [product, server] of Object.entries(starts)) {
  if (server === undefined) continue;
  const test = suite(`the server is killed in every phase, and money is conserved, on ${product}`, {
    timeoutMs: 90_000,
  });
  // Two databases of one server: when it dies, so do both branches.
  const a = await Database.open(server, { name: 'a', resolveTimeoutMs: 30_000 });
  const b = await Database.open(server, { name: 'b', resolveTimeoutMs: 30_000 });
  test.after(async () => {
    await Promise.all([a.close(), b.close()]);
    await server.stop();
  });

  const transfer = async (between: () => Promise<unknown> = async () => undefined): Promise<void> => {
    await a.session.execute('update accounts set balance = balance - 10 where id = 1');
    await between();
    await b.session.execute('update accounts set balance = balance + 10 where id = 1');
  };

  /** Dies at once, and is back some time later. */
  let restarted: Promise<unknown> = Promise.resolve();
  const kill = async (): Promise<void> => {
    await server.kill('SIGKILL');
    restarted = server.restart();
  };

  type Moment = (txn: Transaction) => Promise<unknown>;
  const moments: Record<string, { work: Moment; certain?: 'committed' | 'aborted' }> = {
    'between statements': { work: () => transfer(kill), certain: 'aborted' },
    'during a statement': {
      work: async () => {
        await a.session.query('update accounts set balance = balance - 10 where id = 1');
        const sleeping = b.session.query('update accounts set balance = balance + 10 + sleep(30) where id = 1');
        sleeping.catch(() => undefined);
        await assert.eventually(() => b.isRunning('sleep(30)'));
        await kill();
        await sleeping;
      },
      certain: 'aborted',
    },
    'when the commit begins': {
      work: async (txn) => {
        await transfer();
        txn.addBeforeCommitHook(kill);
      },
      certain: 'aborted',
    },
    'between the two XA PREPAREs': {
      work: async (txn) => {
        await transfer();
        txn.join(plain('~sql:aa', { tpcVote: kill }));
      },
      certain: 'aborted',
    },
    'when both are prepared, and another one says no': {
      work: async (txn) => {
        await transfer();
        txn.join(plain('~~', { tpcVote: () => kill().then(() => Promise.reject(new Error('no'))) }));
      },
      certain: 'aborted',
    },
    'when both are prepared': {
      work: async (txn) => {
        await transfer();
        txn.join(plain('~~', { tpcVote: kill }));
      },
      certain: 'committed',
    },
    'when the commit is decided': {
      work: async (txn) => {
        await transfer();
        txn.join(plain('!', { tpcFinish: kill }));
      },
      certain: 'committed',
    },
    'between the two XA COMMITs': {
      work: async (txn) => {
        await transfer();
        txn.join(plain('~sql:aa', { tpcFinish: kill }));
      },
      certain: 'committed',
    },
  };

  for (const [moment, { work, certain }] of Object.entries(moments)) {
    test(`${moment}: both have it, or neither`, async () => {
      await restarted;
      await Promise.all([a.reset(), b.reset()]);
      const error = await failureOf(transaction.run(work, { attempts: 1 }));
      await restarted;
      const balances = await assert.eventually(async () => {
        for (const database of [a, b]) assert.equal(await database.prepared(), []);
        return [await a.balance(1), await b.balance(1)];
      }, 30_000);
      if (certain === 'committed') assert.is(error, undefined);
      else assert.instance(error, Error);
      assert.equal(balances, error === undefined ? [90, 110] : [100, 100], String(error));
      for (const database of [a, b]) await assert.eventually(() => database.assertClean(), 30_000);
    });
  }

  test('in the middle of a transaction: run tries again, and it is done once', async () => {
    await restarted;
    await Promise.all([a.reset(), b.reset()]);
    let first = true;
    await transaction.run(
      () =>
        transfer(async () => {
          if (first) await kill();
          await restarted;
          first = false;
        }),
      { attempts: 10, backoff: { baseMs: 200 } },
    );
    assert.equal([await a.balance(1), await b.balance(1)], [90, 110]);
  });

  test('a server that has become read-only, as one that was the primary before a failover: its connection isn’t pooled', async () => {
    await restarted;
    await a.reset();
    const name = new URL(a.url).pathname.slice(1);
    await a.admin.query(
      `create user if not exists reader@'127.0.0.1'; grant all on \`${name}\`.* to reader@'127.0.0.1'`,
    );
    const url = new URL(a.url);
    url.username = 'reader';
    const { session, pool } = a.another({ name: 'reader', pool: { uri: url.href } });
    const write = (): Promise<unknown> => session.query('update accounts set balance = 1 where id = 1');
    await transaction.run(write, { attempts: 1 });
    await a.admin.query('set global read_only = 1');
    try {
      await transaction.run(() => session.query('select * from accounts'), { attempts: 1 });
      assert.is(poolState(pool).all, 1);
      await assert.rejects(transaction.run(write, { attempts: 1 }), { errno: 1290 });
      assert.is(poolState(pool).all, 0);
    } finally {
      await a.admin.query('set global read_only = 0');
    }
    await transaction.run(write, { attempts: 1 });
  });

  test('with a lone COMMIT on its way: whatever run says is what is stored, or that it isn’t known (pitfall 9)', async () => {
    for (let i = 0; i < 2; i++) {
      await restarted;
      await a.reset();
      onText(a.proxy, 'one phase', (link) => {
        link.dropReplies = true;
        void kill();
        return undefined;
      });
      const error = await failureOf(
        transaction.run(() => a.session.query('update accounts set balance = 1 where id = 1'), { attempts: 1 }),
      );
      assert.is(error?.code, 'ERR_TXN_OUTCOME_UNKNOWN');
      await sleep(10);
      await restarted;
      assert.ok(
        [1, 100].includes(
          (await assert.eventually(() => a.balance(1).then((value) => value ?? false), 30_000)) as number,
        ),
      );
    }
    await restarted;
    for (const database of [a, b]) await assert.eventually(() => database.assertClean(), 30_000);
  });
}
