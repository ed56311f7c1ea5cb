import { Cluster, Redis } from 'ioredis';
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  ConnectionLostError,
  register,
  transaction,
  type StoredMessage,
} from 'unanimous';
import { RedisSession, type RedisSessionOptions, type WatchConflictError } from 'unanimous/redis';
import { slotOf, tagOf } from '../../../datamanagers/redis/slot.ts';
import { tcpProxy } from '../../support/proxy.ts';
import { startRedisCluster, type PrivateRedis } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { onText, rejection } from './setup.ts';

const test = suite('a Redis session on a cluster', { timeoutMs: 60_000 });
// A name that ioredis has never heard of.
const cluster = await startRedisCluster({ flags: ['--rename-command', 'SETRANGE', 'PUTRANGE'] });
const proxies = await Promise.all(cluster.nodes.map((node) => tcpProxy(node.port)));
const addresses = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
/** Every node is reached through its proxy. */
const natMap = Object.fromEntries(
  cluster.nodes.map((node, index) => [`127.0.0.1:${node.port}`, { host: '127.0.0.1', port: proxies[index]!.port }]),
);
const client = new Cluster(addresses, { natMap, lazyConnect: true });
const timeouts: RedisSessionOptions = { endTimeoutMs: 500, resolveTimeoutMs: 3_000, acquireTimeoutMs: 3_000 };
const session = register(new RedisSession(client, { name: 'cluster', ...timeouts }));
const admin = new Cluster(addresses);
const nodes = cluster.nodes.map((node) => new Redis(node.port));
for (const each of nodes) each.on('error', () => undefined);
const sessions: RedisSession[] = [session];

test.before.each(async () => {
  await Promise.all(nodes.map((node) => node.flushall()));
});
test.after.each(() => {
  for (const proxy of proxies) proxy.onClientData = undefined;
});
test.after(async () => {
  for (const each of sessions) await each.close();
  for (const each of [client, admin, ...nodes]) each.disconnect();
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await cluster.stop();
});

function another(options: RedisSessionOptions, clusterOptions: object = {}): RedisSession {
  const own = register(
    new RedisSession(new Cluster(addresses, { natMap, lazyConnect: true, ...clusterOptions }), {
      ...timeouts,
      ...options,
    }),
  );
  sessions.push(own);
  return own;
}

/** The node that has a slot. */
const indexOf = (slot: number): number => Math.min(2, Math.floor((slot * 3) / 16_384));
const nodeOf = (key: string): { node: PrivateRedis; admin: Redis; proxy: (typeof proxies)[number] } => {
  const index = indexOf(slotOf(key));
  return { node: cluster.nodes[index]!, admin: nodes[index]!, proxy: proxies[index]! };
};

/** A key in a slot of another node than that of `key`. */
function elsewhere(key: string): string {
  for (let n = 0; ; n++) if (indexOf(slotOf(`key${n}`)) !== indexOf(slotOf(key))) return `key${n}`;
}

