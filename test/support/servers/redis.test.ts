import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { Cluster, Redis } from 'ioredis';
import { redis, startRedis, startRedisCluster } from '../servers.ts';
import { assert, suite } from '../suite.ts';
import { isAlive, owner } from './owner.ts';
import { connectRedis } from './redis.ts';

const test = suite('servers: Redis', { timeoutMs: 60_000 });
const server = await redis();

async function connected<T>(url: string, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null });
  client.on('error', () => {});
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

test('the keys under the prefix of a file are deleted at the end, and no others', async () => {
  process.env['UNANIMOUS_TEST_REDIS_URL'] ??= server.url;
  const other = await connectRedis();
  assert.is.not(other.prefix, server.prefix);
  await connected(server.url, async (client) => {
    await client.mset(`${server.prefix}a`, 1, `${other.prefix}a`, 1, `{${other.prefix}b}:c`, 1);
    await other.stop();
    assert.equal(await client.mget(`${server.prefix}a`, `${other.prefix}a`, `{${other.prefix}b}:c`), ['1', null, null]);
  });
});

test('a private server with an append-only file keeps its data through SIGKILL, and one without loses it', async () => {
  for (const [flag, expected] of [
    ['yes', 'value'],
    ['no', null],
  ] as const) {
    const own = await startRedis({ flags: ['--appendonly', flag] });
    await connected(own.url, (client) => client.set('key', 'value'));
    const { pid, port } = own;
    await own.kill('SIGKILL');
    await assert.rejects(connected(own.url, (client) => client.get('key')));
    await own.restart();
    assert.is(own.port, port);
    assert.is.not(own.pid, pid);
    assert.is(await connected(own.url, (client) => client.get('key')), expected);
    await own.stop();
    assert.not.ok(existsSync(dirname(own.dataDir)));
    assert.not.ok(isAlive(own.pid));
  }
});

test('a cluster serves keys of all its nodes, also after one of them was killed and restarted', async () => {
  const cluster = await startRedisCluster({ flags: ['--appendonly', 'yes'] });
  const addresses = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
  const client = new Cluster(addresses);
  client.on('error', () => {});
  try {
    const keys = Array.from({ length: 30 }, (_each, index) => `key-${index}`);
    for (const key of keys) await client.set(key, key);
    const sizes = await Promise.all(cluster.nodes.map(({ url }) => connected(url, (node) => node.dbsize())));
    assert.ok(sizes.every((size) => size > 0));
    assert.is(
      sizes.reduce((sum, size) => sum + size),
      keys.length,
    );
    await cluster.nodes[0]!.kill();
    await cluster.nodes[0]!.restart();
    await cluster.ready();
    for (const key of keys) assert.is(await client.get(key), key);
  } finally {
    client.disconnect();
    await cluster.stop();
  }
  for (const { dataDir } of cluster.nodes) assert.not.ok(existsSync(dirname(dataDir)));
});

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`${signal} of its owner leaves neither a server nor a folder`, async () => {
    const end = `process.kill(process.pid, '${signal}'); setInterval(() => {}, 1000);`;
    const { code, folder, pid } = await owner('redis.ts', 'startRedis', end);
    assert.not.ok(code === 0);
    await assert.eventually(() => !existsSync(folder) && !isAlive(pid), 10_000);
  });
}
