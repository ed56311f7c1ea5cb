// A database of its own for a test file: a session over a pool, beside it a connection that sees what is there, and between
// them, where asked for, a proxy.
import pg from 'pg';
import { register, type RegisterOptions } from 'unanimous';
import { PgSession, type PgSessionOptions } from 'unanimous/pg';
import { tcpProxy, type TcpProxy } from '../../support/proxy.ts';
import { assert } from '../../support/suite.ts';

export { Gate, onText, outcomes, says } from '../sql/helpers.ts';

export type DatabaseOptions = PgSessionOptions & {
  readonly pool?: pg.PoolConfig;
  readonly register?: RegisterOptions;
};

/** What both kinds of server have. */
type Server = { readonly port: number; database(name?: string): Promise<string> };

/** Two accounts of 100 each, and whoever works on them. */
export class Database {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly session: PgSession<pg.Pool>;
  /** Sees the database without the session, the pool and the proxy. */
  readonly admin: pg.Pool;
  readonly proxy: TcpProxy;

  private constructor(url: string, proxy: TcpProxy, { pool, register: registration, ...session }: DatabaseOptions) {
    this.url = url;
    this.proxy = proxy;
    // Without a listener for its errors: whatever a session's connection says must have been heard by the session.
    this.pool = new pg.Pool({ connectionString: proxy.url(url), ...pool });
    this.session = register(new PgSession(this.pool, session), registration);
    this.admin = new pg.Pool({ connectionString: url });
    this.admin.on('error', () => undefined);
  }

  static async open(server: Server, options: DatabaseOptions = {}): Promise<Database> {
    const url = await server.database(options.name);
    const database = new Database(url, await tcpProxy(server.port), options);
    await database.admin.query(
      'create table accounts (id int primary key, balance int not null); insert into accounts values (1, 100), (2, 100)',
    );
    return database;
  }

  /** Another session over a pool of its own, without the proxy. */
  another({ pool, register: registration, ...session }: DatabaseOptions = {}): {
    pool: pg.Pool;
    session: PgSession<pg.Pool>;
  } {
    const own = new pg.Pool({ connectionString: this.url, ...pool });
    this.#others.push(own);
    return { pool: own, session: register(new PgSession(own, session), registration) };
  }
  readonly #others: pg.Pool[] = [];

  async ids(): Promise<number[]> {
    return (await this.admin.query<{ id: number }>('select id from accounts order by id')).rows.map(({ id }) => id);
  }

  async balance(id: number): Promise<number | undefined> {
    return (await this.admin.query<{ balance: number }>('select balance from accounts where id = $1', [id])).rows[0]
      ?.balance;
  }

  /** Back to two accounts of 100. */
  async reset(): Promise<void> {
    await this.admin.query(
      'delete from accounts where id > 2; update accounts set balance = 100; insert into accounts values (1, 100), (2, 100) on conflict do nothing',
    );
  }

  /** What the server's processes for this database do, but for the one that is asked. */
  async activity(): Promise<{ pid: number; state: string; query: string }[]> {
    const { rows } = await this.admin.query<{ pid: number; state: string; query: string }>(
      "select pid, state, query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'",
    );
    return rows;
  }

  async prepared(): Promise<string[]> {
    const { rows } = await this.admin.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database()',
    );
    return rows.map(({ gid }) => gid);
  }

  /** Ends the server's process of everybody but the asking connection. */
  async terminate(where = "state like 'idle in transaction%'"): Promise<number> {
    const { rowCount } = await this.admin.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and ${where}`,
    );
    return rowCount ?? 0;
  }

  /** Nothing is held at either end, and the next connection is idle (pitfall 5). */
  async assertClean(): Promise<void> {
    await assert.eventually(() => {
      assert.is(this.pool.idleCount, this.pool.totalCount, 'every connection of the pool is idle');
      assert.is(this.pool.waitingCount, 0);
    });
    await assert.eventually(async () => {
      const busy = (await this.activity()).filter(({ state }) => state !== 'idle');
      assert.equal(busy, [], 'no process of the server is in a transaction');
    });
    assert.equal(await this.prepared(), [], 'nothing is prepared');
    const client = await this.pool.connect();
    try {
      await client.query('select 1');
      assert.is((client as unknown as { getTransactionStatus(): string }).getTransactionStatus(), 'I');
    } finally {
      client.release();
    }
  }

  /** Cuts all links; that idle connections die then is no news. */
  async cut(): Promise<void> {
    const ignore = (): void => undefined;
    this.pool.on('error', ignore);
    this.proxy.cut();
    await assert.eventually(() => this.proxy.links.size === 0 && this.pool.totalCount === 0);
    this.pool.off('error', ignore);
  }

  async close(): Promise<void> {
    const pools = [this.pool, this.admin, ...this.#others];
    // A pool has ended before its connections have: a server that stops meanwhile tells them.
    for (const pool of pools) pool.on('error', () => undefined);
    await Promise.all(pools.map((pool) => pool.end()));
    await this.proxy.close();
  }
}
