// A real Redis Cluster of three masters on one machine, for the examples and the tests.
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startRedis, type EmbeddedRedis, type RedisOptions } from './redis.ts';

/** A running cluster that this process owns; each node can be killed and restarted on its own. */
export type EmbeddedRedisCluster = {
  readonly nodes: readonly EmbeddedRedis[];
  /** Resolves when every node says that the cluster serves all slots, as it does at first. */
  ready(): Promise<void>;
  /** Stops all nodes for good, and removes their folders. */
  stop(): Promise<void>;
};

const size = 3;
const slots = 16_384;
const readyTimeoutMs = 30_000;

const nodeFlags = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'];
// The others shall notice soon that a node has died: 15 seconds by default.
const timeoutFlags = ['--cluster-node-timeout', '2000'];

/** Starts a cluster, and resolves when it serves all slots; throws ServerUnavailable where no Redis is installed. */
export async function startRedisCluster(options: RedisOptions = {}): Promise<EmbeddedRedisCluster> {
  const flags = [...nodeFlags, ...timeoutFlags, ...(options.flags ?? [])];
  const started = await Promise.allSettled(Array.from({ length: size }, () => startRedis({ flags })));
  const nodes = started.filter((each) => each.status === 'fulfilled').map((each) => each.value);
  const cluster: EmbeddedRedisCluster = {
    nodes,
    ready: () => waitUntilReady(nodes),
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  };
  try {
    for (const each of started) if (each.status === 'rejected') throw each.reason;
    await join(nodes);
    await cluster.ready();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

/** Gives each node its share of the slots, and makes the first one known to the others. */
async function join(nodes: readonly EmbeddedRedis[]): Promise<void> {
  for (const [index, node] of nodes.entries()) {
    await withClient(node, async (client) => {
      const from = Math.floor((index * slots) / size);
      const until = Math.floor(((index + 1) * slots) / size);
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      await client.call('CLUSTER', 'ADDSLOTSRANGE', from, until - 1);
      if (index > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', nodes[0]!.port);
    });
  }
}

async function waitUntilReady(nodes: readonly EmbeddedRedis[]): Promise<void> {
  const deadline = performance.now() + readyTimeoutMs;
  for (const node of nodes) {
    await withClient(node, async (client) => {
      for (;;) {
        const said = String(await client.call('CLUSTER', 'INFO'));
        if (said.includes('cluster_state:ok') && said.includes(`cluster_known_nodes:${size}`)) return;
        if (performance.now() > deadline) throw new Error(`the cluster must be ready, but a node says:\n${said}`);
        await sleep(10);
      }
    });
  }
}

async function withClient(node: EmbeddedRedis, work: (client: Redis) => Promise<void>): Promise<void> {
  const client = new Redis(node.url, { retryStrategy: () => null });
  client.on('error', () => undefined);
  try {
    await work(client);
  } finally {
    client.disconnect();
  }
}
