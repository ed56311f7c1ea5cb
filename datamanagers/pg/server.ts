/** A PostgreSQL server, as the sessions of its databases use it: by a pool of `pg`, and past it where need be. */
import { outside } from '../../coordinator/context.ts';
import {
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  ConfigurationError,
  ConnectionLostError,
  HeuristicError,
  TransactionError,
  describe,
} from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { PreparedReport, ResourceWarning } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { acquire } from '../sql/acquire.ts';
import type { SqlServer } from '../sql/server.ts';
import { checkOut, discard } from './check-out.ts';
import { type ConnectionOptions, PgConnection } from './connection.ts';
import { type PgClient, type PgPool, type PgResult, sqlState } from './driver.ts';
import { gidOf, xidOf } from './gid.ts';
import { Lingering } from './lingering.ts';
import { callWithClient } from './out-of-band.ts';
import { isNameGone } from './names.ts';
import { PgRehearsal } from './rehearsal.ts';
import { isQuestionGone } from './question.ts';
import { endBackend, endPrepared, endingOf } from './resolve.ts';
import { WARNINGS, type WarningsRow, warningsOf } from './warnings.ts';

const DISABLED = '55000';

/**
 * Errors after which the whole transaction may be tried again: class 40 (serialization failure, deadlock), a lock that could not be
 * had in time, and a server that went away, taking the uncommitted transaction with it.
 */
const RETRYABLE = new Set(['55P03', '57P01', '57P02', '57P03', '25P03', '25P04']);

/** How a session deals with its server. */
export interface PgServerOptions extends Omit<ConnectionOptions, 'lingering'> {
  readonly acquireTimeoutMs: number;
  readonly resolveTimeoutMs: number;
}

export class PgServer implements SqlServer<PgConnection> {
  readonly #name: string;
  readonly #pool: PgPool;
  readonly #options: PgServerOptions;
  readonly #lingering: Lingering<PgConnection>;
  readonly #connectionOptions: ConnectionOptions;
  #checked: Promise<void> | undefined = undefined;

  readonly acquireTimeoutMs: number;

  constructor(name: string, pool: PgPool, options: PgServerOptions) {
    checkPool(pool);
    this.acquireTimeoutMs = options.acquireTimeoutMs;
    this.#name = name;
    this.#pool = pool;
    this.#options = options;
    this.#lingering = new Lingering(pool);
    this.#connectionOptions = { ...options, lingering: this.#lingering };
  }

  /** The pool of the application. */
  get pool(): PgPool {
    return this.#pool;
  }

  /** @throws ConfigurationError when the server can't do what is needed. */
  async check(twoPhase: 'auto' | boolean): Promise<void> {
    const { rows } = await callWithClient(
      this.#pool,
      this.#options.acquireTimeoutMs,
      (client) =>
        client.query(
          "select current_setting('max_prepared_transactions')::int as prepared, current_setting('server_version_num')::int as version",
        ) as Promise<PgResult<{ prepared: number; version: number }>>,
    );
    const { prepared, version } = rows[0]!;
    if (version < 130_000) {
      throw new ConfigurationError(`PostgreSQL must be of version 13 or later; that of '${this.#name}' is ${version}`, {
        resource: this.#name,
      });
    }
    if (prepared === 0 && twoPhase !== false) throw this.#preparedDisabled();
  }

  #preparedDisabled(cause?: Error): ConfigurationError {
    return new ConfigurationError(
      `max_prepared_transactions must be above 0 for a transaction that changes several databases; at '${this.#name}' it is 0, PostgreSQL's default: ` +
        `set max_prepared_transactions in postgresql.conf to at least max_connections and restart the server, or register the session with { twoPhase: false }`,
      { resource: this.#name, phase: 'tpcVote', ...(cause === undefined ? {} : { cause }) },
    );
  }

  connect(twoPhase: 'auto' | boolean, cancelled: () => Promise<never>): Promise<PgConnection> {
    return twoPhase === true ? this.#checkOnce().then(() => this.#take(cancelled)) : this.#take(cancelled);
  }

  #take(cancelled: () => Promise<never>): Promise<PgConnection> {
    const lingering = this.#lingering.take();
    if (lingering !== undefined) return Promise.resolve(lingering);
    const pool = this.#pool;
    const use = (client: PgClient): PgConnection => new PgConnection(this.#name, pool, client, this.#connectionOptions);
    // Outside of the context: a connection opened in it would keep it for life.
    if (pool.idleCount !== undefined && pool.idleCount > 0 && pool.waitingCount === 0) {
      return outside(() => checkOut(pool, use));
    }
    return acquire({
      connect: () => outside(() => checkOut(pool)),
      use,
      explain: (error) => this.#explainConnect(error),
      discard,
      cancelled: cancelled(),
      timeoutMs: this.#options.acquireTimeoutMs,
      resource: this.#name,
      describePool: () =>
        `connections in its pool: ${pool.totalCount ?? '?'}, idle: ${pool.idleCount ?? '?'}, waiting for one: ${pool.waitingCount ?? '?'}`,
    });
  }

