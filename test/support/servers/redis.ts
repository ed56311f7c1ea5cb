// Redis for the tests: from UNANIMOUS_TEST_REDIS_URL, the machine, or Debian's packages.
import { Redis } from 'ioredis';
import {
  startRedisCluster as startEmbeddedCluster,
  type EmbeddedRedisCluster,
} from '../../../examples/support/redis-cluster.ts';
import { startRedis as startEmbedded, type EmbeddedRedis, type RedisOptions } from '../../../examples/support/redis.ts';
import { orSkip, startOrInstall, throwIfMissing, type Variables } from './install.ts';

/** A server that this file shares with others, and must not disturb. */
export type SharedRedis = {
  readonly url: string;
  readonly port: number;
  /** What all keys of this file start with, apart from `{`; they are deleted at the end. */
  readonly prefix: string;
  /** Deletes the keys, and stops the server when this process started it. Happens by itself at the end. */
  stop(): Promise<void>;
};

/** A server that belongs to one test. */
export type PrivateRedis = EmbeddedRedis;

/** A cluster of three masters that belongs to one test. */
export type PrivateRedisCluster = EmbeddedRedisCluster;

/** Where the server of a run is handed over, or why there is none. */
export const redisVariables: Variables = {
  url: 'UNANIMOUS_TEST_REDIS_URL',
  missing: 'UNANIMOUS_TEST_REDIS_MISSING',
};

let shared: Promise<SharedRedis> | undefined;

/** The server of this run; the file is skipped where none is to be had. */
export function redis(): Promise<SharedRedis> {
  shared ??= orSkip(connectRedis);
  return shared;
}

/** A private server; the file is skipped where none is to be had. */
export function startRedis(options: RedisOptions = {}): Promise<PrivateRedis> {
  return orSkip(() => startOrInstall(() => startEmbedded(options), 'redis-server'));
}

/** A private cluster of three masters; the file is skipped where no Redis is to be had. */
export function startRedisCluster(options: RedisOptions = {}): Promise<PrivateRedisCluster> {
  return orSkip(() => startOrInstall(() => startEmbeddedCluster(options), 'redis-server'));
}

/** The same as redis(), but rejects with ServerUnavailable where none is to be had. */
export async function connectRedis(): Promise<SharedRedis> {
  throwIfMissing(redisVariables);
  // Files run side by side.
  const prefix = `unanimous:${process.pid}:${process.hrtime.bigint()}:`;
  const given = process.env[redisVariables.url];
  if (given === undefined) {
    const server = await startOrInstall(() => startEmbedded(), 'redis-server');
    return { url: server.url, port: server.port, prefix, stop: () => server.stop() };
  }
  const stop = (): Promise<void> => deleteKeys(given, prefix);
  process.once('beforeExit', () => void stop());
  return { url: given, port: Number(new URL(given).port || 6379), prefix, stop };
}

async function deleteKeys(url: string, prefix: string): Promise<void> {
  const client = new Redis(url, { retryStrategy: () => null });
  client.on('error', () => undefined);
  try {
    // A hash tag may enclose the prefix.
    for await (const keys of client.scanStream({ match: `*${prefix}*`, count: 1000 }) as AsyncIterable<string[]>) {
      if (keys.length > 0) await client.unlink(keys);
    }
  } finally {
    client.disconnect();
  }
}
