/** PostgreSQL: a session over a pool of `pg` (zope 132-156). */
import { outside } from '../../coordinator/context.ts';
import {
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  ConfigurationError,
  ConnectionLostError,
  TransactionStateError,
  describe,
} from '../../coordinator/errors.ts';
import { type Rule, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { IsolationLevel, TransactionOptions } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { acquire } from '../sql/acquire.ts';
import { SqlSession } from '../sql/session.ts';
import { transactionControl } from '../sql/statement.ts';
import { PgConnection } from './connection.ts';
import {
  type PgClient,
  type PgPool,
  type PgQueryConfig,
  type PgResult,
  type PgSubmittable,
  sqlState,
} from './driver.ts';
import { callWithClient } from './out-of-band.ts';
import { isQuestionGone } from './question.ts';
import { endPrepared, endingOf } from './resolve.ts';

/** Options of a PostgreSQL session. */
export interface PgSessionOptions {
  /** Stable name of the database, part of the identity of prepared branches: 1 to 63 of `A-Z a-z 0-9 _ . -`; default `pg`. */
  name?: string | undefined;
  /** How long to wait for a connection of the pool, in milliseconds; default 10,000. */
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
}

type Callback<R> = (error: Error | undefined, result: R) => void;

const optionRules: Record<keyof PgSessionOptions, Rule> = {
  name: aString,
  acquireTimeoutMs: aDelay,
  endTimeoutMs: aDelay,
  resolveTimeoutMs: aDelay,
};

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_END_TIMEOUT_MS = 30_000;
const DISABLED = '55000';

/**
 * Errors after which the whole transaction may be tried again: class 40 (serialization failure, deadlock), a lock that could not be
 * had in time, and a server that went away, taking the uncommitted transaction with it.
 */
const RETRYABLE = new Set(['55P03', '57P01', '57P02', '57P03', '25P03', '25P04']);

/**
 * A PostgreSQL database in the transactions of this process. Made once; inside a transaction it holds one connection of the
 * pool, taken at the first statement, and commits if something was written.
 *
 * PostgreSQL 13 or later, `pg` 8.16 or later.
 */
export class PgSession extends SqlSession<PgConnection> {
  readonly #pool: PgPool;
  readonly #acquireTimeoutMs: number;
  readonly #endTimeoutMs: number;
  readonly #resolveTimeoutMs: number;
  #checked: Promise<void> | undefined = undefined;

  /**
   * @param pool a pool of `pg`; it stays the application's, which ends it.
   * @throws ConfigurationError when `pool` is none of `pg`, or for unknown or impossible options.
   */
  constructor(pool: PgPool, options: PgSessionOptions = {}) {
    checkOptions('new PgSession()', options, optionRules);
    super(options.name ?? 'pg');
    checkPool(pool);
    this.#pool = pool;
    this.#acquireTimeoutMs = options.acquireTimeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#endTimeoutMs = options.endTimeoutMs ?? DEFAULT_END_TIMEOUT_MS;
    this.#resolveTimeoutMs = options.resolveTimeoutMs ?? DEFAULT_TIMEOUT_MS;
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
  query<R extends any[] = any[], I extends any[] = any[]>(config: PgQueryConfig & { rowMode: 'array' }, values?: I): Promise<PgResult<R>>;
  query<R = any, I extends any[] = any[]>(textOrConfig: string | PgQueryConfig, values?: I): Promise<PgResult<R>>;
  query<R extends any[] = any[]>(config: PgQueryConfig & { rowMode: 'array' }, callback: Callback<PgResult<R>>): void;
  query<R = any>(textOrConfig: string | PgQueryConfig, callback: Callback<PgResult<R>>): void;
  query<R = any, I extends any[] = any[]>(text: string, values: I, callback: Callback<PgResult<R>>): void;
  query(
    config: string | PgQueryConfig | PgSubmittable,
    values?: unknown[] | Callback<PgResult>,
    callback?: Callback<PgResult>,
  ): unknown {
    if (typeof config === 'object' && config !== null && 'submit' in config && typeof config.submit === 'function') {
      return this.#submit(config);
    }
    const done = typeof values === 'function' ? values : callback;
    const bound = typeof values === 'function' ? undefined : values;
    const result = this.#query(config as string | PgQueryConfig, bound);
    if (done === undefined) return result;
    // By a promise's reaction the callback runs in the context of whoever passed it, not in that of the socket.
    result.then(
      (value) => done(undefined, value),
      (error: Error) => done(error, undefined as never),
    );
    return undefined;
  }

  #query(config: string | PgQueryConfig, values: unknown[] | undefined): Promise<PgResult> {
    try {
      const text = typeof config === 'string' ? config : config?.text;
      this.#refuse(config, text);
      return this.branch().perform((connection) => connection.query(config, values));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #refuse(config: unknown, text: unknown): void {
    if (typeof text !== 'string') {
      // A named statement that was prepared before may go without its text.
      if (typeof config === 'object' && config !== null && typeof (config as PgQueryConfig).name === 'string') return;
      throw new ConfigurationError(
        `query() takes a text, a query configuration with a text, or a cursor or stream, not ${describe(config)}`,
        { resource: this.name },
      );
    }
    const control = transactionControl(text);
    if (control !== undefined) {
      throw new TransactionStateError(
        `transactions are begun and ended by their coordinator, with commit(), abort() and savepoint(); the statement ${control} was not sent to '${this.name}'`,
        { resource: this.name, phase: 'work' },
      );
    }
  }

  /** A cursor or stream: sent when it is its turn, and through when it has been read or closed. */
  #submit<T extends PgSubmittable>(submittable: T): T {
    const through = this.branch().perform(
      (connection) => connection.submit(submittable),
      () => stop(submittable),
    );
    through.catch((error: Error) => {
      // It never reached the connection, which would have told it.
      const told = submittable as { handleError?: (error: Error) => void; destroy?: (error: Error) => void };
      if (told.destroy !== undefined) told.destroy(error);
      else told.handleError?.(error);
    });
    return submittable;
  }

  /**
   * Checks that the server can do what the session is set up for; to be called when a service starts. With `twoPhase: true` it
   * is called by itself before the first transaction.
   *
   * @throws ConfigurationError when prepared transactions are disabled at the server.
   */
  async check(): Promise<void> {
    const { rows } = await callWithClient(
      this.#pool,
      this.#acquireTimeoutMs,
      (client) =>
        client.query("select current_setting('max_prepared_transactions')::int as prepared, current_setting('server_version_num')::int as version") as Promise<
          PgResult<{ prepared: number; version: number }>
        >,
    );
    const { prepared, version } = rows[0]!;
    if (version < 130_000) {
      throw new ConfigurationError(`PostgreSQL must be of version 13 or later; that of '${this.name}' is ${version}`, {
        resource: this.name,
      });
    }
    if (prepared === 0 && this.twoPhase !== false) throw this.#preparedDisabled();
  }

  #preparedDisabled(cause?: Error): ConfigurationError {
    return new ConfigurationError(
      `max_prepared_transactions must be above 0 for a transaction that changes several databases; at '${this.name}' it is 0, PostgreSQL's default: ` +
        `set max_prepared_transactions in postgresql.conf to at least max_connections and restart the server, or register the session with { twoPhase: false }`,
      { resource: this.name, phase: 'tpcVote', ...(cause === undefined ? {} : { cause }) },
    );
  }

  protected override async connect(cancelled: () => Promise<never>): Promise<PgConnection> {
    if (this.twoPhase === true) await this.#checkOnce();
    const pool = this.#pool;
    // Outside of the context: a connection opened in it would keep it for life.
    const open = (): Promise<PgClient> => outside(() => pool.connect()) as Promise<PgClient>;
    const isIdle = pool.idleCount !== undefined && pool.idleCount > 0 && pool.waitingCount === 0;
    const client = isIdle
      ? await open()
      : await acquire({
          connect: open,
          discard: (late) => late.release(),
          cancelled: cancelled(),
          timeoutMs: this.#acquireTimeoutMs,
          resource: this.name,
          describePool: () =>
            `the pool has ${pool.totalCount ?? '?'} connections, ${pool.idleCount ?? '?'} idle, ${pool.waitingCount ?? '?'} waiting`,
        }).catch((error: Error) => {
          throw this.#explainConnect(error);
        });
    return new PgConnection(this.name, pool, client, this.#endTimeoutMs);
  }

  #checkOnce(): Promise<void> {
    this.#checked ??= this.check().catch((error: unknown) => {
      // Asked again next time: the server may have been set up, or be back, by then.
      this.#checked = undefined;
      throw error;
    });
    return this.#checked;
  }

  #explainConnect(error: Error): Error {
    if (error.message !== 'timeout exceeded when trying to connect') return error;
    return new AcquireTimeoutError(
      `a connection must be free within the pool's connectionTimeoutMillis; '${this.name}' had none in time: others hold them all, or this transaction waits for one that its own outer transaction holds`,
      { cause: error, resource: this.name, phase: 'work' },
    );
  }

  /** @internal */
  override beginText(options: TransactionOptions, readOnly: boolean): string {
    return beginText(options.isolation, readOnly, options.deferrable === true);
  }

  /** @internal */
  override shouldRetry(error: Error): boolean {
    if (error instanceof ConnectionLostError || isQuestionGone(error)) return true;
    const state = sqlState(error);
    return state !== undefined && (state.startsWith('40') || RETRYABLE.has(state));
  }

  /** @internal */
  override async resolveCommit(connection: PgConnection, txn: Transaction, error: Error): Promise<void> {
    const { xid } = connection;
    const ending = xid === undefined ? 'unknown' : await endingOf(this.#question(connection), xid);
    if (ending === 'committed') return;
    const details = { cause: error, resource: this.name, xid: txn.id, phase: 'tpcVote' } as const;
    if (ending === 'aborted') {
      throw new ConnectionLostError(
        `a COMMIT must be answered; the connection to '${this.name}' was lost before (${error.message}), and the server has rolled the transaction back`,
        details,
      );
    }
    throw new CommitOutcomeUnknownError(
      `a COMMIT must be answered; the reply of '${this.name}' was lost (${error.message}) and ` +
        (xid === undefined
          ? 'the transaction has no id to ask for'
          : `the server could not be asked within ${this.#resolveTimeoutMs} ms: ask it with select pg_xact_status('${xid}')`) +
        '; whether it has committed is not known, so it must not be repeated blindly',
      details,
    );
  }

  /** @internal */
  override async finishPrepared(connection: PgConnection, verb: 'commit' | 'rollback', gid: string): Promise<void> {
    if (connection.broken === undefined) {
      try {
        return await connection.endPrepared(verb, gid);
      } catch {
        // Over another connection, then: which also finds out whether this was done.
      }
    }
    await endPrepared(this.#question(connection), verb, gid, connection.xid);
  }

  #question(connection: PgConnection | undefined): { pool: PgPool; pid: number | null; timeoutMs: number } {
    return { pool: this.#pool, pid: connection?.processId ?? null, timeoutMs: this.#resolveTimeoutMs };
  }

  /** @internal */
  override explainPrepare(error: Error): Error {
    return sqlState(error) === DISABLED ? this.#preparedDisabled(error) : error;
  }

  /** The branches of this session that are prepared in its database now. */
  override async listPrepared(): Promise<Xid[]> {
    const { rows } = await callWithClient(
      this.#pool,
      this.#resolveTimeoutMs,
      (client) =>
        client.query('select gid from pg_catalog.pg_prepared_xacts where database = current_database()') as Promise<
          PgResult<{ gid: string }>
        >,
    );
    const suffix = `:${this.name}`;
    return rows
      .filter(({ gid }) => gid.endsWith(suffix) && gid.split(':').length === 5)
      .map(({ gid }) => ({ gid: gid.slice(0, -suffix.length), branch: this.name }));
  }

  /** Commits a prepared branch of this session. @throws HeuristicError when it was rolled back by hand. */
  override async commitPrepared(xid: Xid): Promise<void> {
    await endPrepared(this.#question(undefined), 'commit', this.gidOf(xid.gid), undefined);
  }

  /** Rolls a prepared branch of this session back. */
  override async rollbackPrepared(xid: Xid): Promise<void> {
    await endPrepared(this.#question(undefined), 'rollback', this.gidOf(xid.gid), undefined);
  }
}

/** Ends a cursor or stream that nobody reads any more. */
function stop(submittable: PgSubmittable): void {
  const { destroy, close } = submittable as { destroy?: () => void; close?: () => Promise<void> | void };
  if (typeof destroy === 'function') destroy.call(submittable);
  else if (typeof close === 'function') Promise.resolve(close.call(submittable)).catch(() => undefined);
}

/** The statement that begins a transaction with these options. */
function beginText(isolation: IsolationLevel | undefined, readOnly: boolean, deferrable: boolean): string {
  let text = 'begin';
  if (isolation !== undefined) text += ` isolation level ${isolation}`;
  if (readOnly) text += ' read only';
  if (deferrable) text += ' deferrable';
  return text;
}

/** @throws ConfigurationError unless it is a pool of `pg`'s JavaScript client. */
function checkPool(pool: unknown): asserts pool is PgPool {
  const candidate = pool as { connect?: unknown; options?: unknown; Client?: { Query?: unknown } } | null | undefined;
  const isPool =
    typeof candidate === 'object' &&
    candidate !== null &&
    typeof candidate.connect === 'function' &&
    typeof candidate.options === 'object';
  if (!isPool) {
    throw new ConfigurationError(`a PostgreSQL session needs a pool of pg, new pg.Pool(…), not ${describe(pool)}`);
  }
  const query = candidate.Client?.Query as { prototype?: Record<string, unknown> } | undefined;
  if (typeof query?.prototype?.['prepare'] !== 'function' || typeof query.prototype['_getRows'] !== 'function') {
    throw new ConfigurationError(
      "a PostgreSQL session needs a pool whose clients are those of pg 8, not of pg-native or another driver: its statements are sent through pg's own query class",
    );
  }
}
