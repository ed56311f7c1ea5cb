import { Redis } from 'ioredis';
import {
  ConfigurationError,
  NoTransaction,
  TransactionClosed,
  TransactionManager,
  TransactionStateError,
  joinTransaction,
  markChanged,
  register,
  sessionState,
  transaction,
} from 'unanimous';
import { Buffered, RedisSession } from 'unanimous/redis';
import { assert, suite } from '../../support/suite.ts';
import { Store, rejection, says } from './setup.ts';

const test = suite('a Redis session');
const store = await Store.open();
const { session, admin } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());
test.after.each(() => store.assertClean());

test('reads go to the server at once, and see nothing of what the transaction writes until it has committed', async () => {
  await admin.set('k', 'before');
  await transaction.run(async () => {
    session.set('k', 'after');
    session.set('new', '1');
    assert.is(await session.get('k'), 'before');
    assert.equal(await session.mget('k', 'new'), ['before', null]);
    assert.equal(await store.contents(), { k: 'before' });
  });
  assert.equal(await store.contents(), { k: 'after', new: '1' });
});

test('an abort applies nothing, and neither does an error', async () => {
  const failure = new Error('thrown');
  const aborted = transaction.run(async () => {
    session.set('k', '1');
    await session.get('k');
    throw failure;
  });
  assert.is(await rejection(aborted), failure);
  const txn = await transaction.begin();
  session.set('k', '1');
  await txn.abort();
  assert.equal(await store.contents(), {});
});

test('a write answers with its result when the transaction has committed, as ioredis does', async () => {
  await admin.rpush('list', 'a', 'b');
  const results = await transaction.run(() => ({
    set: session.set('k', 'v'),
    incr: session.incr('n'),
    popped: session.lpop('list'),
    poppedBuffer: session.lpopBuffer('list'),
    hset: session.hset('h', { a: 1, b: 2 }),
    mset: session.mset(new Map([['x', '1']])),
  }));
  for (const each of Object.values(results)) assert.instance(each, Buffered);
  assert.is(await results.set.result, 'OK');
  assert.is(await results.incr.result, 1);
  assert.is(await results.popped.result, 'a');
  assert.equal(await results.poppedBuffer.result, Buffer.from('b'));
  assert.is(await results.hset.result, 2);
  assert.is(await results.mset.result, 'OK');
  assert.equal(await admin.hgetall('h'), { a: '1', b: '2' });
});

test("the result of a write rejects when the transaction has not committed, and an unused one is nobody's", async () => {
  const unhandled: unknown[] = [];
  const listener = (error: unknown): void => void unhandled.push(error);
  process.prependListener('unhandledRejection', listener);
  let used!: Buffered<number>;
  await transaction
    .run(() => {
      used = session.incr('n');
      session.incr('n');
      throw new Error('thrown');
    })
    .catch(() => undefined);
  await assert.rejects(used.result, TransactionClosed);
  await new Promise((resolve) => setImmediate(resolve));
  process.removeListener('unhandledRejection', listener);
  assert.equal(unhandled, []);
});

test('awaiting a write is harmless', async () => {
  await transaction.run(async () => {
    // oxlint-disable-next-line typescript/await-thenable
    const written = await session.set('k', 'v');
    assert.instance(written, Buffered);
  });
  assert.equal(await store.contents(), { k: 'v' });
});

test('what is written is what was passed, whatever happens to it until the commit', async () => {
  const value = Buffer.from('abc');
  await transaction.run(() => {
    session.set('k', value);
    value.fill('x');
  });
  assert.equal(await store.contents(), { k: 'abc' });
});

test('binary keys and values come through', async () => {
  const key = Buffer.from([0xff, 0x00, 0x7b, 0x0d, 0x0a]);
  const value = Buffer.from([0x0d, 0x0a, 0xfe, 0x00]);
  await transaction.run(() => session.set(key, value));
  assert.equal(await admin.getBuffer(key), value);
  await transaction.run(async () => assert.equal(await session.getBuffer(key), value));
});

