// The keys that transactions on Redis work on.
import { Redis } from 'ioredis';
import { ROWS } from '../throughput/slice.ts';
import { accountKey } from './workload.ts';

/** Writes the keys, and returns the version of the server. */
export async function createAccounts(url: string): Promise<string> {
  const client = new Redis(url);
  try {
    await client.mset(Array.from({ length: ROWS }, (_, index) => [accountKey(index + 1), '0']).flat());
    return /^redis_version:(\S+)/m.exec(await client.info('server'))?.[1] ?? 'unknown';
  } finally {
    client.disconnect();
  }
}
