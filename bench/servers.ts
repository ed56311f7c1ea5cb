// Throw-away servers with what transactions work on.
import type { EmbeddedServer } from '../examples/support/server-process.ts';
import { startMariadb } from '../examples/support/mariadb.ts';
import { startEmbeddedPostgres } from '../examples/support/postgres.ts';
import { startRedis } from '../examples/support/redis.ts';
import { createAccounts as createInMariadb } from './mariadb/accounts.ts';
import { fsyncsOfMariadb } from './mariadb/fsyncs.ts';
import { createAccounts as createInPostgres } from './postgres/accounts.ts';
import { fsyncsOfPostgres } from './postgres/fsyncs.ts';
import { createAccounts as createInRedis } from './redis/accounts.ts';

/** A server, and what was created there. */
export type Ready = {
  readonly server: EmbeddedServer;
  /** The addresses of its databases. */
  readonly urls: readonly string[];
  readonly version: string;
  /** How often it has flushed its log; none where it doesn't say, or has no log. */
  readonly fsyncs: () => Promise<number | undefined>;
};

/** Starts a server; throws ServerUnavailable where it isn't installed. */
export type Start = () => Promise<Ready>;

/** Each contender keeps 16 connections open. */
const CONNECTIONS = 600;

/** A PostgreSQL with a table of accounts in each of so many databases. */
export function postgresWith(databases: number): Start {
  return async () => {
    const others = Array.from({ length: databases - 1 }, (_, index) => `bench${index + 2}`);
    const settings = { max_connections: CONNECTIONS };
    const server = await startEmbeddedPostgres({ settings, databases: others });
    const urls = [server.url(), ...others.map((name) => server.url(name))];
    const create = async (): Promise<string> => {
      const versions: string[] = [];
      for (const url of urls) versions.push(await createInPostgres(url));
      return versions[0]!;
    };
    return filled(server, urls, 'PostgreSQL', create, () => fsyncsOfPostgres(urls[0]!));
  };
}

export const readyPostgres: Start = postgresWith(1);

export const readyMariadb: Start = async () => {
  // Of the small log that tests have, checkpoints would be a large part of what is measured.
  const flags = [`--max-connections=${CONNECTIONS}`, '--innodb-log-file-size=256M'];
  const server = await startMariadb({ product: 'mariadb', databases: ['bench'], flags });
  const url = server.url('bench');
  return filled(
    server,
    [url],
    'MariaDB',
    () => createInMariadb(url),
    () => fsyncsOfMariadb(url),
  );
};

export const readyRedis: Start = async () => {
  const server = await startRedis();
  const { url } = server;
  return filled(
    server,
    [url],
    'Redis',
    () => createInRedis(url),
    () => Promise.resolve(undefined),
  );
};

async function filled(
  server: EmbeddedServer,
  urls: readonly string[],
  name: string,
  fill: () => Promise<string>,
  fsyncs: Ready['fsyncs'],
): Promise<Ready> {
  try {
    return { server, urls, version: `${name} ${await fill()}`, fsyncs };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Starts servers, and stops them when `work` is done. */
export async function withServers<T>(
  starts: readonly Start[],
  work: (all: readonly Ready[]) => Promise<T>,
): Promise<T> {
  const all: Ready[] = [];
  try {
    for (const start of starts) all.push(await start());
    return await work(all);
  } finally {
    for (const { server } of all) await server.stop();
  }
}

/** The fsyncs of all servers that say; none where none does. */
export async function fsyncsOf(all: readonly Ready[]): Promise<number | undefined> {
  let sum: number | undefined;
  for (const { fsyncs } of all) {
    const counted = await fsyncs();
    if (counted !== undefined) sum = (sum ?? 0) + counted;
  }
  return sum;
}
