// A database of its own for a test file, on MariaDB and on Oracle's MySQL: a session over a pool, beside it connections that see
// what is there, and between them, where asked for, a proxy.
import driver, { type Pool, type PoolConnection, type PoolOptions, type RowDataPacket } from 'mysql2/promise';
import { register, transaction, type RegisterOptions } from 'unanimous';
import { MysqlSession, type MysqlSessionOptions } from 'unanimous/mysql';
import { tcpProxy, type TcpProxy } from '../../support/proxy.ts';
import { mariadb, mysql } from '../../support/servers.ts';
import { assert } from '../../support/suite.ts';

// These tests are of what prepares and commits, and of what is left; decisions that are written down have tests of their own.
transaction.configure({ allowUnsafeCommit: true });

export type DatabaseOptions = MysqlSessionOptions & {
  readonly pool?: PoolOptions;
  readonly register?: RegisterOptions;
};

/** What both kinds of server have. */
export type Server = { readonly url: string; readonly port: number; database(name?: string): Promise<string> };

/** A server that many tests use. */
export type Product = { readonly product: 'MariaDB' | 'MySQL'; readonly server: Server };

/** MariaDB, and MySQL where there is one: every suite runs on each. */
export async function products(): Promise<Product[]> {
  const found: Product[] = [{ product: 'MariaDB', server: await mariadb() }];
  const server = await mysql();
  if (server !== undefined) found.push({ product: 'MySQL', server });
  return found;
}

/** What the global transaction ids of this process begin with: a server lists those of all. */
const ours = (await transaction.context(() => transaction.run((txn) => txn.id))).replace(/[^:]*$/, '');

/** What a pool of mysql2 keeps to itself. */
type Queue = { readonly length: number; get(index: number): { readonly threadId: number } };
type Internals = { pool: Record<'_allConnections' | '_freeConnections' | '_connectionQueue', Queue> };

/** How many connections a pool has, has idle, and is asked for. */
export function poolState(pool: unknown): { all: number; free: number; waiting: number } {
  const core = (pool as Internals).pool;
  return {
    all: core._allConnections.length,
    free: core._freeConnections.length,
    waiting: core._connectionQueue.length,
  };
}

/** How many connections somebody has. */
export function held(pool: unknown): number {
  const { all, free } = poolState(pool);
  return all - free;
}

/** What a connection of the server does. */
type Activity = { readonly id: number; readonly command: string; readonly info: string | null };

/** The server's threads of a pool's connections. */
export function threadsOf(pool: unknown): number[] {
  return threadsIn((pool as Internals).pool._allConnections);
}

/** Of those that somebody has. */
function threadsInUse(pool: unknown): number[] {
  const idle = new Set(threadsIn((pool as Internals).pool._freeConnections));
  return threadsOf(pool).filter((id) => !idle.has(id));
}

function threadsIn(queue: Queue): number[] {
  return Array.from({ length: queue.length }, (_, index) => queue.get(index).threadId);
}

/** Two accounts of 100 each, and whoever works on them. */
export class Database {
  readonly url: string;
  readonly pool: Pool;
  readonly session: MysqlSession;
  /** Sees the database without the session, the pool and the proxy. */
  readonly admin: Pool;
  readonly proxy: TcpProxy;
  readonly #adminThreads = new Set<number>();
  readonly #others: Pool[] = [];
  readonly #branches = new Set<string>();

