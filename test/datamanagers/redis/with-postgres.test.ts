// A Redis and a PostgreSQL in one transaction: PostgreSQL prepares, and EXEC decides.
import { CommitOutcomeUnknownError, InDoubtError, transaction, type Transaction } from 'unanimous';
import { PartlyAppliedError } from 'unanimous/redis';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from '../pg/setup.ts';
import { Store, onText, rejection } from './setup.ts';

const test = suite('Redis with PostgreSQL', { timeoutMs: 60_000 });
const db = await Database.open(await postgres(), { name: 'bank' });
const store = await Store.open({ name: 'cache', endTimeoutMs: 250, resolveTimeoutMs: 1_000, acquireTimeoutMs: 1_000 });
const { session: redis, admin, proxy } = store;
const { session: bank } = db;
test.after(async () => {
  await store.close();
  await db.close();
});
test.before.each(async () => {
  await admin.flushall();
  await db.reset();
});
test.after.each(async () => {
  proxy.onClientData = undefined;
  proxy.onServerData = undefined;
  await db.assertClean();
  await store.assertClean();
});

const COMMIT = 'unanimous:token:';
const debit = (): Promise<unknown> => bank.query('update accounts set balance = balance - 10 where id = 1');

test('both commit: PostgreSQL is prepared when EXEC is run, and EXEC is the last word', async () => {
  let prepared: string[] = [];
  let way: Transaction['way'];
  onText(proxy, COMMIT, () => {
    proxy.hold();
    void db.prepared().then((names) => {
      prepared = names;
      proxy.release();
    });
  });
  await transaction.run(async (txn) => {
    redis.set('balance:1', '90');
    await debit();
    txn.addAfterCommitHook(() => (way = txn.way));
  });
  assert.is(prepared.length, 1);
  assert.is(way, 'last-resource');
  assert.is(await db.balance(1), 90);
  assert.equal(await store.contents(), { 'balance:1': '90' });
});

test('where only one of them was written, the other one costs nothing', async () => {
  const ways: Transaction['way'][] = [];
  await transaction.run(async (txn) => {
    await redis.get('balance:1');
    await debit();
    txn.addAfterCommitHook(() => ways.push(txn.way));
  });
  await transaction.run(async (txn) => {
    redis.set('k', '1');
    await bank.query('select 1');
    txn.addAfterCommitHook(() => ways.push(txn.way));
  });
  assert.equal(ways, ['one-phase', 'one-phase']);
});

test('where PostgreSQL says no, nothing is sent to Redis', async () => {
  await transaction.run(() => redis.get('warm'));
  proxy.resetFlights();
  const error = await rejection(
    transaction.run(async () => {
      redis.set('k', '1');
      await debit();
      await bank.query('create temp table t (id int)');
    }),
  );
  assert.match(error.message, /PREPARE a transaction that has operated on temporary objects/);
  assert.is(proxy.flights, 0);
  assert.is(await db.balance(1), 100);
});

test('where EXEC applies a part, PostgreSQL is rolled back, and nothing is tried again', async () => {
  await admin.set('text', 'x');
  let attempts = 0;
  const error = await rejection(
    transaction.run(async () => {
      attempts++;
      await debit();
      redis.set('a', '1');
      redis.lpush('text', 'y');
    }),
  );
  assert.instance(error, PartlyAppliedError);
  assert.is(attempts, 1);
  assert.is(await db.balance(1), 100);
});

test('where Redis refuses a command before EXEC, PostgreSQL is rolled back', async () => {
  const error = await rejection(
    transaction.run(async () => {
      await debit();
      redis.call('UNHEARD.OF');
    }),
  );
  assert.match(error.message, /unknown command/);
  assert.is(await db.balance(1), 100);
});

test('a conflict in Redis is tried again with both', async () => {
  let attempts = 0;
  await transaction.run(async () => {
    attempts++;
    await debit();
    await redis.watch('stock');
    const stock = Number((await redis.get('stock')) ?? 3);
    if (attempts === 1) await admin.set('stock', '7');
    redis.set('stock', String(stock - 1));
  });
  assert.is(attempts, 2);
  assert.is(await db.balance(1), 90);
  assert.equal(await store.contents(), { stock: '6' });
});