test('writes are applied in their order, by one MULTI', async () => {
  const commands: string[] = [];
  const monitor = await admin.monitor();
  monitor.on('monitor', (_time: string, args: string[]) => commands.push(args.join(' ')));
  await transaction.run(async () => {
    session.set('a', '1');
    session.append('a', '2');
    await session.get('a');
    session.append('a', '3');
  });
  await admin.set('end', '1');
  await assert.eventually(() => commands.includes('set end 1'));
  monitor.disconnect();
  const applied = commands.slice(commands.lastIndexOf('multi')).filter((each) => !each.includes('token'));
  assert.equal(applied, ['multi', 'set a 1', 'append a 2', 'append a 3', 'exec', 'set end 1']);
  assert.is(await admin.get('a'), '123');
});

test('a transaction costs one flight for each read and one for its commit', async () => {
  await transaction.run(() => session.set('warm', '1'));
  store.proxy.resetFlights();
  await transaction.run(async () => {
    await session.get('k');
    session.set('k', '1');
    session.set('l', '1');
  });
  assert.is(store.proxy.flights, 2);
  store.proxy.resetFlights();
  await transaction.run(async () => void (await session.get('k')));
  assert.is(store.proxy.flights, 1, 'without writes nothing is committed');
});

test('the state is active, then changed, and there is none outside', async () => {
  assert.is(sessionState(session), undefined);
  await transaction.run(async () => {
    assert.is(session.state, undefined);
    joinTransaction(session);
    assert.is(session.state, 'active');
    await session.get('k');
    assert.is(session.state, 'active');
    session.set('k', '1');
    assert.is(session.state, 'changed');
  });
});

test('a transaction that only read commits without writing a token', async () => {
  const txn = await transaction.begin();
  await session.get('k');
  await txn.commit();
  assert.is(txn.outcome?.way, 'read-only');
  assert.equal(await store.tokens(), []);
});

test('a transaction that wrote says so, and leaves a token that expires', async () => {
  const txn = await transaction.begin();
  session.set('k', '1');
  await txn.commit();
  assert.is(txn.outcome?.way, 'one-phase');
  const [token] = await store.tokens();
  assert.match(token!, `unanimous:token:${txn.id}:redis`);
  const ttl = await admin.pttl(token!);
  assert.ok(ttl > 90_000 && ttl <= 100_000, `${ttl} ms`);
});

test('a read-only transaction reads, and refuses to write and to be marked', async () => {
  await admin.set('k', '1');
  await transaction.run(
    async () => {
      assert.is(await session.get('k'), '1');
      assert.is(session.state, 'readonly');
      assert.throws(
        () => session.set('k', '2'),
        (error: unknown) => error instanceof TransactionStateError,
      );
      assert.throws(() => session.call('JSON.SET', 'k'), says(/read-only to be given json\.set/));
      assert.throws(
        () => markChanged(session),
        (error: unknown) => error instanceof TransactionStateError,
      );
    },
    { readOnly: true },
  );
  assert.is(await admin.get('k'), '1');
});

test('a session that is declared read-only refuses to write in every transaction', async () => {
  const reader = store.another({ name: 'reader', register: { initialState: 'readonly' } });
  await transaction.run(() => {
    assert.throws(() => reader.del('k'), says(/'reader' is read-only/));
  });
});

test('with detectWrites false only what is marked is applied', async () => {
  const marked = store.another({ name: 'marked', register: { detectWrites: false } });
  let dropped!: Buffered<'OK'>;
  await transaction.run(() => {
    dropped = marked.set('k', '1');
    assert.is(marked.state, 'active');
  });
  await assert.rejects(dropped.result, TransactionClosed);
  assert.equal(await store.contents(), {});
  await transaction.run(() => {
    marked.set('k', '1');
    markChanged(marked);
    assert.is(marked.state, 'changed');
  });
  assert.equal(await store.contents(), { k: '1' });
});

