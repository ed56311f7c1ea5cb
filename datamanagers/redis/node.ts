/** One Redis server: a connection that all transactions share, and some that one transaction has to itself. */
import { TransactionStateError } from '../../coordinator/errors.ts';
import { type ConnectionSetup, RedisConnection } from './connection.ts';
import { CONNECTION_OPTIONS, type NodeClient } from './driver.ts';
import { ConnectionPool } from './pool.ts';

/** How a session deals with each of its servers. */
export interface NodeSetup extends ConnectionSetup {
  readonly readTimeoutMs: number;
  readonly endTimeoutMs: number;
  readonly maxWatching: number;
}

export class RedisNode {
  readonly #setup: NodeSetup;
  readonly #duplicate: (options: object) => NodeClient;
  readonly watchers: ConnectionPool;
  #shared: RedisConnection | undefined = undefined;
  #opening: Promise<RedisConnection> | undefined = undefined;
  #closed = false;

  constructor(duplicate: (options: object) => NodeClient, setup: NodeSetup) {
    this.#duplicate = duplicate;
    this.#setup = setup;
    this.watchers = new ConnectionPool({
      name: setup.name,
      open: () => this.open(setup.acquireTimeoutMs),
      clean: (connection) => connection.send(setup.maker.plain('unwatch'), setup.endTimeoutMs),
      max: setup.maxWatching,
      acquireTimeoutMs: setup.acquireTimeoutMs,
    });
  }

  /** Opens a connection of its own. @throws as {@link RedisConnection.open} does. */
  open(timeoutMs: number): Promise<RedisConnection> {
    if (this.#closed) return Promise.reject(closedError(this.#setup.name));
    return RedisConnection.open(() => this.#duplicate(CONNECTION_OPTIONS), {
      ...this.#setup,
      acquireTimeoutMs: timeoutMs,
    });
  }

  /** The shared connection, where it is open: what is sent over it at once is in order with what was sent before. */
  get connection(): RedisConnection | undefined {
    return this.#shared?.lost === undefined ? this.#shared : undefined;
  }

  /** The shared connection; another one where it was lost. @throws as {@link RedisConnection.open} does. */
  shared(): Promise<RedisConnection> {
    const open = this.connection;
    if (open !== undefined) return Promise.resolve(open);
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<RedisConnection> {
    const connection = await this.open(this.#setup.acquireTimeoutMs);
    if (this.#closed) connection.cut(closedError(this.#setup.name));
    this.#shared = connection;
    return connection;
  }

  /** Another server is in charge: what is connected to this one is of no more use. */
  retire(reason: Error): void {
    // What others have under way over it will be answered all the same.
    this.connection?.retire(reason, this.#setup.endTimeoutMs);
    this.watchers.retire(reason);
  }

  /** Closes all connections, those of open transactions when they give them back. */
  close(): void {
    this.#closed = true;
    this.retire(closedError(this.#setup.name));
    this.watchers.close();
  }
}

/** The error of using a session that was closed. */
export function closedError(name: string): TransactionStateError {
  return new TransactionStateError(
    `a session is used until it is closed; '${name}' was closed, and sends nothing more`,
    {
      resource: name,
    },
  );
}
