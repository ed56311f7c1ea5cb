/** The decision store in PostgreSQL; {@link DecisionLog} has the rules. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { type Rule, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  DataManager,
  DecidedOutcome,
  Decision,
  DecisionLog,
  DecisionNode,
  DecisionRow,
  HandAction,
  HandActionRow,
} from '../../coordinator/types.ts';
import { SqlBranch } from '../sql/branch.ts';
import {
  FENCE_TIMEOUT_MS,
  type StoredDecision,
  type StoredDrop,
  decidedBefore,
  dropOf,
  fenced,
  notWritten,
  outcomeOf,
  rowOf,
} from '../sql/decision.ts';
import { type HandDialect, type StoredHandAction, actByHand, handActionOf, inTime } from '../sql/hand-action.ts';
import type { PgConnection } from './connection.ts';
import { PgDecisionTables } from './decision-tables.ts';
import { sqlState } from './driver.ts';
import { literal } from './gid.ts';
import { PgOutbox } from './outbox.ts';
import { type OwnStatement, inlined } from './own-statement.ts';
import { PrivatePool } from './private-pool.ts';
import { BARRIER } from './resolve.ts';
import { PgSession } from './session.ts';

/** Options of a decision log in PostgreSQL. */
export interface PgDecisionLogOptions {
  /** What the names of its tables begin with, with a schema where there is one; default `unanimous_`. */
  tablePrefix?: string | undefined;
  /** How long the store may take to answer before that counts as no answer, in milliseconds; default 10,000. */
  timeoutMs?: number | undefined;
}

const optionRules: Record<keyof PgDecisionLogOptions, Rule> = { tablePrefix: aString, timeoutMs: aDelay };

const DEFAULT_TIMEOUT_MS = 10_000;

const HAND_DIALECT: HandDialect = {
  literal,
  lock: 'for key share',
  insertNew: (into, values) => `insert into ${into} values (${values}) on conflict do nothing`,
};

const NOT_NULL = '23502';
const UNIQUE = '23505';
const LOCK_TIMEOUT = '55P03';
/** Classes of errors after which it is open what the server has done: connection, operator's intervention, system, internal. */
const UNCERTAIN = /^(?:08|57|58|XX)/;

/**
 * Decisions in tables of one PostgreSQL database, made on first use. A transaction that changes this database too takes the
 * decision along in its own commit.
 */
export class PgDecisionLog implements DecisionLog {
  /** The session of the database where the decisions are kept. */
  readonly session: PgSession;
  /** @internal */ readonly outbox: PgOutbox;
  readonly #tables: PgDecisionTables;
  readonly #pool: PrivatePool;
  readonly #insertText: string;

  /**
   * @param session the session of the database where the decisions are kept; its role creates the tables, or finds them.
   * @throws ConfigurationError when `session` is none of PostgreSQL, or for unknown or impossible options.
   */
  constructor(session: PgSession, options: PgDecisionLogOptions = {}) {
    checkOptions('new PgDecisionLog()', options, optionRules);
    if (!(session instanceof PgSession)) {
      throw new ConfigurationError(
        `a PgDecisionLog needs the session of its database, a PgSession, not ${describe(session)}`,
      );
    }
    const { tablePrefix = 'unanimous_', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    this.session = session;
    this.#pool = new PrivatePool(session.pgPool, timeoutMs);
    this.#tables = new PgDecisionTables(this.#pool, tablePrefix);
    this.outbox = new PgOutbox(this.#pool, this.#tables.names);
    const { decision, node } = this.#tables.names;
    const registered = `(select incarnation from ${node} where incarnation = $2 for key share)`;
    this.#insertText = `insert into ${decision} (gid, incarnation, outcome, participants) values ($1, ${registered}, 'C', $3)`;
  }

  /** See {@link DecisionLog.open}. */
  open({ create = true }: { readonly create?: boolean | undefined } = {}): Promise<string> {
    return this.#tables.open(create);
  }

  /** See {@link DecisionLog.register}. */
  async register(incarnation: string, node: string, leaseMs: number): Promise<void> {
    const { node: nodes, lease } = this.#tables.names;
    await this.#pool.query(
      `with node as (insert into ${nodes} (incarnation, node) values ($1, $2))
       insert into ${lease} (incarnation, expires_at) values ($1, now() + $3 * interval '1 millisecond')`,
      [incarnation, node, leaseMs],
    );
  }

  /** See {@link DecisionLog.renew}. */
  async renew(incarnation: string, leaseMs: number): Promise<boolean> {
    const { node, lease } = this.#tables.names;
    const { rows } = await this.#pool.query<{ registered: boolean }>(
      `with lease as (update ${lease} set expires_at = now() + $2 * interval '1 millisecond' where incarnation = $1)
       select exists (select from ${node} where incarnation = $1) as registered`,
      [incarnation, leaseMs],
    );
    return rows[0]!.registered;
  }