async function keyCount(): Promise<number> {
  const counts = await Promise.all(
    nodes.map(async (node) => (await node.keys('*')).filter((key) => !key.includes('token')).length),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

test('slots are those of the server, and every slot has a tag', async () => {
  const keys = ['', 'a', 'foo{bar}', '{}x', 'a{b', 'x}{y}', 'foo{{bar}}', '{1}{2}', 'ключ', 'x'.repeat(300)];
  for (const key of keys) assert.is(slotOf(key), await nodes[0]!.cluster('KEYSLOT', key), key);
  const bytes = Buffer.from([0xff, 0x00, 0x7b, 0xfe, 0x7d]);
  assert.is(slotOf(bytes), slotOf(Buffer.from([0xfe])));
  for (let slot = 0; slot < 16_384; slot++) {
    const tag = tagOf(slot);
    if (slotOf(tag) !== slot || slotOf(`x{${tag}}y`) !== slot) assert.unreachable(`the tag of slot ${slot}: ${tag}`);
  }
});

test('what is written is applied at the node of its slot, and read at any', async () => {
  const keys = ['{a}1', '{b}1', '{c}1', '{d}1'];
  for (const key of keys) {
    await transaction.run(async () => {
      session.set(key, '1');
      session.incr(`${key}n`);
      assert.is(await session.get(key), null);
    });
  }
  await transaction.run(async () => {
    assert.equal(await Promise.all(keys.map((key) => session.get(key))), ['1', '1', '1', '1']);
    const results = await session.pipeline().get(keys[0]!).get(keys[1]!).get(keys[2]!).exec();
    assert.equal(results, [
      [null, '1'],
      [null, '1'],
      [null, '1'],
    ]);
  });
  assert.is(await keyCount(), 8);
});

test('the token is in the slot of the keys', async () => {
  await transaction.run(() => session.set('{tag}k', '1'));
  const { admin: owner } = nodeOf('{tag}k');
  const [token] = (await owner.keys('*token*')) as [string];
  assert.match(token, /^unanimous:token:.*:cluster:\{\w+\}$/);
  assert.is(slotOf(token), slotOf('{tag}k'));
});

test('keys of several slots are refused at the call, which names both, and nothing is applied', async () => {
  const error = await rejection(
    transaction.run(() => {
      session.set('a', '1');
      session.set('b', '1');
    }),
  );
  assert.instance(error, ConfigurationError);
  assert.match(
    error.message,
    /'a' and 'b' at 'cluster' are not: give their names the same hash tag, such as \{42\}:cart/,
  );
  const several = await rejection(
    transaction.run(() => {
      session.mset({ a: '1', b: '1' });
    }),
  );
  assert.match(several.message, /'a' and 'b'/);
  const watched = await rejection(
    transaction.run(async () => {
      await session.watch('a');
      session.set('b', '1');
    }),
  );
  assert.match(watched.message, /'a' and 'b'/);
  const watching = await rejection(
    transaction.run(async () => {
      session.set('a', '1');
      await session.watch('b');
    }),
  );
  assert.match(watching.message, /'a' and 'b'/);
  assert.is(await keyCount(), 0);
});

test('a watch that was refused, unheard, fails the commit', async () => {
  const error = await rejection(
    transaction.run(async () => {
      session.set('a', '1');
      await session.watch('b').catch(() => undefined);
    }),
  );
  assert.instance(error, ConfigurationError);
  assert.is(await keyCount(), 0);
});

test('a rollback to a savepoint frees the slot', async () => {
  await transaction.run(async () => {
    await session.get('x');
    const savepoint = await transaction.savepoint();
    session.set('a', '1');
    await savepoint.rollback();
    session.set('b', '1');
  });
  assert.is(await admin.get('b'), '1');
  assert.is(await admin.get('a'), null);
});

test('what is watched conflicts, and what is read after that at another node comes from there', async () => {
  const far = elsewhere('w');
  await admin.set(far, 'far');
  let attempts = 0;
  await transaction.run(async () => {
    attempts++;
    await session.watch('w');
    assert.is(await session.get(far), 'far');
    const w = Number((await session.get('w')) ?? 0);
    if (attempts === 1) await admin.set('w', '5');
    session.set('w', String(w + 1));
  });
  assert.is(attempts, 2);
  assert.is(await admin.get('w'), '6');
  const error = await rejection<WatchConflictError>(
    transaction.run(
      async () => {
        await session.watch('w');
        await admin.set('w', '0');
        session.set('w', '1');
      },
      { attempts: 1 },
    ),
  );
  assert.equal(error.keys, ['w']);
});

test('what has no keys goes to some node', async () => {
  const published = await transaction.run(() => session.publish('news', 'x'));
  assert.is(await published.result, 0);
});

test('the slot of a command that ioredis does not know is asked of the server', async () => {
  for (const key of ['{a}', '{b}', '{c}', '{d}']) {
    const written = await transaction.run(() => session.call('PUTRANGE', key, '0', 'value'));
    assert.is(await written.result, 5);
    assert.is(await admin.get(key), 'value');
  }
});

test('a stored message is applied once, whether its keys are known or not', async () => {
  const heard: string[] = [];
  const subscriber = new Redis(cluster.nodes[2]!.port);
  subscriber.on('message', (_channel: string, text: string) => heard.push(text));
  await subscriber.subscribe('news');
  const message = (gid: string, payload: object): StoredMessage => ({
    target: 'cluster',
    payload: JSON.stringify(payload),
    gid,
    sequence: 1,
    attempts: 0,
    isDead: false,
    createdAt: new Date(),
  });
  const messages = [
    message('known', { commands: [['incr', '{b}n']], key: '{b}n' }),
    message('unknown', { commands: [['PUTRANGE', '{c}x', '0', 'v']] }),
    message('none', { commands: [['publish', 'news', 'once']] }),
  ];
  for (const each of messages) for (let times = 0; times < 3; times++) await session.deliver(each);
  assert.is(await admin.get('{b}n'), '1');
  assert.is(await admin.get('{c}x'), 'v');
  await session.deliver(message('another', { commands: [['publish', 'news', 'twice']] }));
  await assert.eventually(() => heard.includes('twice'));
  assert.equal(heard, ['once', 'twice']);
  subscriber.disconnect();
});

test('a lost reply is resolved at its node', async () => {
  const { proxy } = nodeOf('n');
  await transaction.run(() => session.get('n'));
  await transaction.run(() => session.incr('n'));
  onText(proxy, 'unanimous:token', (link) => {
    link.dropReplies = true;
  });
  await transaction.run(() => session.incr('n'));
  assert.is(await admin.get('n'), '2');
  onText(proxy, 'unanimous:token', () => false);
  let attempts = 0;
  await transaction.run(() => {
    attempts++;
    session.incr('n');
  });
  assert.is(attempts, 2);
  assert.is(await admin.get('n'), '3');
});

/** Moves the slot of a key to another node; `between` is called while it is being moved. */
async function move(key: string, between: () => Promise<unknown> = async () => undefined): Promise<void> {
  const slot = slotOf(key);
  const ids = await Promise.all(nodes.map(async (node) => String(await node.call('CLUSTER', 'MYID'))));
  const slots = await nodes[0]!.cluster('SLOTS');
  const from = ids.indexOf(slots.find(([first, last]) => first <= slot && slot <= last)![2]![2]);
  const to = (from + 1) % 3;
  await nodes[to]!.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from]!);
  await nodes[from]!.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to]!);
  await between();
  for (;;) {
    const keys = (await nodes[from]!.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[];
    if (keys.length === 0) break;
    await nodes[from]!.call('MIGRATE', '127.0.0.1', cluster.nodes[to]!.port, '', 0, 5_000, 'KEYS', ...keys);
  }
  for (const index of [to, from, 3 - to - from]) await nodes[index]!.call('CLUSTER', 'SETSLOT', slot, 'NODE', ids[to]!);
}

