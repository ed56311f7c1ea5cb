import {
  AcquireTimeoutError,
  ConcurrentUseError,
  ConfigurationError,
  ConnectionLostError,
  DoomedTransaction,
  TransactionClosed,
  TransientError,
  markChanged,
  transaction,
} from 'unanimous';
import { WatchConflictError } from 'unanimous/redis';
import { assert, suite } from '../../support/suite.ts';
import { Store, onText, rejection, says } from './setup.ts';

const test = suite('watching keys in a Redis session');
const store = await Store.open({ name: 'shop', maxWatching: 2, acquireTimeoutMs: 300 });
const { session, admin } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());
test.after.each(() => store.assertClean(3));

test('a change by somebody else fails the commit, which says what was watched, and nothing is applied', async () => {
  const error = await rejection<WatchConflictError>(
    transaction.run(
      async () => {
        await session.watch('stock', ['a', Buffer.from('b')]);
        session.set('k', '1');
        await admin.set('b', 'changed');
      },
      { attempts: 1 },
    ),
  );
  assert.instance(error, WatchConflictError);
  assert.instance(error, TransientError);
  assert.is(error.code, 'ERR_TXN_WATCH_CONFLICT');
  assert.equal(error.keys, ['stock', 'a', 'b']);
  assert.match(error.message, /of stock, a, b at 'shop', something was/);
  assert.is(error.phase, 'tpcVote');
  assert.equal(await store.contents(), { b: 'changed' });
});

test('run tries again until nobody has interfered', async () => {
  await admin.set('stock', '5');
  let attempts = 0;
  await transaction.run(async (txn) => {
    attempts = txn.attempt;
    await session.watch('stock');
    const stock = Number(await session.get('stock'));
    if (attempts < 3) await admin.decr('stock');
    session.set('stock', String(stock - 1));
  });
  assert.is(attempts, 3);
  assert.is(await admin.get('stock'), '2');
});

test('100 transactions that count by reading and writing lose nothing', { timeoutMs: 60_000 }, async () => {
  const counter = store.another({ name: 'counter', maxWatching: 5 });
  await admin.set('n', '0');
  await Promise.all(
    Array.from({ length: 100 }, () =>
      transaction.run(
        async () => {
          await counter.watch('n');
          counter.set('n', String(Number(await counter.get('n')) + 1));
        },
        { attempts: 1_000, backoff: { baseMs: 1, maxMs: 20 } },
      ),
    ),
  );
  assert.is(await admin.get('n'), '100');
  await counter.close();
});

test('several watches are one, and what is not watched may change', async () => {
  await store.kill();
  await transaction.run(async () => {
    await Promise.all([session.watch('a'), session.watch('b', 'c')]);
    // The shared one, and that one.
    assert.ok((await store.connections()).length <= 2);
    await admin.set('d', '1');
    session.set('k', '1');
  });
  assert.equal(await store.contents(), { d: '1', k: '1' });
  const error = await rejection(
    transaction.run(
      async () => {
        await session.watch('a');
        await session.watch('b');
        await admin.set('a', '1');
        session.set('k', '2');
      },
      { attempts: 1 },
    ),
  );
  assert.instance(error, WatchConflictError);
});

test('where nothing is written, what was watched matters only where the session is marked as changed', async () => {
  await transaction.run(async (txn) => {
    await session.watch('k');
    await admin.set('k', '1');
    assert.is(session.state, 'active');
    txn.addAfterCommitHook(() => assert.is(txn.outcome?.way, 'read-only'));
  });
  const error = await rejection(
    transaction.run(
      async () => {
        await session.watch('k');
        await admin.set('k', '2');
        markChanged(session);
      },
      { attempts: 1 },
    ),
  );
  assert.instance(error, WatchConflictError);
  await transaction.run(async () => {
    await session.watch('k');
    markChanged(session);
  });
});

test('what is read after a watch is read over its connection', async () => {
  const seen: string[][] = [];
  const monitor = await admin.monitor();
  const opening = new Set(['client', 'exec', 'hello', 'info', 'multi']);
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    if (!opening.has(args[0]!.toLowerCase())) seen.push([args[0]!, source]);
  });
  await transaction.run(async () => {
    await session.get('k');
    await session.watch('k');
    await session.get('k');
  });
  await assert.eventually(() => seen.length >= 4);
  monitor.disconnect();
  const [before, watch, after, unwatch] = seen;
  assert.equal([before![0], watch![0], after![0], unwatch![0]], ['get', 'watch', 'get', 'unwatch']);
  assert.is(after![1], watch![1]);
  assert.is(unwatch![1], watch![1]);
  assert.is.not(before![1], watch![1]);
});

test('an aborted transaction leaves nothing watched for the next one that gets its connection', async () => {
  const first = transaction.run(async () => {
    await session.watch('a');
    throw new Error('thrown');
  });
  await assert.rejects(first, { message: 'thrown' });
  await transaction.run(async () => {
    await session.watch('b');
    await admin.set('a', '1');
    session.set('k', '1');
  });
  assert.is(await admin.get('k'), '1');
});

