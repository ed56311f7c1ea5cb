/** A few connections beside the application's pool, which may be exhausted by those that wait for a decision. */
import { outside } from '../../coordinator/context.ts';
import type { MysqlCore, MysqlCorePool, MysqlError } from './driver.ts';
import { errorNumber } from './driver.ts';
import type { Header } from './link.ts';
import { openConnection } from './out-of-band.ts';

/** At most so many decisions are written at once. */
const CONNECTIONS = 4;
/** A connection that nobody needs is closed after this time, in milliseconds. */
const IDLE_MS = 30_000;
/** The server closes one that says nothing for so many seconds: longer than it is kept idle here. */
const PAUSED_SECONDS = 60;

/** What a statement returns: rows, or what the server says of one without. */
export interface PrivateAnswer<R> {
  readonly rows: R[];
  readonly affectedRows: number;
}

/** Sends a statement over a connection that one has to oneself. */
export type PrivateAsk = <R>(text: string) => Promise<PrivateAnswer<R>>;

interface Connection {
  readonly core: MysqlCore;
  /** How often the pool had been ended when it was opened. */
  readonly life: number;
  isSound: boolean;
  expiry: NodeJS.Timeout | undefined;
}

export class PrivatePool {
  readonly #source: MysqlCorePool;
  readonly #timeoutMs: number;
  /** How many are open, being opened, or promised to somebody who waits. */
  #open = 0;
  /** How often it was ended. */
  #life = 0;
  readonly #idle: Connection[] = [];
  /** Gets a connection, or leave to open one. */
  readonly #waiting: ((connection: Connection | undefined) => void)[] = [];

  /** `timeoutMs` bounds the wait for a connection, and that for each answer. */
  constructor(source: MysqlCorePool, timeoutMs: number) {
    this.#source = source;
    this.#timeoutMs = timeoutMs;
  }

  /** Calls `use` with a connection of its own; it is closed where something of it has failed otherwise than by the server's word. */
  async with<T>(use: (ask: PrivateAsk) => Promise<T>): Promise<T> {
    const connection = await this.#take();
    try {
      return await use(async (text) => {
        try {
          return await this.#ask(connection.core, text);
        } catch (error) {
          if (errorNumber(error) === undefined || (error as MysqlError).fatal === true) connection.isSound = false;
          throw error;
        }
      });
    } finally {
      this.#giveBack(connection);
    }
  }

  query<R>(text: string): Promise<PrivateAnswer<R>> {
    return this.with((ask) => ask<R>(text));
  }

  /** As {@link with}, in one transaction, which is rolled back where `use` rejects. */
  transaction<T>(use: (ask: PrivateAsk) => Promise<T>): Promise<T> {
    return this.with((ask) => inTransaction(ask, use));
  }

  /** As {@link transaction}, waiting for locks no longer than `timeoutMs`. */
  transactionWithin<T>(timeoutMs: number, use: (ask: PrivateAsk) => Promise<T>): Promise<T> {
    return this.with(async (ask) => {
      await ask(lockWait(timeoutMs));
      try {
        return await inTransaction(ask, use);
      } finally {
        await ask(lockWait(this.#timeoutMs)).catch(() => undefined);
      }
    });
  }

  async #take(): Promise<Connection> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return this.#wake(idle);
    if (this.#open < CONNECTIONS) this.#open++;
    else {
      const given = await this.#turn();
      if (given !== undefined) return given;
    }
    try {
      return await this.#connect();
    } catch (error) {
      this.#closed();
      throw error;
    }
  }

  async #connect(): Promise<Connection> {
    const life = this.#life;
    const core = await openConnection(this.#source, this.#timeoutMs);
    const connection: Connection = { core, life, isSound: true, expiry: undefined };
    // One that the server has closed is no use to anybody.
    const gone = (): void => {
      connection.isSound = false;
      this.#drop(connection);
    };
    core.on('error', gone);
    core.on('end', gone);
    try {
      // Whatever the server's defaults: each statement is a transaction, and the time is everybody's. And where this process is paused in the
      // middle of a transaction, what that has locked keeps nobody for hours.
      await this.#ask(
        core,
        `${lockWait(this.#timeoutMs)}, autocommit = 1, time_zone = '+00:00', wait_timeout = ${PAUSED_SECONDS}`,
      );
    } catch (error) {
      destroy(core);
      throw error;
    }
    return connection;
  }

  #wake(connection: Connection): Connection {
    clearTimeout(connection.expiry);
    connection.core.stream.ref?.();
    return connection;
  }

  /** Waits for a connection that somebody gives back, or for leave to open one. */
  #turn(): Promise<Connection | undefined> {
    return new Promise((resolve, reject) => {
      const go = (connection: Connection | undefined): void => {
        clearTimeout(timer);
        resolve(connection);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(new Error(`no connection to the decision store was free within ${this.#timeoutMs} ms`));
      }, this.#timeoutMs);
      this.#waiting.push(go);
    });
  }

  #giveBack(connection: Connection): void {
    if (!connection.isSound || connection.life !== this.#life) {
      this.#close(connection);
      return;
    }
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next(connection);
      return;
    }
    connection.expiry = outside(() => setTimeout(() => this.#drop(connection), IDLE_MS));
    // A process that has nothing else to do may end.
    connection.expiry.unref();
    connection.core.stream.unref?.();
    this.#idle.push(connection);
  }

  /** Closes one that is idle. */
  #drop(connection: Connection): void {
    const index = this.#idle.indexOf(connection);
    if (index < 0) return;
    this.#idle.splice(index, 1);
    this.#close(connection);
  }

  #close(connection: Connection): void {
    clearTimeout(connection.expiry);
    destroy(connection.core);
    this.#closed();
  }

  #closed(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#open--;
    else next(undefined);
  }

  #ask<R>(core: MysqlCore, text: string): Promise<PrivateAnswer<R>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`the decision store did not answer within ${this.#timeoutMs} ms`));
        core.stream.destroy();
      }, this.#timeoutMs);
      core.query(text, undefined, (error: MysqlError | null | undefined, rows) => {
        clearTimeout(timer);
        if (error !== null && error !== undefined) return reject(error);
        return resolve(
          Array.isArray(rows)
            ? { rows: rows as R[], affectedRows: 0 }
            : { rows: [], affectedRows: (rows as Header).affectedRows },
        );
      });
    });
  }

  /** Closes what is idle now, and what is in use when it is given back. */
  end(): void {
    this.#life++;
    while (this.#idle.length > 0) this.#drop(this.#idle[0]!);
  }
}

async function inTransaction<T>(ask: PrivateAsk, use: (ask: PrivateAsk) => Promise<T>): Promise<T> {
  await ask('start transaction');
  try {
    const result = await use(ask);
    await ask('commit');
    return result;
  } catch (error) {
    await ask('rollback').catch(() => undefined);
    throw error;
  }
}

/** Says for how long a statement may wait for a lock, in whole seconds. */
function lockWait(timeoutMs: number): string {
  return `set session innodb_lock_wait_timeout = ${Math.max(1, Math.round(timeoutMs / 1000))}`;
}

function destroy(core: MysqlCore): void {
  core.destroy();
  core.stream.destroy();
}
