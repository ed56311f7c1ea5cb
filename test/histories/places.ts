// The two databases as lists: what a transaction does with them through the library, and what is there, over a connection of its own.
import driver, { type RowDataPacket } from 'mysql2/promise';
import pg from 'pg';
import { type TransactionCoordinator, register } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgSession } from 'unanimous/pg';
import type { Lists } from './history.ts';

const PATIENCE = { acquireTimeoutMs: 3_000, endTimeoutMs: 1_500, resolveTimeoutMs: 1_500 };

/** A database in transactions. */
export interface Place {
  readonly session: PgSession<pg.Pool> | MysqlSession;
  read(key: string): Promise<string[]>;
  append(key: string, value: string): Promise<unknown>;
  /** Replaces the whole list. */
  rewrite(key: string, values: readonly string[]): Promise<unknown>;
  close(): Promise<void>;
}

/** A place of PostgreSQL, with its session. */
export interface PostgresPlace extends Place {
  readonly session: PgSession<pg.Pool>;
}

/** A place of MariaDB, with its session. */
export interface MariadbPlace extends Place {
  readonly session: MysqlSession;
}

interface Row {
  readonly name: string;
  readonly items: string;
}

function listed(rows: readonly Pick<Row, 'items'>[]): string[] {
  return rows.flatMap(({ items }) => items.split(' '));
}

export function postgresPlace(name: string, url: string, coordinator: TransactionCoordinator, max = 10): PostgresPlace {
  const pool = new pg.Pool({ connectionString: url, max, connectionTimeoutMillis: 3_000 });
  pool.on('error', () => undefined);
  const session = register(new PgSession(pool, { name, ...PATIENCE }), { coordinator });
  const write = (key: string, items: string, replacing: string): Promise<unknown> =>
    session.query(`insert into lists values ($1, $2) on conflict (name) do update set items = ${replacing}`, [
      key,
      items,
    ]);
  return {
    session,
    read: async (key) => listed((await session.query<Row>('select items from lists where name = $1', [key])).rows),
    append: (key, value) => write(key, value, "lists.items || ' ' || excluded.items"),
    rewrite: (key, values) => write(key, values.join(' '), 'excluded.items'),
    close: () => pool.end(),
  };
}

export function mariadbPlace(name: string, url: string, coordinator: TransactionCoordinator, max = 10): MariadbPlace {
  const pool = driver.createPool({ uri: url, connectionLimit: max, connectTimeout: 3_000 });
  const session = register(new MysqlSession(pool, { name, preparedWaitSeconds: 1, ...PATIENCE }), { coordinator });
  const write = (key: string, items: string, replacing: string): Promise<unknown> =>
    session.query(`insert into lists values (?, ?) on duplicate key update items = ${replacing}`, [key, items]);
  return {
    session,
    async read(key) {
      const [rows] = await session.query<(Row & RowDataPacket)[]>('select items from lists where name = ?', [key]);
      return listed(rows);
    },
    append: (key, value) => write(key, value, "concat(items, ' ', values(items))"),
    rewrite: (key, values) => write(key, values.join(' '), 'values(items)'),
    close: () => pool.end(),
  };
}

/** A database from outside: nothing happens to its connection. */
export interface Books {
  make(): Promise<void>;
  lists(): Promise<Lists>;
  /** What is prepared, and which transactions are open, of others. */
  underWay(): Promise<string[]>;
  /** Ends the connection of some client, mostly of one who is in a transaction; whether there was one. */
  disconnectSomebody(): Promise<boolean>;
  disconnect(id: number): Promise<boolean>;
  close(): Promise<void>;
}

function asLists(rows: readonly Row[]): Lists {
  return new Map(rows.map((row) => [row.name, listed([row])]));
}

/** What clients call themselves in their addresses, so that they can be told from whoever looks on. */
export const CLIENT = 'client';

export function postgresBooks(url: string): Books {
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  pool.on('error', () => undefined);
  const rows = async <T extends object>(text: string): Promise<T[]> => (await pool.query<T>(text)).rows;
  const others = `from pg_stat_activity where datname = current_database() and application_name = '${CLIENT}'`;
  return {
    async make() {
      await rows('create table lists (name text primary key, items text not null)');
    },
    lists: async () => asLists(await rows<Row>('select name, items from lists')),
    async underWay() {
      const prepared = 'select gid as what from pg_prepared_xacts where database = current_database()';
      const found = await rows<{ what: string }>(
        `${prepared} union all select query ${others} and xact_start is not null`,
      );
      return found.map(({ what }) => what);
    },
    async disconnectSomebody() {
      const [somebody] = await rows<{ id: number }>(
        `select pid as id ${others} order by random() * case when xact_start is null then 1 else 4 end desc limit 1`,
      );
      return somebody !== undefined && (await this.disconnect(somebody.id));
    },
    async disconnect(id) {
      const [ended] = await rows<{ ended: boolean }>(`select pg_terminate_backend(${id}) as ended`);
      return ended!.ended;
    },
    close: () => pool.end(),
  };
}

/** Where a server is shared with others, `app` says whose branches are looked for: it lists those of all databases. */
export function mariadbBooks(url: string, app?: string): Books {
  const pool = driver.createPool({ uri: url, connectionLimit: 1 });
  const rows = async <T>(text: string): Promise<T[]> => (await pool.query<RowDataPacket[]>(text))[0] as T[];
  const others = 'db = database() and id <> connection_id()';
  const open = `from information_schema.innodb_trx where trx_mysql_thread_id in (select id from information_schema.processlist where ${others})`;
  return {
    async make() {
      // As long as a list can be; and a value is never the same as another one in capitals.
      await rows(
        'create table lists (name varchar(40) primary key, items mediumtext not null) collate utf8mb4_bin engine innodb',
      );
    },
    lists: async () => asLists(await rows<Row>('select name, items from lists')),
    async underWay() {
      const listed = (await rows<{ data: Buffer | string }>('xa recover')).map(({ data }) => String(data));
      // A prepared one has no connection here.
      const found = await rows<{ id: string }>(
        `select trx_id as id ${open} or (trx_mysql_thread_id = 0 and ${app === undefined})`,
      );
      return [
        ...listed.filter((gid) => app === undefined || gid.startsWith(app)),
        ...found.map(({ id }) => `transaction ${id}`),
      ];
    },
    async disconnectSomebody() {
      const [somebody] = await rows<{ id: number }>(
        `select id from information_schema.processlist where ${others} order by rand() * if(id in (select trx_mysql_thread_id from information_schema.innodb_trx), 4, 1) desc limit 1`,
      );
      return somebody !== undefined && (await this.disconnect(somebody.id));
    },
    // It may have gone by itself meanwhile.
    disconnect: (id) =>
      rows(`kill ${id}`).then(
        () => true,
        () => false,
      ),
    close: () => pool.end(),
  };
}