  private constructor(url: string, proxy: TcpProxy, { pool, register: registration, ...session }: DatabaseOptions) {
    this.url = url;
    this.proxy = proxy;
    this.pool = driver.createPool({ uri: proxy.url(url), ...pool });
    this.session = register(new MysqlSession(this.pool, session), registration);
    this.#branches.add(this.session.name);
    this.admin = driver.createPool({ uri: url, multipleStatements: true });
    this.admin.on('connection', ({ threadId }) => this.#adminThreads.add(threadId));
  }

  static async open(server: Server, options: DatabaseOptions = {}): Promise<Database> {
    const url = await server.database(options.name);
    const database = new Database(url, await tcpProxy(server.port), options);
    await database.admin.query(
      'create table accounts (id int primary key, balance int not null) engine=innodb; insert into accounts values (1, 100), (2, 100)',
    );
    return database;
  }

  /** Another session over a pool of its own, without the proxy. */
  another({ pool, register: registration, ...session }: DatabaseOptions = {}): { pool: Pool; session: MysqlSession } {
    const own = driver.createPool({ uri: this.url, ...pool });
    this.#others.push(own);
    const made = register(new MysqlSession(own, session), registration);
    this.#branches.add(made.name);
    return { pool: own, session: made };
  }

  async rows<T = any>(text: string, values?: unknown[]): Promise<T[]> {
    const [rows] = await this.admin.query<RowDataPacket[]>(text, values);
    return rows as T[];
  }

  async ids(): Promise<number[]> {
    return (await this.rows<{ id: number }>('select id from accounts order by id')).map(({ id }) => id);
  }

  async balance(id: number): Promise<number | undefined> {
    return (await this.rows<{ balance: number }>('select balance from accounts where id = ?', [id]))[0]?.balance;
  }

  /** Back to two accounts of 100. Whatever still holds a lock fails it. */
  async reset(): Promise<void> {
    await this.admin.query(
      'set innodb_lock_wait_timeout = 5; delete from accounts where id > 2; insert into accounts values (1, 100), (2, 100) on duplicate key update balance = 100',
    );
  }

  /** What the server's connections for this database do, but for those that ask. */
  async activity(): Promise<Activity[]> {
    const rows = await this.rows(
      'select id as id, command as command, info as info from information_schema.processlist where db = database()',
    );
    return rows.filter(({ id }) => !this.#adminThreads.has(Number(id)));
  }

  /** Whether a statement that holds `text` is under way. */
  async isRunning(text: string): Promise<boolean> {
    return (await this.activity()).some(({ info }) => info?.includes(text) === true);
  }

  /** The global transaction ids of what is prepared by sessions of this database, in this process. */
  async prepared(): Promise<string[]> {
    const rows = await this.rows<{ gtrid_length: number; data: Buffer | string }>('xa recover');
    return rows.flatMap(({ gtrid_length: length, data }) => {
      const text = String(data);
      const isOurs = text.startsWith(ours) && this.#branches.has(text.slice(length));
      return isOurs ? [text.slice(0, length)] : [];
    });
  }

  /** Ends the connections that a transaction has, or those that `choose` names; resolves with how many. */
  async terminate(choose?: (each: Activity) => boolean): Promise<number> {
    const inUse = new Set([this.pool, ...this.#others].flatMap(threadsInUse));
    const chosen = (await this.activity()).filter(choose ?? (({ id }) => inUse.has(id)));
    for (const { id } of chosen) await this.admin.query(`kill connection ${id}`).catch(ignoreGone);
    return chosen.length;
  }

  /** Nothing is held at either end, and every idle connection is out of any transaction (pitfalls 5 and 15). */
  async assertClean(): Promise<void> {
    await assert.eventually(() => {
      for (const pool of [this.pool, ...this.#others]) {
        const { all, free, waiting } = poolState(pool);
        assert.equal({ held: all - free, waiting }, { held: 0, waiting: 0 }, 'every connection of the pool is idle');
      }
    });
    await assert.eventually(async () => {
      const busy = (await this.activity()).filter(({ command }) => command !== 'Sleep');
      assert.equal(busy, [], 'no connection of the server is at work');
    });
    assert.equal(await this.prepared(), [], 'nothing is prepared');
    for (const pool of [this.pool, ...this.#others]) {
      const connections = await Promise.all(Array.from({ length: poolState(pool).free }, () => pool.getConnection()));
      const idle = connections.map((each) => assertIdle(each).finally(() => each.release()));
      await Promise.all(idle);
    }
  }

  /** Cuts all links, and waits until the pool knows. */
  async cut(): Promise<void> {
    this.proxy.cut();
    await assert.eventually(() => this.proxy.links.size === 0 && poolState(this.pool).all === 0);
  }

  async close(): Promise<void> {
    await Promise.all([this.pool, this.admin, ...this.#others].map((pool) => pool.end()));
    await this.proxy.close();
  }
}

/** The next user's first statement commits by itself, as it should, in the database that the pool was made for. */
async function assertIdle(connection: PoolConnection): Promise<void> {
  const [header] = await connection.query('do 0');
  assert.is((header as { serverStatus: number }).serverStatus & 1, 0, 'no transaction is open');
}

function ignoreGone(error: unknown): void {
  if ((error as { errno?: number }).errno !== 1094) throw error;
}

/** What mysql2 warns of by writing to the console, such as packets that come out of order: nothing of that may ever happen. */
export const warnings: string[] = [];
for (const method of ['error', 'warn'] as const) {
  const original = console[method];
  console[method] = (...args: unknown[]): void => {
    warnings.push(args.map(String).join(' '));
    original(...args);
  };
}
/** Calls `work` while nothing that is said to the console is heard. */
export async function quietly(work: () => Promise<void>): Promise<void> {
  const { log, trace } = console;
  console.log = console.trace = () => undefined;
  try {
    await work();
  } finally {
    Object.assign(console, { log, trace });
  }
}
process.on('warning', (warning) => warnings.push(warning.message));
