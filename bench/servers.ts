// Throw-away servers with what transactions work on, and what is measured on them.
import type { EmbeddedServer } from '../examples/support/server-process.ts';
import { startMariadb } from '../examples/support/mariadb.ts';
import { startEmbeddedPostgres } from '../examples/support/postgres.ts';
import { startRedis } from '../examples/support/redis.ts';
import { createAccounts as createInMariadb } from './mariadb/accounts.ts';
import { onMariadb } from './mariadb/table.ts';
import { createAccounts as createInPostgres } from './postgres/accounts.ts';
import { onPostgres } from './postgres/table.ts';
import { createAccounts as createInRedis } from './redis/accounts.ts';
import { onRedis } from './redis/table.ts';
import { type Comparison, type MeasureOptions, type ThroughputTable, measureThroughput } from './throughput/table.ts';
import { onTwo } from './two/table.ts';

/** What was measured, and on what. */
export type ServerResults = {
  /** The servers and their versions. */
  readonly version: string;
  readonly tables: readonly ThroughputTable[];
};

/** A server, and what was created there. */
type Ready = { readonly server: EmbeddedServer; readonly url: string; readonly version: string };

/** Each contender keeps 16 connections open. */
const CONNECTIONS = 600;

async function readyPostgres(): Promise<Ready> {
  const server = await startEmbeddedPostgres({ settings: { max_connections: CONNECTIONS } });
  const url = server.url();
  return filled(server, url, 'PostgreSQL', () => createInPostgres(url));
}

async function readyMariadb(): Promise<Ready> {
  // Of the small log that tests have, checkpoints would be a large part of what is measured.
  const flags = [`--max-connections=${CONNECTIONS}`, '--innodb-log-file-size=256M'];
  const server = await startMariadb({ product: 'mariadb', databases: ['bench'], flags });
  const url = server.url('bench');
  return filled(server, url, 'MariaDB', () => createInMariadb(url));
}

async function readyRedis(): Promise<Ready> {
  const server = await startRedis();
  return filled(server, server.url, 'Redis', () => createInRedis(server.url));
}

async function filled(server: EmbeddedServer, url: string, name: string, fill: () => Promise<string>): Promise<Ready> {
  try {
    return { server, url, version: `${name} ${await fill()}` };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Starts servers, and stops them when `work` is done. */
async function withServers<T>(
  starts: readonly (() => Promise<Ready>)[],
  work: (all: Ready[]) => Promise<T>,
): Promise<T> {
  const all: Ready[] = [];
  try {
    for (const start of starts) all.push(await start());
    return await work(all);
  } finally {
    for (const { server } of all) await server.stop();
  }
}

/** Measures on servers, whose addresses the contenders are told in this order. */
function on(
  starts: readonly (() => Promise<Ready>)[],
  comparison: Comparison,
): (options: MeasureOptions) => Promise<ServerResults> {
  return (options) =>
    withServers(starts, async (all) => ({
      version: all.map(({ version }) => version).join(', '),
      tables: await measureThroughput(
        comparison,
        all.map(({ url }) => url),
        options,
      ),
    }));
}

export const measurePostgres = on([readyPostgres], onPostgres);
export const measureMariadb = on([readyMariadb], onMariadb);
export const measureRedis = on([readyRedis], onRedis);
export const measurePostgresAndMariadb = on([readyPostgres, readyMariadb], onTwo('PostgreSQL and MariaDB'));
export const measureTwoPostgres = on([readyPostgres, readyPostgres], onTwo('PostgreSQL A and B'));
