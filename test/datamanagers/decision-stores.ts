// The databases that decisions can be kept in, as tests see them: any number of processes with a log each, the tables from outside,
// and a proxy between them.
import driver, { type Pool, type PoolConnection, type RowDataPacket } from 'mysql2/promise';
import pg from 'pg';
import { type Decision, type DecisionLog, register, TransactionCoordinator } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { type TcpProxy, tcpProxy } from '../support/proxy.ts';
import { held } from './mysql/setup.ts';

/** A process that keeps its decisions here, as far as it is needed: its log, and a session of the same database. */
export interface Process {
  readonly log: DecisionLog;
  readonly session: PgSession | MysqlSession;
  readonly coordinator: TransactionCoordinator;
  /** How many connections of the application's pool somebody has. */
  inUse(): number;
  /** Ends the application's pool; the log has connections of its own. */
  endPool(): Promise<void>;
}

/** How a log is made, besides what its constructor takes. */
export interface ProcessOptions {
  readonly tablePrefix?: string;
  readonly timeoutMs?: number;
}

/** A transaction of somebody else's, open until it is ended. */
export interface OpenTransaction {
  run(text: string): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** A database where decisions are kept. */
export abstract class DecisionStore {
  abstract readonly title: string;
  /** The address of the database, without the proxy. */
  abstract readonly url: string;
  /** What all processes go through. */
  readonly proxy: TcpProxy;
  readonly #processes: Process[] = [];

  constructor(proxy: TcpProxy) {
    this.proxy = proxy;
  }

  /** A log and a session over a pool of their own, as of another process. */
  process(options: ProcessOptions = {}): Process {
    const coordinator = new TransactionCoordinator({ app: 'shop' });
    const made = { coordinator, ...this.make(options, coordinator) };
    this.#processes.push(made);
    return made;
  }

  protected abstract make(options: ProcessOptions, coordinator: TransactionCoordinator): Omit<Process, 'coordinator'>;

  /** Runs statements from outside: without the proxy, each by itself. */
  abstract rows<T = any>(text: string): Promise<T[]>;

  /** Opens a transaction from outside, and runs these statements in it. */
  abstract transaction(...texts: string[]): Promise<OpenTransaction>;

  /** Ends what the processes of a test have left. */
  async endProcesses(): Promise<void> {
    this.proxy.onClientData = this.proxy.onServerData = undefined;
    this.proxy.refuse = false;
    this.proxy.release();
    for (const { coordinator, log, endPool } of this.#processes.splice(0)) {
      await coordinator.close();
      await log.close();
      await endPool();
    }
  }

  abstract close(): Promise<void>;
}

class PgStore extends DecisionStore {
  readonly title = 'PostgreSQL';
  readonly url: string;
  readonly #admin: pg.Pool;

  constructor(url: string, proxy: TcpProxy) {
    super(proxy);
    this.url = url;
    this.#admin = new pg.Pool({ connectionString: url });
  }

  protected make(options: ProcessOptions, coordinator: TransactionCoordinator): Omit<Process, 'coordinator'> {
    const pool = new pg.Pool({ connectionString: this.proxy.url(this.url) });
    pool.on('error', () => undefined);
    const session = register(new PgSession(pool, { name: 'store', resolveTimeoutMs: 5_000 }), { coordinator });
    return {
      session,
      log: new PgDecisionLog(session, options),
      inUse: () => pool.totalCount - pool.idleCount,
      endPool: once(() => pool.end()),
    };
  }

  async rows<T>(text: string): Promise<T[]> {
    return (await this.#admin.query(text)).rows as T[];
  }

  async transaction(...texts: string[]): Promise<OpenTransaction> {
    const client = await this.#admin.connect();
    const run = async (text: string): Promise<void> => void (await client.query(text));
    const end = (text: string) => (): Promise<void> => run(text).finally(() => client.release());
    for (const text of ['begin', ...texts]) await run(text);
    return { run, commit: end('commit'), rollback: end('rollback') };
  }

  async close(): Promise<void> {
    await this.#admin.end();
    await this.proxy.close();
  }
}

class MysqlStore extends DecisionStore {
  readonly title: string;
  readonly url: string;
  readonly #admin: Pool;

  constructor(title: string, url: string, proxy: TcpProxy) {
    super(proxy);
    this.title = title;
    this.url = url;
    this.#admin = driver.createPool({ uri: url });
  }

  protected make(options: ProcessOptions, coordinator: TransactionCoordinator): Omit<Process, 'coordinator'> {
    const pool = driver.createPool({ uri: this.proxy.url(this.url) });
    const session = register(new MysqlSession(pool, { name: 'store', resolveTimeoutMs: 5_000 }), { coordinator });
    return {
      session,
      log: new MysqlDecisionLog(session, options),
      inUse: () => held(pool),
      endPool: once(() => pool.end()),
    };
  }

  async rows<T>(text: string): Promise<T[]> {
    const [rows] = await this.#admin.query<RowDataPacket[]>(text);
    return rows as T[];
  }

  async transaction(...texts: string[]): Promise<OpenTransaction> {
    const connection: PoolConnection = await this.#admin.getConnection();
    const run = async (text: string): Promise<void> => void (await connection.query(text));
    const end = (text: string) => (): Promise<void> => run(text).finally(() => connection.release());
    for (const text of ['start transaction', ...texts]) await run(text);
    return { run, commit: end('commit'), rollback: end('rollback') };
  }

  async close(): Promise<void> {
    await this.#admin.end();
    await this.proxy.close();
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}

/** What servers have in common. */
type Server = { readonly port: number; database(name?: string): Promise<string> };

export async function pgStore(server: Server): Promise<DecisionStore> {
  return new PgStore(await server.database('decisions'), await tcpProxy(server.port));
}

export async function mysqlStore(title: string, server: Server): Promise<DecisionStore> {
  return new MysqlStore(title, await server.database('decisions'), await tcpProxy(server.port));
}

/** A decision of an incarnation, by the number of its transaction. */
export function decisionOf(incarnation: string, sequence = 1): Decision {
  return { gid: `shop:store:${incarnation}:${sequence}`, incarnation, participants: ['bank', 'audit'] };
}
