// MariaDB for the tests: from UNANIMOUS_TEST_MARIADB_URL, the machine, or Debian's packages; and Oracle's MySQL where one
// is to be had, from UNANIMOUS_TEST_MYSQL_URL or the machine.
import {
  startMariadb as startEmbedded,
  type EmbeddedMariadb,
  type MariadbOptions,
} from '../../../examples/support/mariadb.ts';
import { ServerUnavailable } from '../../../examples/support/unavailable.ts';
import { orSkip, startOrInstall, throwIfMissing, withControls, type Variables } from './install.ts';
import { MariadbDatabases } from './mariadb-databases.ts';

/** A server that this file shares with others, and must not disturb. */
export type SharedMariadb = {
  /** The address of the server, of no database, for statements about it. */
  readonly url: string;
  readonly port: number;
  /**
   * What the global transaction ids of this file start with, since they share one list (`XA RECOVER`): at most 20 letters
   * and digits. Prepared branches that bear it, or the name of a database from here, are rolled back at the end.
   */
  readonly prefix: string;
  /** Creates an empty database, which is dropped at the end, and returns its address. */
  database(name?: string): Promise<string>;
  /** Drops what it created, and stops the server when this process started it. Happens by itself at the end. */
  stop(): Promise<void>;
};

/** A server that belongs to one test. */
export type PrivateMariadb = Omit<EmbeddedMariadb, 'url'> & {
  readonly url: string;
  database(name?: string): Promise<string>;
};

/** What a private server is started with. */
export type PrivateMariadbOptions = Omit<MariadbOptions, 'product'>;

/** Where the MariaDB of a run is handed over, or why there is none. */
export const mariadbVariables: Variables = {
  url: 'UNANIMOUS_TEST_MARIADB_URL',
  missing: 'UNANIMOUS_TEST_MARIADB_MISSING',
};

/** Where the MySQL of a run is handed over, or why there is none. */
export const mysqlVariables: Variables = {
  url: 'UNANIMOUS_TEST_MYSQL_URL',
  missing: 'UNANIMOUS_TEST_MYSQL_MISSING',
};

// Nobody kills it, and it need not survive the machine.
const SHARED: PrivateMariadbOptions = { flags: ['--innodb-flush-method=nosync'] };

let sharedMariadb: Promise<SharedMariadb> | undefined;
let sharedMysql: Promise<SharedMariadb | undefined> | undefined;

/** The MariaDB of this run; the file is skipped where none is to be had. */
export function mariadb(): Promise<SharedMariadb> {
  sharedMariadb ??= orSkip(connectMariadb);
  return sharedMariadb;
}

/**
 * The MySQL of Oracle of this run, or undefined where none is to be had, which is said aloud but fails nowhere: Debian has
 * packages of MariaDB alone, so that a usual machine cannot get one.
 */
export function mysql(): Promise<SharedMariadb | undefined> {
  sharedMysql ??= orUndefined(connectMysql);
  return sharedMysql;
}

/** A private MariaDB; the file is skipped where none is to be had. */
export function startMariadb(options: PrivateMariadbOptions = {}): Promise<PrivateMariadb> {
  return orSkip(async () => asPrivate(await startProduct('mariadb', options)));
}

/** A private MySQL of Oracle, or undefined where none is installed, as with mysql(). */
export function startMysql(options: PrivateMariadbOptions = {}): Promise<PrivateMariadb | undefined> {
  return orUndefined(async () => asPrivate(await startProduct('mysql', options)));
}

/** The same as mariadb(), but rejects with ServerUnavailable where none is to be had. */
export async function connectMariadb(): Promise<SharedMariadb> {
  throwIfMissing(mariadbVariables);
  return share(process.env[mariadbVariables.url] ?? (await startProduct('mariadb', SHARED)));
}

/** The same as mysql(), but rejects with ServerUnavailable where none is to be had. */
export async function connectMysql(): Promise<SharedMariadb> {
  throwIfMissing(mysqlVariables);
  return share(process.env[mysqlVariables.url] ?? (await startProduct('mysql', {})));
}

async function startProduct(product: 'mariadb' | 'mysql', options: PrivateMariadbOptions): Promise<EmbeddedMariadb> {
  const start = (): Promise<EmbeddedMariadb> => startEmbedded({ ...options, product });
  return product === 'mysql' ? await start() : await startOrInstall(start, 'mariadb-server');
}

function share(server: string | EmbeddedMariadb): SharedMariadb {
  const url = typeof server === 'string' ? server : server.url();
  const databases = new MariadbDatabases(() => url);
  if (typeof server === 'string') process.once('beforeExit', () => void databases.drop());
  return {
    url,
    port: Number(new URL(url).port || 3306),
    prefix: databases.prefix,
    database: (name) => databases.create(name),
    stop: () => (typeof server === 'string' ? databases.drop() : server.stop()),
  };
}

function asPrivate(server: EmbeddedMariadb): PrivateMariadb {
  const databases = new MariadbDatabases(() => server.url());
  return withControls(server, {
    product: server.product,
    get url() {
      return server.url();
    },
    database: (name?: string) => databases.create(name),
  });
}

async function orUndefined<T>(start: () => Promise<T>): Promise<T | undefined> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof ServerUnavailable)) throw error;
    // Imported here, because the runner uses this module too, and has no tests.
    const { skipPart } = await import('../suite.ts');
    skipPart("what needs Oracle's MySQL", error.message);
    return undefined;
  }
}
