import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from './setup.ts';

const test = suite('20,000 transactions leave nothing behind (pitfall 5)', { timeoutMs: 300_000 });
const db = await Database.open(await postgres(), { name: 'leaks', pool: { max: 8, idleTimeoutMillis: 0 } });
const { pool } = db;
const direct = db.another({ name: 'direct', pool: { max: 8, idleTimeoutMillis: 0 } });
const other = db.another({ name: 'other', pool: { max: 4, idleTimeoutMillis: 0 } });
test.after(() => db.close());

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Bytes of heap in use, behind a full collection. */
async function heap(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

async function one(i: number): Promise<void> {
  const { session } = direct;
  const id = (i % 2) + 1;
  const kind = i % 100;
  const write = (): Promise<unknown> => session.query('update accounts set balance = balance + 1 where id = $1', [id]);
  const failing = (): Promise<unknown> => session.query('insert into accounts values ($1, 0)', [id]);
  const options = { attempts: 1 };
  if (kind < 70) await transaction.run(write, options);
  else if (kind < 76) await transaction.run(() => session.query('select * from accounts where id = $1', [id]), options);
  else if (kind < 82) await transaction.run(failing, options);
  else if (kind < 86) await transaction.run(() => failing().catch(() => undefined), options);
  else if (kind < 90) await transaction.run(() => write().then(() => Promise.reject(new Error('thrown'))), options);
  else if (kind < 93)
    await transaction.run(
      () => write().then(() => transaction.savepoint().then((savepoint) => savepoint.rollback())),
      options,
    );
  else if (kind < 96) await transaction.run(() => transaction.run(write, { propagation: 'nested' }), options);
  else if (kind < 98)
    await transaction.run(
      () => write().then(() => other.session.query('update accounts set balance = balance where id = 7')),
      options,
    );
  else if (kind < 99) await transaction.run(() => void write().catch(() => undefined), options);
  else if (i % 500 === 99)
    await transaction.run(() => session.query('select pg_sleep(5)'), { ...options, timeoutMs: 5 });
  else await transaction.run(write, { ...options, signal: new AbortController().signal, timeoutMs: 60_000 });
}

async function many(from: number, count: number): Promise<void> {
  let next = from;
  const client = async (): Promise<void> => {
    while (next < from + count) await one(next++).catch(() => undefined);
  };
  await Promise.all(Array.from({ length: 8 }, client));
}

test('the pool is whole, the server idle, listeners and heap constant', async () => {
  const listeners = new Map<unknown, number[]>();
  const count = async (): Promise<void> => {
    const clients = await Promise.all(Array.from({ length: 8 }, () => direct.pool.connect()));
    for (const client of clients) {
      const names = [...client.eventNames()];
      const counts = listeners.get(client) ?? [];
      counts.push(names.reduce((sum, name) => sum + client.listenerCount(name), 0));
      listeners.set(client, counts);
      client.release();
    }
  };
  await many(0, 4_000);
  await count();
  const heaps = [await heap()];
  const block = 4_000;
  for (let i = 1; i <= 4; i++) {
    await many(i * block, block);
    heaps.push(await heap());
  }
  await count();
  const slope = (heaps.at(-1)! - heaps[0]!) / (block * 4);
  console.log(
    `heap ${heaps.map((bytes) => (bytes / 1e6).toFixed(2)).join(', ')} MB: ${slope.toFixed(1)} bytes a transaction`,
  );
  assert.ok(slope < 60, `the heap grows by ${slope} bytes a transaction`);
  for (const counts of listeners.values())
    assert.is(new Set(counts).size, 1, `listeners of a connection: ${counts.join()}`);
  for (const each of [pool, direct.pool, other.pool]) {
    await assert.eventually(() => each.idleCount === each.totalCount && each.waitingCount === 0, 30_000);
  }
  await db.assertClean();
  const { rows } = await direct.pool.query<{ n: number }>('select count(*)::int as n from pg_prepared_statements');
  assert.ok(rows[0]!.n <= 10, `${rows[0]!.n} statements are prepared on a connection`);
});

test('a transaction that is over is collected, with what it held', async () => {
  const references: WeakRef<object>[] = [];
  await (async (): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      await transaction
        .run(
          async (txn) => {
            references.push(new WeakRef(txn));
            await direct.session.query('update accounts set balance = 0 where id = $1', [1]);
            if (i % 3 === 0) await direct.session.query('selectt');
          },
          { attempts: 1 },
        )
        .catch(() => undefined);
    }
  })();
  await assert.eventually(async () => {
    await heap();
    return references.filter((reference) => reference.deref() !== undefined).length <= 1;
  }, 30_000);
});