test('a slot that has moved is followed, and one that is being moved', async () => {
  await transaction.run(() => session.set('{moving}a', '1'));
  await move('{moving}');
  let attempts = 0;
  await transaction.run(() => {
    attempts++;
    session.incr('{moving}a');
  });
  assert.is(attempts, 1, 'MOVED is followed');
  const waiting: { committed?: Promise<unknown> } = {};
  await move('{moving}', async () => {
    // The token is a second key, and not there: such a transaction is to wait until the slot has been moved.
    waiting.committed = transaction.run(() => session.incr('{moving}a'), { attempts: 1 });
    await new Promise((resolve) => setTimeout(resolve, 250));
    assert.is(await admin.get('{moving}a'), '2');
  });
  await waiting.committed;
  assert.is(await admin.get('{moving}a'), '3');
});

test('a new key in a slot that is being moved is written at its new node', async () => {
  const own = another({ name: 'own', tokenTtlMs: false });
  await transaction.run(() => own.set('{asked}a', '1'));
  await move('{asked}', async () => {
    let attempts = 0;
    await transaction.run(() => {
      attempts++;
      own.set('{asked}new', '1');
    });
    assert.is(attempts, 1);
  });
  assert.equal(await admin.mget('{asked}a', '{asked}new'), ['1', '1']);
});

