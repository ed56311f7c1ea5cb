/** PostgreSQL: a session over a pool of `pg` (zope 132-156). */
import { ConfigurationError, TransactionStateError, describe } from '../../coordinator/errors.ts';
import { type Rule, aBoolean, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import { SqlSession } from '../sql/session.ts';
import { statementOf } from '../sql/statement.ts';
import type { PgConnection } from './connection.ts';
import type { PgPool, PgQueryConfig, PgResult, PgSubmittable } from './driver.ts';
import { PgServer } from './server.ts';

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
  /**
   * Whether statements with parameters that come again are prepared under a name of ours, so that the server parses and plans them
   * once for a connection; default true. Off by itself behind a transaction pooler such as PgBouncer.
   */
  namesStatements?: boolean | undefined;
}

type Callback<R> = (error: Error | undefined, result: R) => void;

const optionRules: Record<keyof PgSessionOptions, Rule> = {
  name: aString,
  acquireTimeoutMs: aDelay,
  endTimeoutMs: aDelay,
  resolveTimeoutMs: aDelay,
  namesStatements: aBoolean,
};

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_END_TIMEOUT_MS = 30_000;

/**
 * A PostgreSQL database in the transactions of this process. Made once; inside a transaction it holds one connection of the
 * pool, taken at the first statement, and commits if something was written.
 *
 * PostgreSQL 13 or later, `pg` 8.16 or later.
 */
export class PgSession extends SqlSession {
  /**
   * @param pool a pool of `pg`; it stays the application's, which ends it.
   * @throws ConfigurationError when `pool` is none of `pg`, or for unknown or impossible options.
   */
  constructor(pool: PgPool, options: PgSessionOptions = {}) {
    checkOptions('new PgSession()', options, optionRules);
    super(
      options.name ?? 'pg',
      (name) =>
        new PgServer(name, pool, {
          acquireTimeoutMs: options.acquireTimeoutMs ?? DEFAULT_TIMEOUT_MS,
          endTimeoutMs: options.endTimeoutMs ?? DEFAULT_END_TIMEOUT_MS,
          namesStatements: options.namesStatements ?? true,
          resolveTimeoutMs: options.resolveTimeoutMs ?? DEFAULT_TIMEOUT_MS,
        }),
    );
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
      return this.branch().perform((connection) => (connection as PgConnection).query(config, values));
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
    const { control } = statementOf(text);
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
      (connection) => (connection as PgConnection).submit(submittable),
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
  check(): Promise<void> {
    return (this.server as PgServer).check(this.twoPhase);
  }
}

/** Ends a cursor or stream that nobody reads any more. */
function stop(submittable: PgSubmittable): void {
  const { destroy, close } = submittable as { destroy?: () => void; close?: () => Promise<void> | void };
  if (typeof destroy === 'function') destroy.call(submittable);
  else if (typeof close === 'function') Promise.resolve(close.call(submittable)).catch(() => undefined);
}
