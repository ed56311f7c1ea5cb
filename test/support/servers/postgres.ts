// PostgreSQL for the tests: from UNANIMOUS_TEST_PG_URL, npm, the machine, or Debian's packages.
import pg from 'pg';
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
  type PostgresOptions,
} from '../../../examples/support/postgres.ts';
import { orSkip, startOrInstall, throwIfMissing, withControls, type Variables } from './install.ts';

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
export const postgresVariables: Variables = {
  url: 'UNANIMOUS_TEST_PG_URL',
  missing: 'UNANIMOUS_TEST_PG_MISSING',
};

// Nobody kills it, and it need not survive the machine: waiting for a disk would be most of what creating and dropping databases takes.
const SHARED: PostgresOptions = { settings: { fsync: 'off', full_page_writes: 'off' } };

let shared: Promise<SharedPostgres> | undefined;

/** The server of this run; the file is skipped where none is to be had. */
export function postgres(): Promise<SharedPostgres> {
  shared ??= orSkip(connectPostgres);
  return shared;
}

/** A private server; the file is skipped where none is to be had. */
export function startPostgres(options: PostgresOptions = {}): Promise<PrivatePostgres> {
  return orSkip(async () => {
    const server = await start(options);
    const databases = new Databases(() => server.url());
    return withControls(server, {
      get url() {
        return server.url();
      },
      database: (name?: string) => databases.create(name),
    });
  });
}

/** The same as postgres(), but rejects with ServerUnavailable where none is to be had. */
export async function connectPostgres(): Promise<SharedPostgres> {
  throwIfMissing(postgresVariables);
  const given = process.env[postgresVariables.url];
  if (given === undefined) {
    const server = await start(SHARED);
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

function start(options: PostgresOptions): Promise<EmbeddedPostgres> {
  return startOrInstall(() => startEmbeddedPostgres(options), 'postgresql');
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