test('no more transactions watch than may; the next one waits for its turn', async () => {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let watching = 0;
  const holding = [1, 2].map((n) =>
    transaction.run(async () => {
      await session.watch(`k${n}`);
      watching++;
      await opened;
    }),
  );
  await assert.eventually(() => watching === 2);
  const third = transaction.run(async () => {
    await session.watch('k3');
    session.set('k3', '1');
  });
  setTimeout(open, 50);
  await Promise.all([...holding, third]);
  assert.is(await admin.get('k3'), '1');
});

test('one that waits for a connection which its outer transactions hold is told so in time (pitfall 10)', async () => {
  const error = await transaction.run(async () => {
    await session.watch('a');
    return transaction.run(
      async () => {
        await session.watch('b');
        return rejection(transaction.run(() => session.watch('c'), { propagation: 'requires-new' }));
      },
      { propagation: 'requires-new' },
    );
  });
  assert.instance(error, AcquireTimeoutError);
  assert.match(error.message, /'shop' had none for 300 ms \(connections for transactions that watch: 2 of 2/);
});

test('a deadline ends the wait for a connection, and the transaction', async () => {
  const error = await transaction.run(async () => {
    await session.watch('a');
    return transaction.run(
      async () => {
        await session.watch('b');
        return rejection(transaction.run(() => session.watch('c'), { propagation: 'requires-new', timeoutMs: 30 }));
      },
      { propagation: 'requires-new' },
    );
  });
  assert.instance(error, DoomedTransaction);
});

test('an abort ends the wait for a connection', async () => {
  const error = await transaction.run(async () => {
    await session.watch('a');
    return transaction.run(
      async () => {
        await session.watch('b');
        return transaction.run(
          async (txn) => {
            const waiting = rejection(session.watch('c'));
            await txn.abort();
            return waiting;
          },
          { propagation: 'requires-new' },
        );
      },
      { propagation: 'requires-new' },
    );
  });
  assert.instance(error, TransactionClosed);
});

test('a watch that is not awaited fails the commit', async () => {
  const error = await rejection(
    transaction.run(() => {
      void session.watch('k').catch(() => undefined);
      session.set('k', '1');
    }),
  );
  assert.instance(error, ConcurrentUseError);
  assert.equal(await store.contents(), {});
});

test('a watch that failed unheard fails the commit, for nothing is protected', async () => {
  const pass = store.proxy.onClientData;
  onText(store.proxy, 'watch', (link) => {
    link.cut();
    return false;
  });
  const error = await rejection(
    transaction.run(
      async () => {
        await session.watch('k').catch(() => undefined);
        session.set('k', '1');
      },
      { attempts: 1 },
    ),
  );
  store.proxy.onClientData = pass;
  assert.instance(error, ConnectionLostError);
  assert.equal(await store.contents(), {});
});

test('a watch that the server refused, unheard, fails the commit as well', async () => {
  await admin.call('ACL', 'SETUSER', 'blind', 'on', '>secret', '~*', '+@all', '-watch');
  const blind = store.another({ name: 'blind', client: { username: 'blind', password: 'secret' } });
  const error = await rejection(
    transaction.run(async () => {
      await blind.watch('k').catch(() => undefined);
      blind.set('k', '1');
    }),
  );
  assert.match(error.message, /NOPERM/);
  assert.equal(await store.contents(), {});
  await blind.close();
});

test('an abort at any moment of a watch loses no connection', async () => {
  for (let ticks = 0; ticks < 30; ticks++) {
    const txn = await transaction.begin();
    const watching = session.watch('k').catch(() => undefined);
    for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
    await txn.abort();
    await watching;
  }
  await transaction.run(async () => {
    await session.watch('a');
    await transaction.run(() => session.watch('b'), { propagation: 'requires-new' });
  });
});

test('where the connection is lost between WATCH and EXEC nothing is applied, and it is tried again', async () => {
  let attempts = 0;
  const lost = transaction.run(
    async () => {
      attempts++;
      await session.watch('k');
      session.incr('n');
      await store.kill();
      await assert.eventually(async () => (await store.connections()).length === 0);
    },
    { attempts: 2, backoff: false },
  );
  assert.instance(await rejection(lost), ConnectionLostError);
  assert.is(attempts, 2);
  assert.equal(await store.contents(), {});
  await transaction.run(async () => {
    await session.watch('k');
    session.incr('n');
    if (++attempts === 3) await store.kill();
  });
  assert.is(attempts, 4);
  assert.equal(await store.contents(), { n: '1' });
});

test('watching nothing is refused', async () => {
  await transaction.run(async () => {
    const error = await rejection(session.watch());
    assert.instance(error, ConfigurationError);
    await assert.rejects(session.watch([]), says(/there were none/));
  });
});
