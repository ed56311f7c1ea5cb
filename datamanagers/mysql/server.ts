/** A MySQL or MariaDB server, as the sessions of its databases use it: by a pool of `mysql2`, and past it where need be. */
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
import type { ResourceWarning } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { acquire } from '../sql/acquire.ts';
import type { Rehearsal } from '../sql/sandbox.ts';
import type { SqlServer } from '../sql/server.ts';
import { checkServer, explainRecover } from './check.ts';
import { type ConnectionOptions, MysqlConnection } from './connection.ts';
import { type MysqlCore, type MysqlCorePool, type MysqlError, corePoolOf, errorNumber } from './driver.ts';
import { type Ask, callWithConnection, learnClass } from './out-of-band.ts';
import { mysqlRehearsal } from './rehearsal.ts';
import { type Question, endOwner, endPrepared, listPrepared, unowned } from './resolve.ts';
import { warningsOf } from './warnings.ts';
import { isRolledBack } from './xa.ts';
import { xidText } from './xid.ts';

/** How long the server may take to stop a statement, in milliseconds. */
const KILL_TIMEOUT_MS = 5_000;

/** Of how many branches a listing finds out whether anybody owns them: a statement may have 4,096 columns. */
const LOOKED_AT = 1_000;

const LOCK_WAIT_TIMEOUT = 1205;

/**
 * Errors after which the whole transaction may be tried again: a deadlock, a lock that is taken (NOWAIT), a row that was changed since
 * the snapshot (MariaDB's innodb_snapshot_isolation), a server that goes away or a connection that was ended, taking the uncommitted
 * transaction with it.
 */
const RETRYABLE: ReadonlySet<number> = new Set([1213, 3572, 1020, 1053, 1077, 1927, 4031]);

/** How a session deals with its server. */
export interface MysqlServerOptions extends ConnectionOptions {
  readonly acquireTimeoutMs: number;
  readonly resolveTimeoutMs: number;
  readonly retriesLockTimeouts: boolean;
}

export class MysqlServer implements SqlServer<MysqlConnection> {
  readonly #name: string;
  readonly #pool: MysqlCorePool;
  readonly #options: MysqlServerOptions;
  #checked: Promise<void> | undefined = undefined;
  /** Since when nobody owns what was listed last, so that not every branch has to be waited for. */
  #unownedSinceMs: ReadonlyMap<string, number> = new Map();

  constructor(name: string, pool: unknown, options: MysqlServerOptions) {
    const core = corePoolOf(pool);
    if (core === undefined) {
      throw new ConfigurationError(
        `a MySQL session needs a pool of mysql2, mysql.createPool(…), not ${describe(pool)}`,
        { resource: name },
      );
    }
    this.#name = name;
    this.#pool = core;
    this.#options = options;
  }

  get acquireTimeoutMs(): number {
    return this.#options.acquireTimeoutMs;
  }

  /** The pool of the application. */
  get pool(): MysqlCorePool {
    return this.#pool;
  }

