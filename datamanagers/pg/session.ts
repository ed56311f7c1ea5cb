/** PostgreSQL: a session over a pool of `pg` (zope 132-156). */
import { type Rule, aBoolean, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import { SqlSession } from '../sql/session.ts';
import type { PgPool, PgQueryConfig, PgResult, PgSubmittable } from './driver.ts';
import { type PgModule, driverModule } from './module.ts';
import { enlistingPool } from './pool.ts';
import { type Callback, type QueryTarget, runQuery, targetOn } from './query.ts';
import { PgServer } from './server.ts';

/** Options of a PostgreSQL session. */
export interface PgSessionOptions {
  /** Stable name of the database, part of the identity of prepared branches: 1 to 63 of `A-Z a-z 0-9 _ . -`; default `pg`. */
  name?: string | undefined;
  /**
   * How long to wait for a connection of the pool, or for the end of what has the transaction's connection to itself (a library's own
   * transaction, a cursor or stream), in milliseconds; default 10,000.
   */
  acquireTimeoutMs?: number | undefined;
  /**
   * How long the server may take to answer COMMIT, ROLLBACK, PREPARE TRANSACTION or COMMIT PREPARED before the connection is cut and
   * the outcome is looked for over another one, in milliseconds; default 30,000.
   */
  endTimeoutMs?: number | undefined;
  /**
   * How long to go on finding out how a transaction ended whose reply was lost, and finishing what was prepared, in milliseconds;
   * default 10,000.
   */
  resolveTimeoutMs?: number | undefined;
  /**
   * Whether statements with parameters that come again are prepared under a name of ours, so that the server parses and plans them
   * once for a connection; default true. Off by itself behind a transaction pooler such as PgBouncer.
   */
  namesStatements?: boolean | undefined;
  /**
   * Whether a commit is sent behind statements that were asked for and not awaited, in the same flight, which saves a round trip: all that was
   * asked for before the commit counts, and where a statement fails nothing is stored (SilentRollbackError). Default false: such a
   * commit is refused (ConcurrentUseError), as a forgotten `await` may mean that more was to come. Where the first write of a transaction
   * goes with its COMMIT and the reply to both is lost, the outcome can't be found out (CommitOutcomeUnknownError).
   */
  commitsBehindStatements?: boolean | undefined;
  /**
   * A pool of another server with the same data, such as a replica: transactions that are declared read-only (`readOnly: true`, or the
   * state `'readonly'` of the session) take their connection from it; all others, also those that turn out to have only read, from
   * the first pool. It stays the application's too.
   */
  readerPool?: PgPool | undefined;
}

const optionRules: Record<keyof PgSessionOptions, Rule> = {
  name: aString,
  acquireTimeoutMs: aDelay,
  endTimeoutMs: aDelay,
  resolveTimeoutMs: aDelay,
  namesStatements: aBoolean,
  commitsBehindStatements: aBoolean,
  readerPool: { requires: 'a pool of pg', accepts: () => true },
};

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_END_TIMEOUT_MS = 30_000;

/**
 * A PostgreSQL database in the transactions of this process. Made once; inside a transaction it holds one connection of the
 * pool, taken at the first statement, and commits if something was written.
 *
 * PostgreSQL 13 or later, `pg` 8.16 or later.
 */
export class PgSession<P extends PgPool = PgPool> extends SqlSession {
  readonly #pool: P;
  #enlisting: P | undefined = undefined;

  /**
   * @param pool a pool of `pg`; it stays the application's, which ends it.
   * @throws ConfigurationError when `pool` is none of `pg`, or for unknown or impossible options.
   */
  constructor(pool: P, options: PgSessionOptions = {}) {
    checkOptions('new PgSession()', options, optionRules);
    const serverOf =
      (of: PgPool) =>
      (name: string): PgServer =>
        new PgServer(name, of, {
          acquireTimeoutMs: options.acquireTimeoutMs ?? DEFAULT_TIMEOUT_MS,
          endTimeoutMs: options.endTimeoutMs ?? DEFAULT_END_TIMEOUT_MS,
          namesStatements: options.namesStatements ?? true,
          resolveTimeoutMs: options.resolveTimeoutMs ?? DEFAULT_TIMEOUT_MS,
        });
    const { readerPool } = options;
    const readerOf = readerPool === undefined ? undefined : serverOf(readerPool);
    super(options.name ?? 'pg', serverOf(pool), readerOf, options.commitsBehindStatements);
    this.#pool = pool;
  }

  /**
   * Runs a statement in the current transaction, behind those asked for before. Takes and returns what `Pool#query` of `pg` does.
   *
   * @throws NoTransaction without a transaction, TransactionClosed once its end has begun.
   * @throws TransactionStateError for a text that begins or ends a transaction, such as COMMIT: the coordinator does that.
   * @throws AcquireTimeoutError when the pool has no connection in time, ConnectionLostError when the connection is gone.
   * @throws The server's error, as `pg` makes it.
   */
  query<T extends PgSubmittable>(queryStream: T): T;
  /** A statement whose rows are arrays. */
  query<R extends any[] = any[], I extends any[] = any[]>(
    config: PgQueryConfig & { rowMode: 'array' },
    values?: I,
  ): Promise<PgResult<R>>;
  /** A statement whose rows are objects. */
  query<R = any, I extends any[] = any[]>(textOrConfig: string | PgQueryConfig, values?: I): Promise<PgResult<R>>;
  /** The same with a callback, which runs in the context of whoever passed it. */
  query<R extends any[] = any[]>(config: PgQueryConfig & { rowMode: 'array' }, callback: Callback<PgResult<R>>): void;
  /** The same with a callback. */
  query<R = any>(textOrConfig: string | PgQueryConfig, callback: Callback<PgResult<R>>): void;
  /** The same with values and a callback. */
  query<R = any, I extends any[] = any[]>(text: string, values: I, callback: Callback<PgResult<R>>): void;
  query(
    config: string | PgQueryConfig | PgSubmittable,
    values?: unknown[] | Callback<PgResult>,
    callback?: Callback<PgResult>,
  ): unknown {
    return runQuery(this.#target, config, values, callback);
  }

  readonly #target: QueryTarget = targetOn(this.name, () => this.branch());

  /** @internal The pool that it was made with. */
  get pgPool(): PgPool {
    return (this.server as PgServer).pool;
  }

  /**
   * The pool as a library is given it, to take part in the transactions of the code that calls the library; the same at each call.
   *
   * Inside of a transaction `connect()` hands out its connection, and a library's BEGIN, COMMIT and ROLLBACK become a savepoint of
   * it: on this connection only, where `run(fn, { propagation: 'nested' })` is one of all resources. While a library has one open, other
   * statements of the transaction wait for its end, for `acquireTimeoutMs` at most. Outside of any transaction it is the plain pool.
   * `end()` does nothing, as the pool is the application's to end.
   *
   * Its clients throw what {@link query} throws, ConcurrentUseError for a statement that waits too long, ConfigurationError
   * for a BEGIN that asks for another isolation or access than the transaction has, TransactionStateError for a COMMIT without
   * a BEGIN, PREPARE TRANSACTION, COMMIT AND CHAIN and the like.
   */
  pool(): P {
    return (this.#enlisting ??= enlistingPool(this, this.#pool));
  }

  /**
   * The module `pg` for a library that takes no pool: its `Pool` is {@link pool}, and the statements of its `Client` belong each to
   * the transaction of the code that asks for it, outside of any to a connection of the plain pool. Whatever the library wants
   * to connect to, it is this session's database; and a client refuses SET and RESET, which would stay on a connection that others get.
   *
   * @throws ConfigurationError when it isn't given the module `pg`.
   */
  driver<M extends PgModule>(pg: M): M {
    return driverModule(pg, this, this.#pool, this.pool());
  }

  /**
   * Checks that the server can do what the session is set up for; to be called when a service starts. With `twoPhase: true` it
   * is called by itself before the first transaction.
   *
   * @throws ConfigurationError when prepared transactions are disabled at the server.
   */
  async check(): Promise<void> {
    await (this.server as PgServer).check(this.twoPhase);
    await (this.reader as PgServer | undefined)?.check(false);
  }
}