test('a session joins the transactions of the coordinator that it is registered with', async () => {
  const manager = new TransactionManager();
  const own = store.another({ name: 'own', register: { coordinator: manager } });
  assert.throws(
    () => own.set('k', '1'),
    (error: unknown) => error instanceof NoTransaction,
  );
  await manager.run(() => void own.set('k', '1'));
  assert.equal(await store.contents(), { k: '1' });
});

test('outside of a transaction nothing is sent', async () => {
  assert.throws(
    () => session.set('k', '1'),
    (error: unknown) => error instanceof NoTransaction,
  );
  await assert.rejects(session.get('k'), NoTransaction);
  await assert.rejects(session.watch('k'), NoTransaction);
  assert.throws(
    () => session.pipeline(),
    (error: unknown) => error instanceof NoTransaction,
  );
  const told = await new Promise((resolve) => {
    session.get('k', (error) => resolve(error)).catch(() => undefined);
  });
  assert.instance(told, NoTransaction);
});

test('what cannot be is refused by name', async () => {
  const client = new Redis({ lazyConnect: true });
  const refused = (action: () => unknown, pattern: RegExp): void => {
    assert.throws(action, (error: unknown) => error instanceof ConfigurationError && pattern.test(error.message));
  };
  refused(() => new RedisSession({} as never), /needs a client of ioredis, new Redis/);
  refused(() => new RedisSession(undefined as never), /not undefined/);
  refused(() => new RedisSession(client, { nme: 'x' } as never), /has no option 'nme'/);
  refused(() => new RedisSession(client, { name: 'a b' }), /the name of a session/);
  refused(() => new RedisSession(client, { endTimeoutMs: -1 }), /'endTimeoutMs' must be/);
  refused(() => new RedisSession(client, { maxWatching: 0 }), /'maxWatching' must be/);
  refused(() => new RedisSession(client, { tokenTtlMs: 1_000 }), /tokenTtlMs must be at least/);
  refused(() => new RedisSession(client, { tokenTtlMs: true as never }), /'tokenTtlMs' must be false or/);
  refused(() => register(session, { twoPhase: true }), /Redis can't, so 'redis' is a last resource/);
  refused(() => register(session, { keepSession: true }), /keepSession/);
  register(session, { twoPhase: false, keepSession: false });
  register(session, { twoPhase: 'auto' });
  await transaction.run(() => {
    refused(() => markChanged(session, { keepSession: true }), /keepSession/);
    refused(() => joinTransaction(session, { keepSession: true }), /keepSession/);
    joinTransaction(session);
    const namesake = store.another();
    refused(() => joinTransaction(namesake), /different names/);
  });
});

test('two sessions of Redis cannot both be written in one transaction, and nothing is applied', async () => {
  const other = store.another({ name: 'other' });
  const error = await rejection(
    transaction.run(() => {
      session.set('k', '1');
      other.set('l', '1');
    }),
  );
  assert.is((error as { code?: string }).code, 'ERR_TXN_TOO_MANY_LAST_RESOURCES');
  assert.equal(await store.contents(), {});
});

test('a callback is called as ioredis calls it, in the context of whoever passed it', async () => {
  await admin.set('k', 'v');
  let read: unknown;
  let written: unknown;
  await transaction.run(async (txn) => {
    read = await new Promise((resolve) => {
      void session.get('k', (error, value) => resolve([error, value, transaction.current === txn]));
    });
    session.incr('n', (error, value) => {
      written = [error, value];
    });
  });
  assert.equal(read, [null, 'v', true]);
  await assert.eventually(() => written !== undefined);
  assert.equal(written, [null, 1]);
});

test("the client's key prefix and database are those of the session, also in its tokens", async () => {
  const prefixed = store.another({ name: 'prefixed', client: { keyPrefix: 'app:', db: 3 } });
  await transaction.run(async () => {
    await prefixed.watch('k');
    assert.is(await prefixed.get('k'), null);
    prefixed.set('k', '1');
    prefixed.mset({ l: '2', m: '3' });
  });
  await admin.select(3);
  try {
    assert.equal(await store.contents(), { 'app:k': '1', 'app:l': '2', 'app:m': '3' });
    assert.match((await store.tokens())[0]!, /^app:unanimous:token:/);
  } finally {
    await admin.flushdb();
    await admin.select(0);
  }
});

test('custom commands of the client and of the session are kept as writes, and sent whole', async () => {
  const client = new Redis(store.server.port, {
    lazyConnect: true,
    scripts: { setTwice: { numberOfKeys: 1, lua: "redis.call('set', KEYS[1], ARGV[1] .. ARGV[1]) return 'done'" } },
  });
  const scripted = register(new RedisSession(client, { name: 'scripted' })) as RedisSession & {
    setTwice(key: string, value: string): Buffered<string>;
    setThrice(count: number, key: string, value: string): Buffered<string>;
    setThriceBuffer(count: number, key: string, value: string): Buffered<Buffer>;
  };
  scripted.defineCommand('setThrice', {
    lua: "redis.call('set', KEYS[1], ARGV[1] .. ARGV[1] .. ARGV[1]) return 'done'",
  });
  assert.is('setThrice' in client, false, 'what is defined on the session is not defined on the client');
  await admin.script('FLUSH');
  const results = await transaction.run(() => [
    scripted.setTwice('a', 'x'),
    scripted.setThrice(1, 'b', 'y'),
    scripted.setThriceBuffer(1, 'c', 'z'),
  ]);
  assert.equal(await Promise.all(results.map(({ result }) => result as Promise<unknown>)), [
    'done',
    'done',
    Buffer.from('done'),
  ]);
  assert.equal(await store.contents(), { a: 'xx', b: 'yyy', c: 'zzz' });
  await scripted.close();
  client.disconnect();
});

test('any command can be called by its name', async () => {
  await admin.set('k', 'v');
  const written = await transaction.run(async () => {
    assert.is(await session.call('GET', 'k'), 'v');
    assert.equal(await session.callBuffer('get', 'k'), Buffer.from('v'));
    assert.is(await session.call('get', ['k']), 'v');
    return session.call('SETRANGE', 'k', '0', 'w');
  });
  assert.instance(written, Buffered);
  assert.is(await written.result, 1);
  assert.is(await admin.get('k'), 'w');
});

test('a stream of keys reads in the transaction that it was made in', async () => {
  await admin.mset(Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`key${index}`, '1'])));
  await admin.hset('hash', { a: '1' });
  await transaction.run(async () => {
    const found = new Set<string>();
    for await (const keys of session.scanStream({ match: 'key*', count: 10 })) {
      for (const key of keys as string[]) found.add(key);
    }
    assert.is(found.size, 50);
    for await (const pair of session.hscanBufferStream('hash'))
      assert.equal(pair, [Buffer.from('a'), Buffer.from('1')]);
  });
  let late!: NodeJS.ReadableStream;
  await transaction.run(() => {
    late = session.scanStream();
  });
  const error = await new Promise((resolve) => {
    late.on('error', resolve).resume();
  });
  assert.instance(error, TransactionClosed);
});

test('a session works on while its client is ended, and sends nothing more once it is closed', async () => {
  const client = new Redis(store.server.port);
  await client.ping();
  const own = register(new RedisSession(client, { name: 'own' }));
  await client.quit();
  await transaction.run(() => void own.set('k', '1'));
  assert.equal(await store.contents(), { k: '1' });
  await own.close();
  await assert.rejects(
    transaction.run(() => void own.set('k', '2')),
    says(/'own' was closed/),
  );
  await assert.rejects(
    transaction.run(() => own.get('k')),
    says(/'own' was closed/),
  );
  assert.equal(await store.contents(), { k: '1' });
});
