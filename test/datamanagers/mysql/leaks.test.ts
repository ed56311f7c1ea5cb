import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Database, held, poolState, products, warnings } from './setup.ts';

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

// One server stands for both: what may leak is on this side of the wire.
const [{ product, server }] = (await products()) as [Awaited<ReturnType<typeof products>>[0]];
const test = suite(`6,000 transactions leave nothing behind (pitfall 5), on ${product}`, { timeoutMs: 300_000 });
const db = await Database.open(server, { name: 'leaks' });
const direct = db.another({ name: 'direct', pool: { connectionLimit: 8, maxIdle: 8 } });
const other = db.another({ name: 'other', pool: { connectionLimit: 4, maxIdle: 4 } });
test.after(() => db.close());

async function one(i: number): Promise<void> {
  const { session } = direct;
  const id = (i % 2) + 1;
  const kind = i % 100;
  const write = (): Promise<unknown> => session.execute('update accounts set balance = balance + 1 where id = ?', [id]);
  const failing = (): Promise<unknown> => session.query('insert into accounts values (?, 0)', [id]);
  const options = { attempts: 1 };
  if (kind < 70) await transaction.run(write, options);
  else if (kind < 74) await transaction.run(() => session.query('select * from accounts where id = ?', [id]), options);
  else if (kind < 78)
    await transaction.run(async () => {
      for await (const _row of session.queryStream('select * from accounts')) if (i % 2 === 0) break;
    }, options);
  else if (kind < 80)
    await transaction.run(async () => {
      const statement = await session.prepare('select * from accounts where id = ?');
      await statement.execute([id]);
      await statement.close();
    }, options);
  else if (kind < 83) await transaction.run(failing, options);
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
  else if (i % 500 === 99) await transaction.run(() => session.query('select sleep(5)'), { ...options, timeoutMs: 5 });
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
  const listeners = async (): Promise<number[]> => {
    const connections = await Promise.all(Array.from({ length: 8 }, () => direct.pool.getConnection()));
    const counts = connections.map(({ connection }) => {
      const emitter = connection as unknown as NodeJS.EventEmitter;
      return emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0);
    });
    for (const connection of connections) connection.release();
    return counts;
  };
  const block = 1_500;
  await many(0, block);
  const before = await listeners();
  const heaps = [await heap()];
  for (let i = 1; i <= 3; i++) {
    await many(i * block, block);
    heaps.push(await heap());
  }
  const after = await listeners();
  const slope = (heaps.at(-1)! - heaps[0]!) / (block * 3);
  console.log(
    `heap ${heaps.map((bytes) => (bytes / 1e6).toFixed(2)).join(', ')} MB: ${slope.toFixed(1)} bytes a transaction`,
  );
  // Noise; what a transaction holds is ten times as much.
  assert.ok(slope < 200, `the heap grows by ${slope} bytes a transaction`);
  assert.is(
    Math.max(...after),
    Math.max(...before),
    `listeners of a connection: ${before.join()}, then ${after.join()}`,
  );
  for (const { pool } of [direct, other]) {
    // What a deadline has cut off is given back once the server has heard of it.
    await assert.eventually(() => held(pool) === 0 && poolState(pool).waiting === 0, 30_000);
  }
  await db.assertClean();
  const [row] = await db.rows("show global status like 'Prepared_stmt_count'");
  assert.ok(Number(row.Value) < 1_000, `${row.Value} statements are prepared at the server`);
  assert.equal(warnings, []);
});

test('a transaction that is over is collected, with what it held', async () => {
  const references: WeakRef<object>[] = [];
  await (async (): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      await transaction
        .run(
          async (txn) => {
            references.push(new WeakRef(txn));
            await direct.session.execute('update accounts set balance = 0 where id = ?', [1]);
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
