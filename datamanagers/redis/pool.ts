/** Connections that one transaction has to itself, because what it watches belongs to the connection. */
import { acquire } from '../sql/acquire.ts';
import { ConnectionLostError } from '../../coordinator/errors.ts';
import type { RedisConnection } from './connection.ts';

/** How a pool opens connections, and how many. */
export interface PoolSetup {
  readonly name: string;
  readonly open: () => Promise<RedisConnection>;
  /** Makes a connection that has watched forget it; rejects where that fails. */
  readonly clean: (connection: RedisConnection) => Promise<unknown>;
  readonly max: number;
  readonly acquireTimeoutMs: number;
}

interface Waiting {
  readonly resolve: (connection: RedisConnection) => void;
  readonly reject: (error: Error) => void;
}

export class ConnectionPool {
  readonly #setup: PoolSetup;
  readonly #idle: RedisConnection[] = [];
  readonly #waiting: Waiting[] = [];
  /** How many are open or being opened. */
  #size = 0;
  #closed = false;

  constructor(setup: PoolSetup) {
    this.#setup = setup;
  }

  /** @throws AcquireTimeoutError when all are taken for too long; what `cancelled` rejects with, when nobody waits any more. */
  take(cancelled: Promise<never> | undefined): Promise<RedisConnection> {
    const idle = this.#takeIdle();
    if (idle !== undefined) return Promise.resolve(idle);
    return acquire({
      connect: () => this.#whenFree(),
      use: (connection) => connection,
      discard: (late) => this.#giveBack(late),
      cancelled,
      timeoutMs: this.#setup.acquireTimeoutMs,
      resource: this.#setup.name,
      describePool: () =>
        `connections for transactions that watch: ${this.#size} of ${this.#setup.max}, waiting for one: ${this.#waiting.length}`,
    });
  }

  #takeIdle(): RedisConnection | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.lost === undefined) return idle;
      this.#size--;
    }
    return undefined;
  }

  #whenFree(): Promise<RedisConnection> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#open();
    });
  }

  /** Opens one for whoever waits longest, where there is room. */
  #open(): void {
    if (this.#size >= this.#setup.max || this.#waiting.length === 0) return;
    this.#size++;
    this.#setup.open().then(
      (connection) => this.#giveBack(connection),
      (error: Error) => {
        this.#size--;
        this.#waiting.shift()?.reject(error);
        this.#open();
      },
    );
  }

  /** Takes one back. One that still watches is made to forget it first, in the background. */
  giveBack(connection: RedisConnection, watches: boolean): void {
    if (!watches || connection.lost !== undefined) return this.#giveBack(connection);
    this.#setup.clean(connection).then(
      () => this.#giveBack(connection),
      (error: Error) => {
        connection.cut(error);
        this.#giveBack(connection);
      },
    );
    return undefined;
  }

  #giveBack(connection: RedisConnection): void {
    if (this.#closed) connection.cut(this.#closedError());
    if (connection.lost !== undefined) {
      this.#size--;
      return this.#open();
    }
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(connection);
    else next.resolve(connection);
    return undefined;
  }

  /** Cuts what is idle. */
  retire(reason: Error): void {
    this.#size -= this.#idle.length;
    for (const connection of this.#idle.splice(0)) connection.cut(reason);
  }

  /** Closes what is idle, and the others when they come back. */
  close(): void {
    this.#closed = true;
    const error = this.#closedError();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.retire(error);
  }

  #closedError(): ConnectionLostError {
    const { name } = this.#setup;
    return new ConnectionLostError(`the session '${name}' was closed`, { resource: name });
  }
}
