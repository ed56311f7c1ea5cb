// Protects a Redis session on a cluster in what seldom happens: nodes that are forgotten, slots that nobody has or that move while a reply is
// lost, clusters that come late, and clients whose commands somebody else looks at.
import { Cluster, Redis } from 'ioredis';
import { ConnectionLostError, TransactionStateError, register, transaction } from 'unanimous';
import { RedisSession, type RedisSessionOptions } from 'unanimous/redis';
import { slotOf } from '../../../datamanagers/redis/slot.ts';
import { tcpProxy } from '../../support/proxy.ts';
import { startRedisCluster } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { onText, rejection } from './setup.ts';

const test = suite('what seldom happens on a cluster', { timeoutMs: 60_000 });
const cluster = await startRedisCluster();
const proxies = await Promise.all(cluster.nodes.map((node) => tcpProxy(node.port)));
const addresses = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
/** Every node is reached through its proxy. */
const natMap = Object.fromEntries(
  cluster.nodes.map((node, index) => [`127.0.0.1:${node.port}`, { host: '127.0.0.1', port: proxies[index]!.port }]),
);
const timeouts: RedisSessionOptions = { endTimeoutMs: 10_000, resolveTimeoutMs: 10_000, acquireTimeoutMs: 10_000 };
const nodes = cluster.nodes.map((node) => new Redis(node.port));
const sessions: RedisSession[] = [];

test.before.each(async () => {
  await Promise.all(nodes.map((node) => node.flushall()));
});
test.after.each(async () => {
  for (const proxy of proxies) {
    proxy.onClientData = undefined;
    proxy.onServerData = undefined;
    proxy.refuse = false;
    proxy.release();
  }
  for (const each of sessions.splice(0)) await each.close();
});
test.after(async () => {
  for (const node of nodes) node.disconnect();
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await cluster.stop();
});

/** A session that doesn't look by itself where the slots are. */
function open(clusterOptions: object = {}, options: RedisSessionOptions = {}): RedisSession {
  const client = new Cluster(addresses, { natMap, lazyConnect: true, slotsRefreshInterval: 0, ...clusterOptions });
  const session = register(new RedisSession(client, { name: 'cluster', ...timeouts, ...options }));
  sessions.push(session);
  return session;
}

/** The node that has the slot of a key at first. */
const indexOf = (key: string): number => Math.min(2, Math.floor((slotOf(key) * 3) / 16_384));

