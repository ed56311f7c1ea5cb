// A Redis of its own, whose address is in REDIS_URL.
import { startRedis } from '../../support/servers.ts';
import type { Started } from '../setups.ts';

export async function start(): Promise<Started> {
  const server = await startRedis();
  return { env: { REDIS_URL: server.url }, stop: () => server.stop() };
}