  /** See {@link DecisionLog.decide}. */
  async decide(decision: Decision): Promise<void> {
    const { gid } = decision;
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw notWritten(gid, error);
    });
    try {
      // Several statements in one text are one transaction.
      await client.query(this.#inserts(decision).map(inlined).join('; '));
    } catch (error) {
      throw this.#explain(error, gid);
    } finally {
      client.release();
    }
  }

  /** Fails where the incarnation isn't registered; else nobody can fence it before the end of this transaction. */
  #inserts({ gid, incarnation, participants, messages = [] }: Decision): readonly OwnStatement[] {
    const insert = { text: this.#insertText, values: [gid, incarnation, JSON.stringify(participants)] };
    return messages.length === 0 ? [insert] : [insert, this.outbox.insert(gid, messages)];
  }

  /** See {@link DecisionLog.carries}. */
  carries(manager: DataManager): boolean {
    return manager instanceof SqlBranch && manager.session === this.session;
  }

  /** See {@link DecisionLog.decideWith}. */
  async decideWith(manager: DataManager, _txn: Transaction, decision: Decision): Promise<void> {
    await (manager as SqlBranch).commitBy(async (connection) => {
      try {
        await (connection as PgConnection).commitAfter(this.#inserts(decision));
      } catch (error) {
        throw connection.isUncertain ? error : this.#explain(error, decision.gid);
      }
    });
  }

  /** What an error of writing a decision means. */
  #explain(error: unknown, gid: string): unknown {
    const state = sqlState(error);
    if (state === undefined || UNCERTAIN.test(state)) return error;
    const isOurs = this.#tables.isDecision((error as { table?: unknown }).table);
    if (isOurs && state === NOT_NULL) return fenced(gid);
    if (isOurs && state === UNIQUE) return decidedBefore(gid);
    return notWritten(gid, error);
  }

  /** See {@link DecisionLog.settle}. */
  async settle({ gid, incarnation }: Decision): Promise<DecidedOutcome | undefined> {
    const { decision, node } = this.#tables.names;
    // In one transaction, so that nobody fences the incarnation in between.
    const [, { rows }] = (await this.#pool.query(
      `insert into ${decision} (gid, incarnation, outcome, participants)
         select ${literal(gid)}, incarnation, 'A', '[]' from ${node} where incarnation = ${literal(incarnation)} for key share on conflict (gid) do nothing;
       select outcome from ${decision} where gid = ${literal(gid)}`,
    )) as unknown as [unknown, { readonly rows: readonly StoredDecision[] }];
    return rows[0] === undefined ? undefined : outcomeOf(rows[0]);
  }

  /** See {@link DecisionLog.nodes}. */
  async nodes(): Promise<DecisionNode[]> {
    const { node, lease } = this.#tables.names;
    const { rows } = await this.#pool.query<{
      incarnation: string;
      node: string;
      started_at: Date;
      is_expired: boolean;
    }>(
      `select n.incarnation, n.node, n.started_at, coalesce(l.expires_at < now(), true) as is_expired
       from ${node} n left join ${lease} l using (incarnation) order by n.started_at`,
    );
    return rows.map((row) => ({
      incarnation: row.incarnation,
      node: row.node,
      startedAt: row.started_at,
      isExpired: row.is_expired,
    }));
  }

  /** See {@link DecisionLog.fence}. */
  async fence(incarnation: string): Promise<boolean> {
    const { node, lease } = this.#tables.names;
    try {
      // The delete waits for the decisions on the way, which hold the row by FOR KEY SHARE.
      await this.#pool.query(
        `begin; set local lock_timeout = ${FENCE_TIMEOUT_MS}; delete from ${node} where incarnation = ${literal(incarnation)}; delete from ${lease} where incarnation = ${literal(incarnation)}; commit`,
      );
      return true;
    } catch (error) {
      if (sqlState(error) === LOCK_TIMEOUT) return false;
      throw error;
    }
  }

  /** See {@link DecisionLog.decisions}. */
  async decisions(limit: number, prefix = ''): Promise<DecisionRow[]> {
    const { decision } = this.#tables.names;
    const { rows } = await this.#pool.query<StoredDecision>(
      `select * from ${decision} where left(gid, length($2)) = $2 order by created_at limit $1`,
      [limit, prefix],
    );
    return rows.map(rowOf);
  }

  /** See {@link DecisionLog.decisionsOf}. */
  async decisionsOf(gids: readonly string[]): Promise<DecisionRow[]> {
    const { decision } = this.#tables.names;
    const { rows } = await this.#pool.query<StoredDecision>(`select * from ${decision} where gid = any($1)`, [gids]);
    return rows.map(rowOf);
  }

  /** See {@link DecisionLog.confirm}. */
  async confirm(): Promise<void> {
    const client = await this.#pool.connect();
    try {
      const { rows } = await client.query<{ pid: number }>('select pg_catalog.pg_backend_pid() as pid');
      await client.query(BARRIER).catch(async (error: unknown) => {
        // A server process that waits for a standby doesn't notice that nobody waits for it any more.
        await this.#pool.query('select pg_catalog.pg_terminate_backend($1)', [rows[0]!.pid]).catch(() => undefined);
        throw error;
      });
    } finally {
      client.release();
    }
  }

  /** See {@link DecisionLog.forget}. */
  async forget(gids: readonly string[]): Promise<void> {
    await this.#pool.query(`delete from ${this.#tables.names.decision} where gid = any($1)`, [gids]);
  }

  /** See {@link DecisionLog.forgetTombstones}. */
  async forgetTombstones(): Promise<void> {
    const { decision, node } = this.#tables.names;
    await this.#pool.query(
      `delete from ${decision} d where outcome = 'A' and not exists (select from ${node} n where n.incarnation = d.incarnation)`,
    );
  }

  /** See {@link DecisionLog.actByHand}. */
  async actByHand(action: HandAction, decision: Decision): Promise<DecidedOutcome | undefined> {
    const client = await this.#pool.connect();
    const ask = async (text: string): Promise<object[]> => (await client.query<object>(text)).rows;
    try {
      await ask('begin');
      const outcome = await actByHand(ask, HAND_DIALECT, this.#tables.names, action, decision);
      await ask('commit');
      return outcome;
    } catch (error) {
      await ask('rollback').catch(() => undefined);
      throw error;
    } finally {
      client.release();
    }
  }

  /** See {@link DecisionLog.handActions}. */
  async handActions(gid: string): Promise<HandActionRow[]> {
    const { audit, dropped } = this.#tables.names;
    const [actions, drops] = await Promise.all([
      this.#pool.query<StoredHandAction>(`select * from ${audit} where gid = $1 order by id`, [gid]),
      this.#pool.query<StoredDrop>(`select * from ${dropped} where gid = $1 order by id`, [gid]),
    ]);
    return inTime([...actions.rows.map(handActionOf), ...drops.rows.map(dropOf)]);
  }

  /** See {@link DecisionLog.close}. */
  close(): Promise<void> {
    return this.#pool.end();
  }
}
