import pg from 'pg';
import { transaction, type DataManager, type Transaction } from 'unanimous';
import { startPostgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText } from './setup.ts';

const test = suite('servers and their processes are killed in every phase, and money is conserved', {
  timeoutMs: 60_000,
});
// What is written stays unflushed for as long as possible, so that a crash loses it.
const settings = { wal_writer_delay: '10s', shared_buffers: '16MB' };
const [serverA, serverB] = await Promise.all([startPostgres({ settings }), startPostgres({ settings })]);
const a = await Database.open(serverA, { name: 'a', resolveTimeoutMs: 15_000 });
const b = await Database.open(serverB, { name: 'b', resolveTimeoutMs: 15_000 });
// When a server dies its idle connections do too, which is the application's to hear.
for (const { pool } of [a, b]) pool.on('error', () => undefined);
test.after(async () => {
  await Promise.all([a.close(), b.close()]);
  await Promise.all([serverA.stop(), serverB.stop()]);
});

const servers = new Map([
  [a, serverA],
  [b, serverB],
]);

/** How a database's processes die. */
const deaths: Record<string, (database: Database) => Promise<unknown>> = {
  'the session’s process is terminated': (database) =>
    database.terminate("state <> 'idle' or query ilike 'prepare transaction%'"),
  'the session’s process is killed, and with it all others of the server': async (database) => {
    const { rows } = await database.admin.query<{ pid: number }>(
      "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and (state <> 'idle' or query ilike 'prepare transaction%')",
    );
    for (const { pid } of rows) process.kill(pid, 'SIGKILL');
  },
  'the server is killed, and comes back': async (database) => {
    const server = servers.get(database)!;
    await server.kill('SIGKILL');
    await server.restart();
  },
};

type Moments = { [moment: string]: (txn: Transaction, kill: () => Promise<unknown>) => Promise<unknown> };

async function transfer(between: () => Promise<unknown> = async () => undefined): Promise<void> {
  await a.session.query('update accounts set balance = balance - 10 where id = 1');
  await between();
  await b.session.query('update accounts set balance = balance + 10 where id = 1');
}

/** A data manager that acts in one of its calls. */
function acting(sortKey: string, call: keyof DataManager, act: () => Promise<unknown>): DataManager {
  const nothing = (): void => undefined;
  const manager = {
    sortKey,
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: nothing,
    tpcAbort: nothing,
    abort: nothing,
  };
  return { ...manager, [call]: async () => void (await act()) };
}

const moments: Moments = {
  'before the first statement': async (_txn, kill) => {
    await kill();
    await transfer();
  },
  'between statements': async (_txn, kill) => {
    await transfer(kill);
  },
  'during a statement': async (_txn, kill) => {
    await a.session.query('update accounts set balance = balance - 10 where id = 1');
    const sleeping = b.session.query(
      'update accounts set balance = balance + 10 where id = 1 and pg_sleep(30) is not null',
    );
    const dead = assert
      .eventually(async () => (await b.activity()).some(({ query }) => query.includes('pg_sleep')))
      .then(kill);
    await Promise.all([sleeping, dead]).finally(() => dead.catch(() => undefined));
  },
  'when the commit begins': async (txn, kill) => {
    await transfer();
    txn.addBeforeCommitHook(kill);
  },
  'before anyone has voted': async (txn, kill) => {
    await transfer();
    txn.join(acting('!', 'tpcVote', kill));
  },
  'between the two PREPAREs': async (txn, kill) => {
    await transfer();
    txn.join(acting('~sql:aa', 'tpcVote', kill));
  },
  'when both are prepared': async (txn, kill) => {
    await transfer();
    txn.join(acting('~~', 'tpcVote', kill));
  },
  'when the commit is decided': async (txn, kill) => {
    await transfer();
    txn.join(acting('!', 'tpcFinish', kill));
  },
  'between the two COMMIT PREPAREDs': async (txn, kill) => {
    await transfer();
    txn.join(acting('~sql:aa', 'tpcFinish', kill));
  },
};
const certain = new Set(['when the commit is decided', 'between the two COMMIT PREPAREDs']);