  /** @throws ConfigurationError when the server can't do what is needed. */
  check(twoPhase: 'auto' | boolean): Promise<void> {
    return callWithConnection(this.#pool, this.#options.acquireTimeoutMs, (ask) =>
      checkServer(ask, this.#name, twoPhase !== false),
    );
  }

  async connect(twoPhase: 'auto' | boolean, cancelled: () => Promise<never>): Promise<MysqlConnection> {
    if (twoPhase === true) await this.#checkOnce();
    const pool = this.#pool;
    const isIdle = (pool._freeConnections?.length ?? 0) > 0;
    const core = isIdle
      ? await this.#open()
      : await acquire({
          connect: () => this.#open(),
          use: (opened) => opened,
          explain: (error) => this.#explainConnect(error),
          discard: (late) => late.release(),
          cancelled: cancelled(),
          timeoutMs: this.#options.acquireTimeoutMs,
          resource: this.#name,
          describePool: () =>
            `connections in its pool: ${pool._allConnections?.length ?? '?'} of ${pool.config.connectionLimit ?? '?'}, idle: ${pool._freeConnections?.length ?? '?'}, waiting for one: ${pool._connectionQueue?.length ?? '?'}`,
        });
    learnClass(pool, core);
    return new MysqlConnection(this.#name, core, (threadId) => this.#killQuery(threadId), this.#options);
  }

  /** Outside of the context: a connection opened in it would keep it for life. */
  #open(): Promise<MysqlCore> {
    return outside(
      () =>
        new Promise<MysqlCore>((resolve, reject) => {
          this.#pool.getConnection((error, core) => (error === null ? resolve(core) : reject(error)));
        }),
    );
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
    if (error.message !== 'No connections available.' && error.message !== 'Queue limit reached.') return error;
    return new AcquireTimeoutError(
      `a connection must be free, or may be waited for; the pool of '${this.#name}' says: ${error.message} (its options waitForConnections, queueLimit and connectionLimit)`,
      { cause: error, resource: this.#name, phase: 'work' },
    );
  }

  async #killQuery(threadId: number): Promise<void> {
    await callWithConnection(this.#pool, KILL_TIMEOUT_MS, (ask) => ask(`kill query ${threadId}`));
  }

  shouldRetry(error: Error): boolean {
    if (error instanceof ConnectionLostError || isRolledBack(error)) return true;
    const number = errorNumber(error);
    if (number === undefined) return false;
    if (number === LOCK_WAIT_TIMEOUT) return this.#options.retriesLockTimeouts;
    return RETRYABLE.has(number) || (error as MysqlError).sqlState?.startsWith('40') === true;
  }

  /** MySQL can't be asked how a transaction ended. What is certain afterwards is that it won't change any more. */
  async resolveCommit(connection: MysqlConnection, txn: Transaction, error: Error): Promise<void> {
    const isOver = await endOwner(this.#question(connection));
    throw new CommitOutcomeUnknownError(
      `a COMMIT must be answered; the reply of '${this.#name}' was lost (${error.message}), and MySQL can't be asked how a transaction ended` +
        `${isOver ? '' : `, nor be reached within ${this.#options.resolveTimeoutMs} ms`}: whether it has committed is not known, so it must not be repeated blindly`,
      { cause: error, resource: this.#name, xid: txn.id, phase: 'tpcVote' },
    );
  }

  async endPrepared(verb: 'commit' | 'rollback', xid: Xid, connection?: MysqlConnection): Promise<void> {
    const text = xidText(xid);
    if (connection !== undefined && connection.broken === undefined) {
      try {
        return await connection.endPrepared(verb, xid);
      } catch (error) {
        // Over another connection, then, which also finds out whether this was done. This one may own the branch.
        connection.destroy(error as Error);
      }
    }
    try {
      const unownedSinceMs = connection === undefined ? this.#unownedSinceMs.get(xid.gid) : undefined;
      await endPrepared({ ...this.#question(connection), unownedSinceMs }, verb, xid);
    } catch (error) {
      if (error instanceof HeuristicError) throw error;
      throw new TransactionError(
        `what is prepared must be ended; ${text} at '${this.#name}' could not be within ${this.#options.resolveTimeoutMs} ms (${(error as Error).message}): ` +
          `it keeps its locks until it is, by hand with XA ${verb.toUpperCase()} ${text}`,
        { cause: error, resource: this.#name, xid: xid.gid },
      );
    }
  }

  #question(owner: MysqlConnection | undefined): Question {
    return { pool: this.#pool, timeoutMs: this.#options.resolveTimeoutMs, owner };
  }

  async abandon(connection: MysqlConnection): Promise<void> {
    await endOwner(this.#question(connection));
  }

  rehearsal(): Rehearsal {
    return mysqlRehearsal;
  }

  explainPrepare(error: Error): Error {
    return error;
  }

  warnings(): Promise<ResourceWarning[]> {
    return callWithConnection(this.#pool, this.#options.resolveTimeoutMs, (ask) =>
      warningsOf(ask, this.#name, this.#options.preparedWaitSeconds),
    );
  }

  /** @throws ConfigurationError where the user may not. */
  async listPrepared(): Promise<Xid[]> {
    try {
      return await callWithConnection(this.#pool, this.#options.resolveTimeoutMs, (ask) => this.#list(ask));
    } catch (error) {
      throw explainRecover(error, this.#name);
    }
  }

  async #list(ask: Ask): Promise<Xid[]> {
    const listed = await listPrepared(ask);
    const own = listed.filter(({ branch }) => branch === this.#name).slice(0, LOOKED_AT);
    const free = await unowned(ask, own);
    const nowMs = performance.now();
    this.#unownedSinceMs = new Map(free.map(({ gid }) => [gid, this.#unownedSinceMs.get(gid) ?? nowMs]));
    return listed;
  }
}
