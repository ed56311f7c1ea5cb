/** MySQL and MariaDB: a session over a pool of `mysql2` (zope 132-156). */
import type { Readable } from 'node:stream';
import { ConfigurationError, TransactionStateError, describe } from '../../coordinator/errors.ts';
import { type Rule, aBoolean, aCount, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import { SqlSession } from '../sql/session.ts';
import type { MysqlConnection } from './connection.ts';
import {
  type MysqlCorePool,
  type MysqlField,
  type MysqlPool,
  type MysqlPreparedStatement,
  type MysqlQueryOptions,
  corePoolOf,
} from './driver.ts';
import type { MysqlAnswer, Send } from './link.ts';
import { driverModule } from './module.ts';
import { enlistingPool } from './pool.ts';
import { Rows } from './rows.ts';
import { sendable } from './sendable.ts';
import { MysqlServer } from './server.ts';
import type { MysqlModule } from './wishes.ts';
import type { MysqlStatement } from './statement.ts';

/** Options of a MySQL or MariaDB session. */
export interface MysqlSessionOptions {
  /** Stable name of the database, part of the identity of prepared branches: 1 to 63 of `A-Z a-z 0-9 _ . -`; default `mysql`. */
  name?: string | undefined;
  /** How long to wait for a connection of the pool, in milliseconds; default 10,000. */
  acquireTimeoutMs?: number | undefined;
  /**
   * How long the server may take to answer what begins or ends a transaction before the connection is cut, in milliseconds; default
   * 30,000.
   */
  endTimeoutMs?: number | undefined;
  /** How long to go on finishing what was prepared where the server can't be reached, in milliseconds; default 10,000. */
  resolveTimeoutMs?: number | undefined;
  /**
   * MariaDB lets nobody else end a branch while the connection that prepared it is open, and a process that is paused keeps it open. Who is
   * to end the branch closes that; where it may not, as another user, this is how long the server waits for such a connection, in seconds
   * (its `wait_timeout` from the PREPARE to the end); default 60.
   */
  preparedWaitSeconds?: number | undefined;
  /** Whether a transaction is tried again that waited for too long for a lock (error 1205); default true. */
  retriesLockTimeouts?: boolean | undefined;
  /**
   * A pool of another server with the same data, such as a replica: transactions that are declared read-only (`readOnly: true`, or the
   * state `'readonly'` of the session) take their connection from it; all others, also those that turn out to have only read, from
   * the first pool. It stays the application's too.
   */
  readerPool?: MysqlPool | undefined;
}

const optionRules: Record<keyof MysqlSessionOptions, Rule> = {
  name: aString,
  acquireTimeoutMs: aDelay,
  endTimeoutMs: aDelay,
  resolveTimeoutMs: aDelay,
  preparedWaitSeconds: aCount,
  retriesLockTimeouts: aBoolean,
  readerPool: { requires: 'a pool of mysql2', accepts: () => true },
};

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_END_TIMEOUT_MS = 30_000;
const DEFAULT_PREPARED_WAIT_SECONDS = 60;

/**
 * A MySQL or MariaDB database in the transactions of this process. Made once; inside a transaction it holds one connection of the
 * pool, taken at the first statement, and commits if something was written.
 *
 * Each transaction is an XA branch, which ends by one `XA COMMIT … ONE PHASE` where nothing else was changed; a plain transaction
 * where the session is registered with `twoPhase: false`, or is read-only.
 *
 * MariaDB 10.5 or later, MySQL 8 or later, `mysql2` 3.11 or later; InnoDB tables, as no other take part in transactions.
 */
export class MysqlSession<P extends MysqlPool = MysqlPool> extends SqlSession {
  readonly #pool: P;
  #enlisting: P | undefined = undefined;

  /**
   * @param pool a pool of `mysql2/promise` or of `mysql2`; it stays the application's, which ends it.
   * @throws ConfigurationError when `pool` is none of `mysql2`, or for unknown or impossible options.
   */
  constructor(pool: P, options: MysqlSessionOptions = {}) {
    checkOptions('new MysqlSession()', options, optionRules);
    const serverOf =
      (of: MysqlPool) =>
      (name: string): MysqlServer =>
        new MysqlServer(name, of, {
          acquireTimeoutMs: options.acquireTimeoutMs ?? DEFAULT_TIMEOUT_MS,
          endTimeoutMs: options.endTimeoutMs ?? DEFAULT_END_TIMEOUT_MS,
          resolveTimeoutMs: options.resolveTimeoutMs ?? DEFAULT_TIMEOUT_MS,
          preparedWaitSeconds: options.preparedWaitSeconds ?? DEFAULT_PREPARED_WAIT_SECONDS,
          retriesLockTimeouts: options.retriesLockTimeouts ?? true,
        });
    const { readerPool } = options;
    super(options.name ?? 'mysql', serverOf(pool), readerPool === undefined ? undefined : serverOf(readerPool));
    this.#pool = pool;
  }

  /**
   * Runs a statement in the current transaction, behind those asked for before. Takes and returns what `query` of a promise pool of
   * `mysql2` does: `[rows, fields]`.
   *
   * @throws NoTransaction without a transaction, TransactionClosed once its end has begun.
   * @throws TransactionStateError for a text that begins or ends a transaction, or that would commit implicitly, such as DDL.
   * @throws AcquireTimeoutError when the pool has no connection in time, ConnectionLostError when the connection is gone.
   * @throws The server's error, as `mysql2` makes it. Unless it is rolled back to a savepoint, the transaction can't be committed
   * after that: MySQL undoes the statement only, and would commit the rest.
   */
  query<T = any>(sql: string | MysqlQueryOptions, values?: any): Promise<[T, MysqlField[]]> {
    return this.#run<T>('query', sql, values, (given) => (core, callback) => core.query(given, values, callback));
  }

  /** The same as {@link query} with a statement that the server prepares, once for a connection; as `execute` of `mysql2`. */
  execute<T = any>(sql: string | MysqlQueryOptions, values?: any): Promise<[T, MysqlField[]]> {
    return this.#run<T>('execute', sql, values, (given) => (core, callback) => core.execute(given, values, callback));
  }

  /**
   * Runs a statement whose rows are read as a stream, `query(…).stream(…)` of `mysql2`. Other statements of the session wait until it
   * has been read or destroyed.
   *
   * @param options `highWaterMark`: how many rows are read ahead.
   * @throws as {@link query} does, of what is wrong before it is sent; the rest are errors of the stream.
   */
  queryStream(sql: string | MysqlQueryOptions, values?: any, options: { highWaterMark?: number } = {}): Readable {
    const statement = this.#checked('queryStream', sql, values);
    const rows = new Rows(options);
    const given = typeof sql === 'string' ? { sql, values } : { values, ...sql };
    const send: Send = (core) => core.query(given);
    this.branch()
      .perform(
        (connection) => (connection as MysqlConnection).stream(statement, send, () => rows),
        () => rows.destroy(),
      )
      .catch((error: Error) => rows.destroy(error));
    return rows;
  }

  /**
   * Prepares a statement for this transaction, as `prepare` of a connection of `mysql2`. {@link execute} prepares by itself; this is
   * for a statement that is to be closed.
   *
   * @throws as {@link query} does.
   */
  async prepare(sql: string): Promise<MysqlPreparedStatement> {
    const statement = this.#checked('prepare', sql, undefined);
    const branch = this.branch();
    await branch.perform((connection) => (connection as MysqlConnection).prepareStatement(sql));
    let isClosed = false;
    const execute = (connection: MysqlConnection, values: unknown): Promise<MysqlAnswer> => {
      if (isClosed) throw this.#closedStatement(sql);
      // The driver remembers by its text what is prepared on a connection, and for others that use the same.
      return connection.query(statement, (core, callback) => core.execute(sql, values, callback));
    };
    return {
      execute: <T>(values: unknown = []) =>
        branch.perform((connection) => execute(connection as MysqlConnection, values)) as Promise<[T, MysqlField[]]>,
      close: () =>
        branch.perform((connection) => {
          if (!isClosed) (connection as MysqlConnection).unprepare(sql);
          isClosed = true;
          return Promise.resolve();
        }),
    };
  }

  #closedStatement(sql: string): TransactionStateError {
    return new TransactionStateError(
      `a prepared statement must not be closed to be executed; one on '${this.name}' is closed (${sql}), so nothing was sent`,
      { resource: this.name, phase: 'work' },
    );
  }

  #run<T>(
    method: string,
    sql: string | MysqlQueryOptions,
    values: unknown,
    sending: (given: string | MysqlQueryOptions) => Send,
  ): Promise<[T, MysqlField[]]> {
    try {
      const statement = this.#checked(method, sql, values);
      // What was looked at is what is sent, whatever the caller does with its options while the statement waits for its turn.
      const send = sending(typeof sql === 'string' ? sql : { ...sql });
      const answer: Promise<MysqlAnswer> = this.branch().perform((connection) =>
        (connection as MysqlConnection).query(statement, send),
      );
      return answer as Promise<[T, MysqlField[]]>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #checked(method: string, sql: string | MysqlQueryOptions, values: unknown): MysqlStatement {
    const statement = sendable(this.name, method, sql);
    if (typeof values === 'function') {
      throw new ConfigurationError(
        `${method}() returns its result and calls nobody back: its second argument is values, not ${describe(values)}`,
        { resource: this.name },
      );
    }
    return statement;
  }

  /** @internal The pool that it was made with, of the callback interface. */
  get corePool(): MysqlCorePool {
    return (this.server as MysqlServer).pool;
  }

  /**
   * The pool as a library is given it, to take part in the transactions of the code that calls the library; the same at each call, and
   * of promises or of callbacks as the one that the session was made with.
   *
   * Inside of a transaction `getConnection()` hands out its connection, and a library's BEGIN, COMMIT and ROLLBACK become a savepoint of
   * it: on this connection only, where `run(fn, { propagation: 'nested' })` is one of all resources. While a library has one open, other
   * statements of the transaction wait for its end, for `acquireTimeoutMs` at most. Outside of any transaction it is the plain pool.
   * `end()` does nothing, as the pool is the application's to end.
   *
   * Its connections throw what {@link query} throws, ConcurrentUseError for a statement that waits too long, ConfigurationError for a
   * SET TRANSACTION or a START TRANSACTION that asks for another isolation or access than the transaction has, TransactionStateError for
   * a COMMIT without a BEGIN, XA, COMMIT AND CHAIN, `reset()`, `changeUser()` and the like.
   */
  pool(): P {
    return (this.#enlisting ??= enlistingPool(this, this.#pool));
  }

  /**
   * The module `mysql2` for a library that takes no pool: its `createPool` returns {@link pool}, with callbacks, and the statements of its
   * `createConnection` belong each to the transaction of the code that asks for it, outside of any to a connection of the plain pool.
   * Whatever the library wants to connect to, it is this session's database; how it wants its values and rows, each statement says. What no
   * statement can say must be so for the pool; and a connection refuses SET and USE, which would stay on one that others get.
   *
   * @throws ConfigurationError when it isn't given the module `mysql2`; by `createPool` and `createConnection`, where the pool is made with
   * other `flags` (`FOUND_ROWS`), `decimalNumbers`, `jsonStrings` or `queryFormat` than the library wants; by `createPoolCluster`.
   */
  driver<M extends MysqlModule>(mysql2: M): M {
    return driverModule(mysql2, this, corePoolOf(this.#pool)!, corePoolOf(this.pool())!);
  }

  /**
   * Checks that the server can do what the session is set up for; to be called when a service starts. With `twoPhase: true` it
   * is called by itself before the first transaction.
   *
   * @throws ConfigurationError when the server is too old, or doesn't let this user see what is prepared, or has no XA.
   */
  async check(): Promise<void> {
    await (this.server as MysqlServer).check(this.twoPhase);
    await (this.reader as MysqlServer | undefined)?.check(false);
  }
}