for (const [death, kill] of Object.entries(deaths)) {
  for (const [moment, work] of Object.entries(moments)) {
    test(`${death} ${moment}: both have it, or neither`, async () => {
      await Promise.all([a.reset(), b.reset()]);
      const ended = transaction.run((txn) => work(txn, () => kill(b)), { attempts: 1 });
      const error = await ended.then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      const [left, right] = await assert.eventually(async () => {
        for (const database of [a, b]) assert.equal(await database.prepared(), []);
        return [await a.balance(1), await b.balance(1)];
      }, 20_000);
      assert.is(left! + right!, 200, `${left} and ${right} after ${error}`);
      if (error === undefined) assert.is(right, 110);
      else assert.is(right, 100, `${error} was thrown`);
      if (certain.has(moment)) assert.is(error, undefined);
      for (const database of [a, b]) await assert.eventually(() => database.assertClean(), 20_000);
    });
  }
}

for (const [death, kill] of Object.entries(deaths)) {
  test(`${death} in the middle of a transaction: run tries again, and it is done once`, async () => {
    await Promise.all([a.reset(), b.reset()]);
    let first = true;
    await transaction.run(
      () =>
        transfer(async () => {
          await b.session.query('select 1');
          if (first) await kill(b);
          first = false;
        }),
      { attempts: 10, backoff: { baseMs: 200 } },
    );
    assert.equal([await a.balance(1), await b.balance(1)], [90, 110]);
  });
}

test('the server is killed with COMMIT on its way: whatever run says is what is stored (pitfall 9)', async () => {
  await a.reset();
  onText(a.proxy, 'commit', (link) => {
    link.dropReplies = true;
    void serverA.kill('SIGKILL').then(() => serverA.restart());
    return undefined;
  });
  const error = await transaction
    .run(() => a.session.query('update accounts set balance = 1 where id = 1'), { attempts: 1 })
    .then(
      () => undefined,
      (thrown: { code: string }) => thrown.code,
    );
  const balance = await assert.eventually(() => a.balance(1).then((value) => value ?? false), 20_000);
  if (error === undefined) assert.is(balance, 1);
  else if (error === 'ERR_TXN_CONNECTION_LOST') assert.is(balance, 100);
  else assert.is(error, 'ERR_TXN_OUTCOME_UNKNOWN');
  a.proxy.onClientData = undefined;
});

test('the server is killed before COMMIT, and another transaction gets the same id: its commit is not taken for ours', async () => {
  const url = await serverA.database('reuse');
  const direct = async <T>(work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const client = new pg.Client(url);
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  };
  await direct((client) => client.query('create table t (who text); checkpoint'));
  const proxied = await Database.open(serverA, { name: 'proxied', resolveTimeoutMs: 10_000, endTimeoutMs: 60_000 });
  proxied.pool.on('error', () => undefined);
  let ours: string | undefined;
  let others: string | undefined;
  onText(proxied.proxy, 'commit', (link) => {
    link.client.pause();
    void (async () => {
      proxied.proxy.refuse = true;
      await serverA.kill('SIGKILL');
      await serverA.restart();
      for (let i = 0; i < 50 && others !== ours; i++) {
        others = await direct(async (client) => {
          const { rows } = await client.query<{ id: string }>(
            "insert into t values ('other') returning pg_current_xact_id()::text as id",
          );
          return rows[0]!.id;
        });
        if (BigInt(others) > BigInt(ours!)) break;
      }
      proxied.proxy.refuse = false;
      link.cut();
    })();
    return false;
  });
  const error = await transaction
    .run(
      async () => {
        const { rows } = await proxied.session.query<{ id: string }>(
          'insert into accounts values (77, 0) returning pg_current_xact_id()::text as id',
        );
        ours = rows[0]!.id;
      },
      { attempts: 1 },
    )
    .then(
      () => undefined,
      (thrown: Error) => thrown,
    );
  assert.is(others, ours, 'the id was used again');
  const { rows } = await assert.eventually(() => proxied.admin.query('select 1 from accounts where id = 77'), 20_000);
  assert.equal(rows, []);
  assert.instance(error, Error, 'nothing was stored, so run must not return');
  await proxied.close();
});
