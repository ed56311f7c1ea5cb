// What goes wrong elsewhere: work that outlives its transaction, the wrong context, two things at once, deadlines, leaks.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  ConcurrentUseError,
  TransactionClosed,
  TransactionTimeoutError,
  transaction,
  type Transaction,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Store, onText, rejection } from './setup.ts';

const test = suite('pitfalls of Redis sessions', { timeoutMs: 120_000 });
const store = await Store.open();
const { session, admin, proxy } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());
test.after.each(async () => {
  proxy.release();
  await store.assertClean();
});

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

test('work that comes after the end is refused, and nothing is sent (pitfall 2)', async () => {
  const late: Promise<unknown>[] = [];
  await transaction.run(async () => {
    session.set('k', '1');
    late.push(
      rejection(sleep(30).then(() => session.set('k', '2'))),
      rejection(sleep(30).then(() => session.get('k'))),
      rejection(sleep(30).then(() => session.watch('k'))),
      rejection(sleep(30).then(() => session.pipeline().get('k').exec())),
    );
  });
  for (const error of await Promise.all(late)) assert.instance(error, TransactionClosed);
  assert.equal(await store.contents(), { k: '1' });
});

test('a read that fails and that nobody looks at is an unhandled rejection, unless it has a callback', async () => {
  const unhandled: unknown[] = [];
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (error) => unhandled.push(error));
  await admin.set('text', 'x');
  let told: unknown;
  const txn = await transaction.begin();
  void session.llen('text');
  void session.llen('text', (error) => {
    told = error;
  });
  await assert.eventually(() => told !== undefined && unhandled.length > 0);
  await txn.abort();
  await sleep(10);
  process.removeAllListeners('unhandledRejection');
  for (const other of others) process.on('unhandledRejection', other);
  assert.equal(
    unhandled.map((error) => (error as Error).message.slice(0, 9)),
    ['WRONGTYPE'],
  );
});

test('work that comes while the transaction commits is refused', async () => {
  const late: Error[] = [];
  await transaction.run(() => session.get('k'));
  onText(proxy, 'unanimous:token', () => {
    proxy.hold();
    setTimeout(() => proxy.release(), 60);
  });
  await transaction.run(() => {
    session.set('k', '1');
    setTimeout(() => void rejection(session.get('k')).then((error) => late.push(error)), 30);
  });
  await assert.eventually(() => late.length === 1);
  assert.instance(late[0], TransactionClosed);
});

test('a sibling that fails leaves nothing of the others (pitfall 3)', async () => {
  await transaction
    .run(() =>
      Promise.all([
        sleep(0).then(() => session.set('a', '1')),
        Promise.reject(new Error('thrown')),
        sleep(20).then(() => session.set('b', '1')),
      ]),
    )
    .catch(() => undefined);
  await sleep(40);
  assert.equal(await store.contents(), {});
});

test('a read that is under way when its transaction commits is waited for, and the commit refused (pitfall 12)', async () => {
  await transaction.run(() => session.get('k'));
  let read!: Promise<unknown>;
  const error = await rejection(
    transaction.run(() => {
      session.set('k', '1');
      read = session.get('k');
    }),
  );
  assert.instance(error, ConcurrentUseError);
  assert.is(await read, null);
  assert.equal(await store.contents(), {});
});

test('reads and writes of siblings are in the order of their calls', async () => {
  await admin.set('n', '0');
  await transaction.run(async () => {
    const reads = await Promise.all(Array.from({ length: 100 }, (_, index) => session.call('ECHO', String(index))));
    assert.equal(
      reads,
      Array.from({ length: 100 }, (_, index) => String(index)),
    );
    await Promise.all(Array.from({ length: 100 }, async (_, index) => void session.rpush('list', String(index))));
  });
  assert.equal(
    await admin.lrange('list', 0, -1),
    Array.from({ length: 100 }, (_, index) => String(index)),
  );
});

test('a deadline ends a read that is not answered, and the transaction', async () => {
  await transaction.run(() => session.get('k'));
  proxy.hold();
  const error = await rejection(transaction.run(() => session.get('k'), { timeoutMs: 50 }));
  assert.instance(error, TransactionTimeoutError);
  proxy.release();
  assert.is(await transaction.run(() => session.get('k')), null);
});

test('a deadline that has passed refuses further work', async () => {
  const txn = await transaction.begin({ timeoutMs: 20 });
  session.set('k', '1');
  await assert.eventually(() => txn.isDoomed());
  assert.instance(await rejection(session.get('k')), TransactionTimeoutError);
  assert.instance(await rejection(session.watch('k')), TransactionTimeoutError);
  assert.throws(
    () => session.set('k', '2'),
    (error: unknown) => error instanceof TransactionTimeoutError,
  );
  await assert.rejects(txn.commit(), TransactionTimeoutError);
  await txn.abort();
  assert.equal(await store.contents(), {});
});