test('a deadlock in PostgreSQL is tried again with both', async () => {
  let attempts = 0;
  await transaction.run(async () => {
    attempts++;
    redis.incr('n');
    await debit();
    if (attempts === 1) await bank.query("do $$ begin raise exception 'again' using errcode = '40P01'; end $$");
  });
  assert.is(attempts, 2);
  assert.equal(await store.contents(), { n: '1' });
  assert.is(await db.balance(1), 90);
});

test('where the reply to EXEC is lost and it was run, both are committed', async () => {
  await transaction.run(() => redis.get('warm'));
  onText(proxy, COMMIT, (link) => {
    link.dropReplies = true;
  });
  await transaction.run(async () => {
    await debit();
    redis.incr('n');
  });
  assert.is(await db.balance(1), 90);
  assert.equal(await store.contents(), { n: '1' });
});

test('where EXEC never arrived, neither is, and both are tried again', async () => {
  await transaction.run(() => redis.get('warm'));
  onText(proxy, COMMIT, () => false);
  const errors: Error[] = [];
  for await (const attempt of transaction.attempts(2, { backoff: false })) {
    await attempt(async (txn) => {
      txn.addAfterCommitHook(async (committed: boolean) => {
        if (!committed) errors.push(new Error(`${await db.balance(1)} ${JSON.stringify(await store.contents())}`));
      });
      await debit();
      redis.incr('n');
    });
  }
  assert.equal(
    errors.map(({ message }) => message),
    ['100 {}'],
  );
  assert.is(await db.balance(1), 90);
  assert.equal(await store.contents(), { n: '1' });
});

test('where whether EXEC was run can never be known, PostgreSQL stays prepared, and the error says what to do', async () => {
  const blind = store.another({ name: 'blind', tokenTtlMs: false, endTimeoutMs: 250 });
  await transaction.run(() => blind.get('warm'));
  onText(proxy, 'incr', (link) => {
    link.dropReplies = true;
  });
  const error = await rejection<InDoubtError>(
    transaction.run(async () => {
      await debit();
      blind.incr('n');
    }),
  );
  assert.instance(error, InDoubtError);
  assert.instance(error.cause, CommitOutcomeUnknownError);
  assert.equal(error.unfinished, ['bank']);
  assert.match(error.message, /the outcome at blind must be known/);
  const [gid] = await db.prepared();
  await db.admin.query(`commit prepared '${gid}'`);
  assert.is(await db.balance(1), 90);
  await blind.close();
});

test('Redis that dies in the middle of a transaction takes PostgreSQL along, and both are tried again', async () => {
  const own = await Store.open({ name: 'mortal', acquireTimeoutMs: 5_000 });
  let attempts = 0;
  await transaction.run(async () => {
    attempts++;
    if (attempts === 2) {
      assert.is(await db.balance(1), 100);
      await own.server.restart();
    }
    await debit();
    own.session.incr('n');
    await own.session.get('n');
    if (attempts === 1) await own.server.kill('SIGKILL');
  });
  assert.is(attempts, 2);
  assert.is(await db.balance(1), 90);
  assert.equal(await own.contents(), { n: '1' });
  await own.close();
});

test('200 transfers at once, with conflicts, leave both with the same sums (pitfall 11)', async () => {
  const pool = db.another({ name: 'bank200', pool: { max: 10 } });
  const crowd = store.another({ name: 'crowd', maxWatching: 10, acquireTimeoutMs: 20_000 });
  await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      transaction.run(
        async () => {
          const id = (index % 2) + 1;
          if (index % 5 === 0) await crowd.watch(`moved:${id}`);
          await pool.session.query('update accounts set balance = balance + 1 where id = $1', [id]);
          await crowd.get(`moved:${id}`);
          crowd.incr(`moved:${id}`);
          if (index % 10 === 9 && transaction.current!.attempt === 1)
            throw Object.assign(new Error('again'), { code: '40001', severity: 'ERROR' });
        },
        { attempts: 200, backoff: { baseMs: 1, maxMs: 20 } },
      ),
    ),
  );
  assert.equal([await db.balance(1), await db.balance(2)], [200, 200]);
  assert.equal(await store.contents(), { 'moved:1': '100', 'moved:2': '100' });
  await crowd.close();
});