test('a watch finds a slot that has moved at the second attempt', async () => {
  await transaction.run(() => session.set('{watched}a', '1'));
  await move('{watched}');
  let attempts = 0;
  await transaction.run(
    async () => {
      attempts++;
      await session.watch('{watched}a');
      session.incr('{watched}a');
    },
    { backoff: { baseMs: 200 } },
  );
  assert.is(attempts, 2);
  assert.is(await admin.get('{watched}a'), '2');
});

test('the key prefix may be a hash tag, which puts all keys in one slot', async () => {
  const tagged = another({ name: 'tagged' }, { keyPrefix: '{app}:' });
  await transaction.run(async () => {
    await tagged.watch('a');
    tagged.set('a', '1');
    tagged.set('b', '2');
  });
  assert.equal(await admin.mget('{app}:a', '{app}:b'), ['1', '2']);
  const plain = another({ name: 'plain' }, { redisOptions: { keyPrefix: 'app:' } });
  await transaction.run(() => plain.set('a', '1'));
  assert.is(await admin.get('app:a'), '1');
  const broken = another({ name: 'broken' }, { keyPrefix: 'app{' });
  const error = await rejection(transaction.run(() => broken.set('a', '1')));
  assert.match(error.message, /a keyPrefix of a cluster's client must contain a whole hash tag.*'app\{'/);
});

test("a client of a single server is refused at a cluster's node", async () => {
  const single = new Redis(cluster.nodes[0]!.port, { lazyConnect: true });
  const own = register(new RedisSession(single, { name: 'single' }));
  sessions.push(own);
  const error = await rejection(transaction.run(() => own.get('k')));
  assert.instance(error, ConfigurationError);
  assert.match(error.message, /must be a Cluster of ioredis/);
});

test('check() passes, and a cluster that cannot be reached is told', async () => {
  await session.check();
  const lost = register(
    new RedisSession(new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true }), {
      name: 'lost',
      acquireTimeoutMs: 300,
    }),
  );
  sessions.push(lost);
  await assert.rejects(
    transaction.run(() => lost.get('k'), { attempts: 1 }),
    ConnectionLostError,
  );
  await assert.rejects(
    transaction.run(() => void lost.set('k', '1'), { attempts: 1 }),
    ConnectionLostError,
  );
  await assert.rejects(lost.check(), ConnectionLostError);
});

// The last one, because it leaves the cluster without a node.
test('a node that dies is told as a lost connection, or as an outcome that is not known where EXEC was sent', async () => {
  const { node, proxy } = nodeOf('k');
  const survivor = elsewhere('k');
  await transaction.run(() => session.set('k', '1'));
  onText(proxy, 'unanimous:token', (link) => {
    link.dropReplies = true;
    void node.kill('SIGKILL');
  });
  const unknown = await rejection(transaction.run(() => session.set('k', '2'), { attempts: 1 }));
  assert.instance(unknown, CommitOutcomeUnknownError);
  const lost = await rejection(transaction.run(() => session.set('k', '3'), { attempts: 1 }));
  assert.ok(lost instanceof ConnectionLostError || /CLUSTERDOWN/.test(lost.message), lost.stack);
  await node.restart();
  await cluster.ready();
  await assert.eventually(async () => {
    await transaction.run(() => session.set('k', '4'));
    await transaction.run(() => session.set(survivor, '4'));
    return (await admin.get('k')) === '4' && (await admin.get(survivor)) === '4';
  }, 20_000);
});