test('a deadline that passes while EXEC is on its way comes too late', async () => {
  await transaction.run(() => session.get('k'));
  onText(proxy, 'unanimous:token', () => {
    proxy.hold();
    setTimeout(() => proxy.release(), 120);
  });
  await transaction.run(() => session.set('k', '1'), { timeoutMs: 50 });
  assert.equal(await store.contents(), { k: '1' });
});

test('a callback runs in the context of whoever passed it, whoever has opened the connection (pitfall 8)', async () => {
  const own = store.another({ name: 'own' });
  const context = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const read = (name: string): Promise<unknown> =>
    context.run(name, () =>
      transaction.run(async (txn) => {
        await new Promise<void>((resolve) => {
          void own.get('k', () => {
            seen.push([context.getStore(), transaction.current === txn]);
            resolve();
          });
        });
      }),
    );
  await read('opens');
  await Promise.all([read('first'), read('second')]);
  assert.equal(seen, [
    ['opens', true],
    ['first', true],
    ['second', true],
  ]);
  await own.close();
});

test('a transaction that has opened the connections is collected, and its context with it', async () => {
  const own = store.another({ name: 'own' });
  const context = new AsyncLocalStorage<object>();
  let txnReference!: WeakRef<Transaction>;
  let requestReference!: WeakRef<object>;
  await (async () => {
    const request = {};
    requestReference = new WeakRef(request);
    await context.run(request, () =>
      transaction.run(async (txn) => {
        txnReference = new WeakRef(txn);
        await own.watch('w');
        own.set('k', '1');
      }),
    );
  })();
  // Others use the same connections.
  await transaction.run(() => own.get('k'));
  await assert.eventually(async () => {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
    return txnReference.deref() === undefined && requestReference.deref() === undefined;
  });
  await own.close();
});

test('what one transaction writes or watches is never that of another one (pitfall 11)', async () => {
  await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      await sleep(Math.random() * 50);
      await transaction
        .run(async () => {
          session.set(`k${index}`, String(index));
          await sleep(Math.random() * 20);
          assert.is(await session.get(`k${index}`), null);
          session.rpush(`l${index}`, String(index));
          if (index % 3 === 0) throw new Error('thrown');
        })
        .catch((error: Error) => assert.is(error.message, 'thrown', error.stack));
    }),
  );
  for (let index = 0; index < 200; index++) {
    const expected = index % 3 === 0 ? [null, []] : [String(index), [String(index)]];
    assert.equal([await admin.get(`k${index}`), await admin.lrange(`l${index}`, 0, -1)], expected);
  }
});

async function heap(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

async function one(index: number): Promise<void> {
  const kind = index % 20;
  await transaction.run(
    async () => {
      if (kind < 4) return void (await session.get('k'));
      if (kind < 8) await session.watch(`w${kind}`);
      if (kind === 8) await transaction.savepoint().then((savepoint) => (session.set('x', '1'), savepoint.rollback()));
      session.incr('n');
      if (kind === 9) throw new Error('thrown');
      if (kind === 10) session.call('UNHEARD.OF');
      if (kind === 11) await session.pipeline().get('k').incr('n').exec();
      if (kind === 12) void session.get('k');
      if (kind === 13) session.set('k', '1', (_error, _value) => undefined);
      return undefined;
    },
    { attempts: 1 },
  );
}

test('12,000 transactions leave nothing behind (pitfall 5)', async () => {
  const many = async (from: number, count: number): Promise<void> => {
    let next = from;
    const client = async (): Promise<void> => {
      while (next < from + count) await one(next++).catch(() => undefined);
    };
    await Promise.all(Array.from({ length: 8 }, client));
  };
  await many(0, 3_000);
  const before = await heap();
  const handles = process.getActiveResourcesInfo().length;
  await many(3_000, 9_000);
  await store.assertClean();
  const slope = ((await heap()) - before) / 9_000;
  console.log(`${slope.toFixed(1)} bytes of heap a transaction`);
  assert.ok(slope < 60, `the heap grows by ${slope} bytes a transaction`);
  assert.ok(process.getActiveResourcesInfo().length <= handles + 2);
});

test('connections that are lost again and again leave nothing behind', async () => {
  const own = store.another({ name: 'own', maxWatching: 3 });
  for (let round = 0; round < 60; round++) {
    await transaction
      .run(
        async () => {
          if (round % 3 === 0) await own.watch('w');
          await own.get('k');
          own.incr('n');
          if (round % 2 === 0) proxy.cut();
        },
        { attempts: 5, backoff: false },
      )
      .catch(() => undefined);
  }
  await transaction.run(async () => {
    await own.watch('w');
    own.set('end', '1');
  });
  assert.is(await admin.get('end'), '1');
  await own.close();
  await assert.eventually(async () => (await store.connections()).length <= 11);
  const listening = proxy.links.size;
  assert.ok(listening <= 13, `${listening} links are open`);
});