/** Moves the slot of a key from one node to another one. */
async function move(key: string, from: number, to: number): Promise<void> {
  const slot = slotOf(key);
  const id = String(await nodes[to]!.call('CLUSTER', 'MYID'));
  await nodes[to]!.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', String(await nodes[from]!.call('CLUSTER', 'MYID')));
  await nodes[from]!.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', id);
  const keys = (await nodes[from]!.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[];
  if (keys.length > 0) {
    await nodes[from]!.call('MIGRATE', '127.0.0.1', cluster.nodes[to]!.port, '', 0, 5_000, 'KEYS', ...keys);
  }
  for (const index of [to, from, 3 - to - from]) await nodes[index]!.call('CLUSTER', 'SETSLOT', slot, 'NODE', id);
}

test('a node whose connection has ended is found again before anything is sent there', async () => {
  const session = open();
  const key = 'forgotten';
  await transaction.run(() => session.set(key, '1'));
  const proxy = proxies[indexOf(key)]!;
  // The reads of ioredis open a connection there, by whose end it forgets the node.
  await transaction.run(() => session.get(key));
  proxy.cut();
  await assert.eventually(() => proxy.links.size === 0);
  await transaction.run(() => session.incr(key), { backoff: { baseMs: 100 } });
  assert.is(await nodes[indexOf(key)]!.get(key), '2');
});

test('where a node is forgotten and no other one can be asked where it is, that is told as a lost connection', async () => {
  const session = open();
  const key = 'forgotten';
  await transaction.run(() => session.set(key, '1'));
  await transaction.run(() => session.get(key));
  for (const proxy of proxies) proxy.refuse = true;
  const proxy = proxies[indexOf(key)]!;
  proxy.cut();
  await assert.eventually(() => proxy.links.size === 0);
  await assert.rejects(
    transaction.run(() => session.incr(key), { attempts: 1 }),
    ConnectionLostError,
  );
  assert.is(await nodes[indexOf(key)]!.get(key), '1');
});

test('the node that is asked what is true of all of them is found again too', async () => {
  const session = open();
  await session.check();
  const key = Array.from({ length: 100 }, (_, n) => `k${n}`).find((each) => indexOf(each) === 0)!;
  await transaction.run(() => session.get(key));
  proxies[0]!.cut();
  await assert.eventually(() => proxies[0]!.links.size === 0);
  await assert.eventually(() => session.check());
});

test('where the slot moves while a reply is lost, the token is looked for at its new node', async () => {
  const session = open();
  const key = '{lost}n';
  await transaction.run(() => session.incr(key));
  const from = indexOf(key);
  onText(proxies[from]!, 'unanimous:token', (link) => {
    link.dropReplies = true;
    void assert
      .eventually(async () => (await nodes[from]!.get(key)) === '2')
      .then(() => move(key, from, (from + 1) % 3))
      .then(() => link.cut());
  });
  const written = await transaction.run(() => session.incr(key), { attempts: 1 });
  assert.match((await rejection(written.result)).message, /its token says that it was run/);
  assert.is(await nodes[(from + 1) % 3]!.get(key), '2');
  await move(key, (from + 1) % 3, from);
});

test('a cluster that can not be reached at first is reached later, also where its client gives up at once', async () => {
  for (const clusterRetryStrategy of [() => null, () => 50]) {
    for (const proxy of proxies) proxy.refuse = true;
    const own = { clusterRetryStrategy, dnsLookup: undefined };
    const through = proxies.map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = new Cluster(through, { natMap, lazyConnect: true, ...own });
    const session = register(new RedisSession(client, { name: 'late', ...timeouts, acquireTimeoutMs: 2_000 }));
    sessions.push(session);
    await assert.rejects(
      transaction.run(() => session.get('k'), { attempts: 1 }),
      ConnectionLostError,
    );
    for (const proxy of proxies) proxy.refuse = false;
    await assert.eventually(async () => {
      assert.is(await transaction.run(() => session.get('k'), { attempts: 1 }), null);
    }, 20_000);
  }
});

test('a cluster that accepts and says nothing is given up in time', async () => {
  for (const proxy of proxies) proxy.hold();
  const through = proxies.map(({ port }) => ({ host: '127.0.0.1', port }));
  const client = new Cluster(through, { natMap, lazyConnect: true });
  const session = register(new RedisSession(client, { name: 'silent', ...timeouts, acquireTimeoutMs: 200 }));
  sessions.push(session);
  const error = await rejection(transaction.run(() => session.get('k'), { attempts: 1 }));
  assert.instance(error, ConnectionLostError);
  assert.match(error.message, /the cluster 'silent' could not be reached \(no answer came within 200 ms\)/);
});

test('a node that is lost under a read is told as a lost connection', async () => {
  const session = open({ retryDelayOnFailover: 0, maxRedirections: 1 });
  const key = 'read';
  await transaction.run(() => session.get(key));
  const proxy = proxies[indexOf(key)]!;
  onText(proxy, key, () => {
    proxy.refuse = true;
    proxy.cut();
    return false;
  });
  const error = await rejection(transaction.run(() => session.get(key), { attempts: 1 }));
  assert.instance(error, ConnectionLostError);
  assert.match(error.message, /that of 'cluster' is gone/);
});

test('a session that is closed connects to no cluster', async () => {
  const session = open();
  await session.close();
  await assert.rejects(
    transaction.run(() => session.get('k'), { attempts: 1 }),
    TransactionStateError,
  );
});

test('where the nodes are is asked of the map, also where it is a function that knows only some', async () => {
  const key = '{mapped}n';
  const from = indexOf(key);
  const to = (from + 1) % 3;
  const asked: string[] = [];
  const map = (address: string): { host: string; port: number } | null => {
    asked.push(address);
    return address === `127.0.0.1:${cluster.nodes[to]!.port}` ? null : (natMap[address] ?? null);
  };
  const session = open({ natMap: map });
  await transaction.run(() => session.incr(key));
  await move(key, from, to);
  await transaction.run(() => session.incr(key), { attempts: 1 });
  assert.ok(asked.includes(`127.0.0.1:${cluster.nodes[to]!.port}`));
  assert.is(await nodes[to]!.get(key), '2');
  await move(key, to, from);
});

test('what a cluster keeps on disk is asked once it is in use', async () => {
  const session = open();
  assert.equal(await session.warnings(), []);
  await transaction.run(() => session.get('k'));
  for (const node of nodes) await node.config('SET', 'save', '');
  assert.equal(
    (await session.warnings()).map(({ kind }) => kind),
    ['no-persistence'],
  );
});

test('where somebody traces commands, what fails is told once; and what is thrown there fails the read', async () => {
  const { sendCommand } = Cluster.prototype;
  const unhandled: unknown[] = [];
  const listen = (reason: unknown): void => void unhandled.push(reason);
  process.prependListener('unhandledRejection', listen);
  const session = open();
  await transaction.run(() => session.get('k'));
  const thrown = new TypeError('thrown by who traces');
  // As instrumentations do: another promise of the same command.
  Cluster.prototype.sendCommand = function (this: Cluster, ...args: Parameters<typeof sendCommand>) {
    if (args[0].name === 'strlen') throw thrown;
    const sent: unknown = sendCommand.apply(this, args);
    return sent instanceof Promise ? sent.then((value: unknown) => value) : sent;
  };
  try {
    await nodes[indexOf('list')]!.rpush('list', 'a');
    await transaction.run(async () => {
      assert.match((await rejection(session.get('list'))).message, /WRONGTYPE/);
      assert.is((await rejection(session.strlen('list'))).cause, thrown);
    });
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    Cluster.prototype.sendCommand = sendCommand;
    process.off('unhandledRejection', listen);
  }
  assert.equal(unhandled, []);
});

// The last one, as not every node may know at once who has been given the slot.
test('a slot that no node has is told as a lost connection: it may be given to one', async () => {
  const key = 'nobodys';
  const slot = slotOf(key);
  const owner = indexOf(key);
  for (const node of nodes) await node.config('SET', 'cluster-require-full-coverage', 'no');
  for (const node of nodes) await node.call('CLUSTER', 'DELSLOTS', slot);
  await cluster.ready();
  const session = open();
  const error = await rejection(transaction.run(() => session.set(key, '1'), { attempts: 1 }));
  assert.instance(error, ConnectionLostError);
  assert.match(error.message, new RegExp(`that of 'cluster' has none for slot ${slot} now, and nothing was sent`));
  await nodes[owner]!.call('CLUSTER', 'ADDSLOTS', slot);
  await assert.eventually(async () => {
    await transaction.run(() => session.set(key, '2'));
    assert.is(await nodes[owner]!.get(key), '2');
  }, 20_000);
});
