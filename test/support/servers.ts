// The servers that tests run against: a function for each kind, which returns the server that all files of a run share,
// and one for a private server that a test may kill.
//
// Where they come from, in this order: addresses in the environment (UNANIMOUS_TEST_PG_URL), npm, the machine, and on
// Debian as root apt-get. What is not to be had is skipped aloud, which fails where CI=true.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import pg from 'pg';
import { PostgresUnavailable } from '../../examples/support/postgres-binaries.ts';
import { startEmbeddedPostgres, type EmbeddedPostgres, type PostgresOptions } from '../../examples/support/postgres.ts';

/** A server that this file shares with others, and must not disturb. */
export type SharedPostgres = {
  /** The address of a database that exists, for statements about the server. */
  readonly url: string;
  readonly port: number;
  /** Creates an empty database, which is dropped at the end, and returns its address. */
  database(name?: string): Promise<string>;
  /** Drops what it created, and stops the server when this process started it. Happens by itself at the end. */
  stop(): Promise<void>;
};

/** A server that belongs to one test. */
export type PrivatePostgres = Omit<EmbeddedPostgres, 'url'> & {
  readonly url: string;
  database(name?: string): Promise<string>;
};

/** Where the server of a run is handed over, or why there is none. */
export const postgresVariables = {
  url: 'UNANIMOUS_TEST_PG_URL',
  missing: 'UNANIMOUS_TEST_PG_MISSING',
} as const;

let shared: Promise<SharedPostgres> | undefined;

/** The server of this run; the file is skipped where none is to be had. */
export function postgres(): Promise<SharedPostgres> {
  shared ??= orSkip(connectPostgres);
  return shared;
}

/** A private server; the file is skipped where none is to be had. */
export function startPostgres(options: PostgresOptions = {}): Promise<PrivatePostgres> {
  return orSkip(async () => {
    const server = await startOrInstall(options);
    const databases = new Databases(() => server.url());
    return {
      get url() {
        return server.url();
      },
      get port() {
        return server.port;
      },
      get pid() {
        return server.pid;
      },
      dataDir: server.dataDir,
      database: (name?: string) => databases.create(name),
      kill: (signal) => server.kill(signal),
      restart: () => server.restart(),
      stop: () => server.stop(),
    };
  });
}

/** The same as postgres(), but rejects with PostgresUnavailable where none is to be had. */
export async function connectPostgres(): Promise<SharedPostgres> {
  const missing = process.env[postgresVariables.missing];
  if (missing !== undefined) throw new PostgresUnavailable(missing);
  const given = process.env[postgresVariables.url];
  if (given === undefined) {
    const server = await startOrInstall({});
    const databases = new Databases(() => server.url());
    return {
      url: server.url(),
      port: server.port,
      database: (name) => databases.create(name),
      stop: () => server.stop(),
    };
  }
  await checkSettings(given);
  const databases = new Databases(() => given);
  process.once('beforeExit', () => void databases.drop());
  return {
    url: given,
    port: Number(new URL(given).port || 5432),
    database: (name) => databases.create(name),
    stop: () => databases.drop(),
  };
}

async function orSkip<T>(start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof PostgresUnavailable)) throw error;
    // Imported here, because the runner uses this module too, and has no tests.
    const { skipFile } = await import('./suite.ts');
    return skipFile(error.message);
  }
}

async function startOrInstall(options: PostgresOptions): Promise<EmbeddedPostgres> {
  try {
    return await startEmbeddedPostgres(options);
  } catch (error) {
    if (!(error instanceof PostgresUnavailable) || !installOnDebian('postgresql')) throw error;
    return await startEmbeddedPostgres(options);
  }
}

function installOnDebian(name: string): boolean {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false;
  console.log(`installing ${name}, which the tests need, by apt-get`);
  const options = { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
  const run = (...flags: string[]): boolean => spawnSync('apt-get', flags, options).status === 0;
  return run('update', '-q') && run('install', '-y', '-q', '--no-install-recommends', name);
}

/** A server from the environment has settings that nobody here chose. */
async function checkSettings(url: string): Promise<void> {
  await administer(url, async (client) => {
    const { rows } = await client.query<{ setting: string }>('SHOW max_prepared_transactions');
    const value = Number(Object.values(rows[0] ?? {})[0]);
    if (value < 20) {
      throw new Error(
        `${postgresVariables.url} must allow 20 prepared transactions: max_prepared_transactions=${value}`,
      );
    }
  });
}

class Databases {
  readonly #server: () => string;
  readonly #created: string[] = [];

  constructor(server: () => string) {
    this.#server = server;
  }

  async create(label = 'test'): Promise<string> {
    // Files run side by side, so that a label alone does not tell their databases apart.
    const name = `unanimous_${label}_${process.pid}_${process.hrtime.bigint()}`;
    await administer(this.#server(), (client) => client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`));
    this.#created.push(name);
    const url = new URL(this.#server());
    url.pathname = `/${name}`;
    return url.href;
  }

  /** A prepared transaction keeps its database from being dropped, so it is rolled back first, from within. */
  async drop(): Promise<void> {
    for (const name of this.#created.splice(0)) {
      const url = new URL(this.#server());
      url.pathname = `/${name}`;
      await administer(url.href, async (client) => {
        const { rows } = await client.query<{ gid: string }>(
          'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
        );
        for (const { gid } of rows) await client.query(`ROLLBACK PREPARED ${pg.escapeLiteral(gid)}`);
      });
      await administer(this.#server(), (client) =>
        client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`),
      );
    }
  }
}

async function administer(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