  #checkOnce(): Promise<void> {
    this.#checked ??= this.check(true).catch((error: unknown) => {
      // Asked again next time: the server may have been set up, or be back, by then.
      this.#checked = undefined;
      throw error;
    });
    return this.#checked;
  }

  #explainConnect(error: Error): Error {
    if (error.message !== 'timeout exceeded when trying to connect') return error;
    return new AcquireTimeoutError(
      `a connection must be free within the pool's connectionTimeoutMillis; '${this.#name}' had none in time: others hold them all, or this transaction waits for one that its own outer transaction holds`,
      { cause: error, resource: this.#name, phase: 'work' },
    );
  }

  shouldRetry(error: Error): boolean {
    if (error instanceof ConnectionLostError || isQuestionGone(error) || isNameGone(error)) return true;
    const state = sqlState(error);
    return state !== undefined && (state.startsWith('40') || RETRYABLE.has(state));
  }

  async resolveCommit(connection: PgConnection, txn: Transaction, error: Error): Promise<void> {
    const { xid, life } = connection;
    const ending = xid === undefined ? 'unknown' : await endingOf(this.#question(connection), xid, life);
    if (ending === 'committed') return;
    const details = { cause: error, resource: this.#name, xid: txn.id, phase: 'tpcVote' } as const;
    if (ending === 'aborted') {
      throw new ConnectionLostError(
        `a COMMIT must be answered; the connection to '${this.#name}' was lost before (${error.message}), and the server has rolled the transaction back`,
        details,
      );
    }
    throw new CommitOutcomeUnknownError(
      `a COMMIT must be answered; the reply of '${this.#name}' was lost (${error.message}) and ` +
        (xid === undefined
          ? 'the transaction has no id to ask for'
          : `the server could not be asked within ${this.#options.resolveTimeoutMs} ms, or has crashed and may have given the id ${xid} again: select pg_xact_status('${xid}') says how that ended`) +
        '; whether it has committed is not known, so it must not be repeated blindly',
      details,
    );
  }

  async endPrepared(verb: 'commit' | 'rollback', xid: Xid, connection?: PgConnection): Promise<void> {
    if (connection !== undefined && connection.broken === undefined) {
      try {
        return await connection.endPrepared(verb, xid);
      } catch {
        // Over another connection, then: which also finds out whether this was done.
      }
    }
    try {
      const wasPrepared = connection?.isUncertain === false;
      await endPrepared(this.#question(connection), verb, gidOf(xid), connection?.xid, wasPrepared);
    } catch (error) {
      if (error instanceof HeuristicError) throw error;
      const gid = gidOf(xid);
      throw new TransactionError(
        `what is prepared must be ended; ${gid} at '${this.#name}' could not be within ${this.#options.resolveTimeoutMs} ms (${(error as Error).message}): ` +
          `it keeps its locks until it is, by hand with ${verb.toUpperCase()} PREPARED '${gid}'`,
        { cause: error, resource: this.#name, xid: xid.gid },
      );
    }
  }

  #question(connection: PgConnection | undefined): { pool: PgPool; pid: number | null; timeoutMs: number } {
    return { pool: this.#pool, pid: connection?.processId ?? null, timeoutMs: this.#options.resolveTimeoutMs };
  }

  async abandon(connection: PgConnection): Promise<void> {
    if (connection.xid !== undefined) await endBackend(this.#question(connection), connection.xid);
  }

  rehearsal(connection: PgConnection): PgRehearsal {
    return new PgRehearsal(connection);
  }

  explainPrepare(error: Error): Error {
    return sqlState(error) === DISABLED ? this.#preparedDisabled(error) : error;
  }

  async describePrepared(): Promise<PreparedReport> {
    const { rows } = await callWithClient(
      this.#pool,
      this.#options.resolveTimeoutMs,
      (client) =>
        client.query(
          `select gid, database = current_database() as is_here, (extract(epoch from clock_timestamp() - prepared) * 1000)::float8 as age_ms,
             most
           from (select current_setting('max_prepared_transactions')::int as most) as server left join pg_catalog.pg_prepared_xacts on true`,
        ) as Promise<PgResult<{ gid: string | null; is_here: boolean; age_ms: number; most: number }>>,
    );
    const prepared = rows.filter((row): row is typeof row & { gid: string } => row.gid !== null);
    const branches = prepared.flatMap(({ gid, is_here: isHere, age_ms: ageMs }) => {
      const xid = isHere ? xidOf(gid) : undefined;
      return xid === undefined ? [] : [{ xid, ageMs: Math.max(ageMs, 0) }];
    });
    return { branches, used: prepared.length, limit: rows[0]!.most };
  }

  async warnings(prefix: string, name: string): Promise<ResourceWarning[]> {
    const { rows } = await callWithClient(
      this.#pool,
      this.#options.resolveTimeoutMs,
      (client) => client.query(WARNINGS, [prefix, `:${name}`]) as Promise<PgResult<WarningsRow>>,
    );
    return warningsOf(rows[0]!, this.#name);
  }

  async listPrepared(): Promise<Xid[]> {
    const { rows } = await callWithClient(
      this.#pool,
      this.#options.resolveTimeoutMs,
      (client) =>
        client.query('select gid from pg_catalog.pg_prepared_xacts where database = current_database()') as Promise<
          PgResult<{ gid: string }>
        >,
    );
    return rows.map(({ gid }) => xidOf(gid)).filter((xid) => xid !== undefined);
  }
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
