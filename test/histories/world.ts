// The servers of a run, and fresh databases on them for each.
import pg from 'pg';
import driver from 'mysql2/promise';
import { type EmbeddedMariadb, startMariadb } from '../../examples/support/mariadb.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../examples/support/postgres.ts';
import { startOrInstall } from '../support/servers/install.ts';
import type { DatabaseName } from './history.ts';
import { type Books, CLIENT, mariadbBooks, postgresBooks } from './places.ts';
import type { Product, StoreName } from './setting.ts';

/** The databases of one run. */
export interface Databases {
  /** For clients. */
  readonly urls: { readonly [S in StoreName]: string };
  readonly books: { readonly [D in DatabaseName]: Books };
}

const CONNECTIONS = 300;

export class World {
  readonly #a: EmbeddedPostgres;
  readonly #b: EmbeddedPostgres | undefined;
  readonly #mariadb: EmbeddedMariadb | undefined;
  #databases = 0;

  private constructor(a: EmbeddedPostgres, b: EmbeddedPostgres | undefined, mariadb: EmbeddedMariadb | undefined) {
    this.#a = a;
    this.#b = b;
    this.#mariadb = mariadb;
  }

  /** Starts what these need; throws ServerUnavailable where one of them isn't to be had. */
  static async open(products: readonly Product[]): Promise<World> {
    const needsMariadb = products.some((product) => product !== 'postgres');
    const [a, b, mariadb] = await Promise.allSettled([
      startPostgres(),
      products.includes('postgres') ? startPostgres() : undefined,
      needsMariadb ? startLists() : undefined,
    ]);
    const failed = [a, b, mariadb].find((each) => each.status === 'rejected');
    if (failed?.status === 'rejected') {
      for (const each of [a, b, mariadb]) if (each.status === 'fulfilled') await each.value?.stop();
      throw failed.reason;
    }
    return new World(valueOf(a)!, valueOf(b), valueOf(mariadb));
  }

  /** Empty lists in two new databases, and one for decisions. */
  async databases(product: Product): Promise<Databases> {
    const name = `h${++this.#databases}`;
    const server = product === 'postgres' ? this.#b! : this.#mariadb!;
    await withPostgres(this.#a, [`create database ${name}`, `create database ${name}_apart`]);
    if (product === 'postgres') await withPostgres(this.#b!, [`create database ${name}`]);
    else await this.#makeIn(this.#mariadb!, name, product);
    const named = (url: string): string => `${url}?application_name=${CLIENT}`;
    const urls = {
      a: named(this.#a.url(name)),
      b: product === 'postgres' ? named(server.url(name)) : server.url(name),
      apart: named(this.#a.url(`${name}_apart`)),
    };
    const books = {
      a: postgresBooks(this.#a.url(name)),
      b: product === 'postgres' ? postgresBooks(server.url(name)) : mariadbBooks(server.url(name)),
    };
    await Promise.all([books.a.make(), books.b.make()]);
    return { urls, books };
  }

  async #makeIn(server: EmbeddedMariadb, name: string, product: Product): Promise<void> {
    const connection = await driver.createConnection(server.url());
    try {
      await connection.query(`create database ${name}`);
      // Of connections that are opened from now on.
      await connection.query(`set global innodb_snapshot_isolation = ${product === 'mariadb-snapshot' ? 1 : 0}`);
    } finally {
      await connection.end();
    }
  }

  async close(): Promise<void> {
    const servers = [this.#a, this.#b, this.#mariadb].filter((server) => server !== undefined);
    await Promise.all(servers.map((server) => server.stop()));
  }
}

function valueOf<T>(settled: PromiseSettledResult<T>): T | undefined {
  return settled.status === 'fulfilled' ? settled.value : undefined;
}

async function withPostgres(server: EmbeddedPostgres, texts: readonly string[]): Promise<void> {
  const client = new pg.Client(server.url());
  await client.connect();
  try {
    for (const text of texts) await client.query(text);
  } finally {
    await client.end();
  }
}

function startPostgres(): Promise<EmbeddedPostgres> {
  const settings = {
    max_connections: CONNECTIONS,
    max_prepared_transactions: 200,
    // By default others wait for a second until it is looked for.
    deadlock_timeout: '50ms',
    lock_timeout: '700ms',
    // A table that is read whole, as small ones are, conflicts with whoever writes in it.
    enable_seqscan: 'off',
  };
  return startOrInstall(() => startEmbeddedPostgres({ settings }), 'postgresql');
}

function startLists(): Promise<EmbeddedMariadb> {
  const flags = [`--max-connections=${CONNECTIONS}`, '--innodb-lock-wait-timeout=1'];
  return startOrInstall(() => startMariadb({ flags }), 'mariadb-server');
}
