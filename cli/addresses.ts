/** Sessions and decision logs for addresses, over drivers of the user's project, which are imported when one is needed. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DecisionLog, RecoverableResource } from '../coordinator/index.ts';
import { usageError } from './exit.ts';
import { type Secrets, publicAddress } from './secrets.ts';

/** How long a server may take to answer, in milliseconds. */
const TIMEOUT_MS = 10_000;
/** The command line does one thing after the other. */
const CONNECTIONS = 2;

/** A pool that this program has made, and ends. */
export interface OwnPool {
  end(): Promise<unknown>;
}

/** What an address leads to. */
export interface Opened<T> {
  readonly it: T;
  readonly address: string;
  readonly pool: OwnPool;
}

/** Where drivers are looked for, and what is remembered not to be printed. */
export interface Surroundings {
  /** The folder of the configuration, or the current one. */
  readonly folder: string;
  readonly secrets: Secrets;
}

interface Kind {
  readonly driver: string;
  readonly open: (address: string, name: string, driver: unknown) => Promise<{ session: Session; pool: OwnPool }>;
  readonly log: (session: Session, options: LogOptions) => Promise<DecisionLog>;
}

type Session = RecoverableResource;
type LogOptions = { readonly tablePrefix?: string | undefined };

const timeouts = { acquireTimeoutMs: TIMEOUT_MS, resolveTimeoutMs: TIMEOUT_MS };

const postgres: Kind = {
  driver: 'pg',
  async open(address, name, driver) {
    const { PgSession } = await import('../datamanagers/pg/index.ts');
    const { Pool } = driver as { Pool: new (options: object) => ConstructorParameters<typeof PgSession>[0] & OwnPool };
    const pool = new Pool({
      connectionString: address,
      max: CONNECTIONS,
      connectionTimeoutMillis: TIMEOUT_MS,
      application_name: 'unanimous',
    });
    // An idle connection that is lost is no news: whoever asks next hears of it.
    (pool as unknown as NodeJS.EventEmitter).on('error', () => undefined);
    return { session: new PgSession(pool, { name, ...timeouts }), pool };
  },
  async log(session, options) {
    const { PgDecisionLog, PgSession } = await import('../datamanagers/pg/index.ts');
    return new PgDecisionLog(session as InstanceType<typeof PgSession>, options);
  },
};

const mysql: Kind = {
  driver: 'mysql2/promise',
  async open(address, name, driver) {
    const { MysqlSession } = await import('../datamanagers/mysql/index.ts');
    const { createPool } = driver as {
      createPool: (options: object) => ConstructorParameters<typeof MysqlSession>[0] & OwnPool;
    };
    const pool = createPool({ uri: address, connectionLimit: CONNECTIONS, connectTimeout: TIMEOUT_MS });
    return { session: new MysqlSession(pool, { name, ...timeouts }), pool };
  },
  async log(session, options) {
    const { MysqlDecisionLog, MysqlSession } = await import('../datamanagers/mysql/index.ts');
    return new MysqlDecisionLog(session as InstanceType<typeof MysqlSession>, options);
  },
};

const KINDS: Readonly<Record<string, Kind>> = {
  'postgres:': postgres,
  'postgresql:': postgres,
  'mysql:': mysql,
  'mariadb:': mysql,
};

/** The session of an address. @throws CommandError where it is no address, or its driver is missing. */
export async function openSession(
  where: string,
  text: string,
  name: string,
  around: Surroundings,
): Promise<Opened<Session>> {
  const { url, kind } = parse(where, text, around);
  const driver = await importDriver(kind.driver, around.folder, `${where} is at ${publicAddress(url)}`);
  const { session, pool } = await kind.open(text, name, driver);
  return { it: session, address: publicAddress(url), pool };
}

/** The decision log of an address. @throws as {@link openSession} does. */
export async function openLog(text: string, options: LogOptions, around: Surroundings): Promise<Opened<DecisionLog>> {
  const { kind } = parse('store', text, around);
  const { it, address, pool } = await openSession('store', text, 'store', around);
  return { it: await kind.log(it, options), address, pool };
}

function parse(where: string, text: string, { secrets }: Surroundings): { url: URL; kind: Kind } {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    // Without the text, which may hold a password.
    throw usageError(`the address of ${where} can't be read as a URL`, [
      'it is of the form postgres://user:password@host:port/database, with %40 for an @ in the password, and so on',
    ]);
  }
  secrets.add(url);
  const kind = KINDS[url.protocol];
  if (kind === undefined) {
    const known = Object.keys(KINDS).map((each) => `${each}//`);
    throw usageError(`the address of ${where} must begin with ${known.join(', ')}, not ${url.protocol}//`);
  }
  return { url, kind };
}

/** From the project of whoever asks, else from beside this package. */
async function importDriver(name: string, folder: string, why: string): Promise<unknown> {
  for (const from of [pathToFileURL(join(folder, 'unanimous.config.js')), import.meta.url]) {
    let path: string;
    try {
      path = createRequire(from).resolve(name);
    } catch {
      continue;
    }
    const module = (await import(pathToFileURL(path).href)) as { default?: unknown };
    return module.default ?? module;
  }
  const [pkg] = name.split('/');
  throw usageError(`${why}, and the driver ${pkg} for that isn't installed in ${folder}`, [`npm install ${pkg}`]);
}
