// The databases of the crash matrix, on servers that may be killed, seen from outside: over connections that know nothing of this
// library.
import driver, { type Pool, type RowDataPacket } from 'mysql2/promise';
import pg from 'pg';
import { type PrivateMariadb, type PrivatePostgres, startMariadb, startPostgres } from '../support/servers.ts';
import type { Kind, Place } from './resources.ts';

/** Each cell may have a rival in the same database. */
const CONNECTIONS = 12;

/** A server, whichever it is. */
type Server = PrivatePostgres | PrivateMariadb;

/** A branch that is prepared: the global id, and the resource's name. */
export interface Branch {
  readonly gid: string;
  readonly resource: string;
}

/** A transaction of somebody else's, open until it is ended. */
export interface Rival {
  rollback(): Promise<void>;
}

/** A database, from outside. */
export abstract class Database {
  readonly server: Server;
  readonly place: Place;

  constructor(server: Server, place: Place) {
    this.server = server;
    this.place = place;
  }

  abstract rows<T = any>(text: string): Promise<T[]>;
  abstract begin(...texts: string[]): Promise<Rival>;
  /** What is prepared here. */
  abstract prepared(): Promise<Branch[]>;
  /** The statements that wait for a lock. */
  abstract waiting(): Promise<string[]>;
  abstract end(): Promise<void>;

  /** The numbers that were written and committed. */
  async moves(): Promise<number[]> {
    return (await this.rows<{ id: number }>('select id from moves order by id')).map(({ id }) => id);
  }
}

class PgDatabase extends Database {
  readonly #pool: pg.Pool;

  constructor(server: Server, place: Place) {
    super(server, place);
    this.#pool = new pg.Pool({ connectionString: place.url, max: CONNECTIONS });
    // Idle when its server is killed.
    this.#pool.on('error', () => undefined);
  }

  async rows<T>(text: string): Promise<T[]> {
    return (await this.#pool.query(text)).rows as T[];
  }

  async begin(...texts: string[]): Promise<Rival> {
    const client = await this.#pool.connect();
    for (const text of ['begin', ...texts]) await client.query(text);
    return {
      rollback: async () => {
        await client.query('rollback');
        client.release();
      },
    };
  }

  async prepared(): Promise<Branch[]> {
    const rows = await this.rows<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database()',
    );
    return rows.map(({ gid }) => {
      const at = gid.lastIndexOf(':');
      return { gid: gid.slice(0, at), resource: gid.slice(at + 1) };
    });
  }

  async waiting(): Promise<string[]> {
    const rows = await this.rows<{ query: string }>(
      "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows.map(({ query }) => query);
  }

  end(): Promise<void> {
    return this.#pool.end();
  }
}

class MariadbDatabase extends Database {
  readonly #pool: Pool;

  constructor(server: Server, place: Place) {
    super(server, place);
    this.#pool = driver.createPool({ uri: place.url, connectionLimit: CONNECTIONS });
  }

  async rows<T>(text: string): Promise<T[]> {
    const [rows] = await this.#pool.query<RowDataPacket[]>(text);
    return rows as T[];
  }

  async begin(...texts: string[]): Promise<Rival> {
    const connection = await this.#pool.getConnection();
    for (const text of ['start transaction', ...texts]) await connection.query(text);
    return {
      rollback: async () => {
        await connection.query('rollback');
        connection.release();
      },
    };
  }

  /** The server lists those of all its databases. */
  async prepared(): Promise<Branch[]> {
    const rows = await this.rows<{ gtrid_length: number; data: Buffer | string }>('xa recover');
    return rows.map(({ gtrid_length: length, data }) => {
      const text = String(data);
      return { gid: text.slice(0, length), resource: text.slice(length) };
    });
  }

  /** What information_schema has of it stays as it is for as long as several ask again and again. */
  async waiting(): Promise<string[]> {
    const [row] = await this.rows<{ Status: string }>('show engine innodb status');
    return row!.Status.split('---TRANSACTION').filter((text) => text.includes('LOCK WAIT'));
  }

  end(): Promise<void> {
    return this.#pool.end();
  }
}

async function open(server: Server, kind: Kind, name: string): Promise<Database> {
  const place = { kind, url: await server.database(name) };
  const database = kind === 'PostgreSQL' ? new PgDatabase(server, place) : new MariadbDatabase(server, place);
  await database.rows(`create table moves (id int primary key)${kind === 'MariaDB' ? ' engine=innodb' : ''}`);
  return database;
}

/** The databases of one kind: the decision store's on a server of its own, so that each can be killed without the other. */
export interface Databases {
  readonly store: Database;
  readonly a: Database;
  readonly b: Database;
}

export type World = { readonly [K in Kind]: Databases };

async function openAll(kind: Kind, start: () => Promise<Server>): Promise<Databases> {
  const [first, second] = await Promise.all([start(), start()]);
  return {
    store: await open(first, kind, 'store'),
    a: await open(second, kind, 'a'),
    b: await open(second, kind, 'b'),
  };
}

/** Starts the servers: two of each kind. */
export async function openWorld(): Promise<World> {
  const settings = { max_connections: 400, max_prepared_transactions: 100 };
  const [postgres, mariadb] = await Promise.all([
    openAll('PostgreSQL', () => startPostgres({ settings })),
    openAll('MariaDB', () => startMariadb({ flags: ['--max-connections=600'] })),
  ]);
  return { PostgreSQL: postgres, MariaDB: mariadb };
}

export async function closeWorld(world: World): Promise<void> {
  const databases = Object.values(world).flatMap(({ store, a, b }) => [store, a, b]);
  await Promise.all(databases.map((database) => database.end()));
  await Promise.all([...new Set(databases.map(({ server }) => server))].map((server) => server.stop()));
}
