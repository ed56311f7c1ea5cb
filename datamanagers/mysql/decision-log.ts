/** The decision store in MySQL or MariaDB; {@link DecisionLog} has the rules. */
import { ConfigurationError, DecisionFailedError, describe } from '../../coordinator/errors.ts';
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
import type { MysqlConnection } from './connection.ts';
import { MysqlDecisionTables } from './decision-tables.ts';
import { errorNumber } from './driver.ts';
import { MysqlOutbox } from './outbox.ts';
import { type PrivateAsk, PrivatePool } from './private-pool.ts';
import { inFuture, quote } from './quote.ts';
import { MysqlSession } from './session.ts';

/** Options of a decision log in MySQL or MariaDB. */
export interface MysqlDecisionLogOptions {
  /** What the names of its tables begin with, with a database where there is one; default `unanimous_`. */
  tablePrefix?: string | undefined;
  /** How long the store may take to answer before that counts as no answer, in milliseconds; default 10,000. */
  timeoutMs?: number | undefined;
}

const optionRules: Record<keyof MysqlDecisionLogOptions, Rule> = { tablePrefix: aString, timeoutMs: aDelay };

const HAND_DIALECT: HandDialect = {
  literal: quote,
  lock: 'lock in share mode',
  insertNew: (into, values) => `insert ignore into ${into} values (${values})`,
};

const DEFAULT_TIMEOUT_MS = 10_000;
const DUPLICATE = 1062;
const LOCK_WAIT_TIMEOUT = 1205;
/** A COMMIT that was answered by an error: what it has done isn't said. */
const COMMIT_FAILED = 1180;
/** Errors after which it is open what the server has done: it is shutting down, or the connection was ended. */
const UNCERTAIN: ReadonlySet<number> = new Set([1053, 1077, COMMIT_FAILED, 1317, 1927, 4031]);

/**
 * Decisions in tables of one MySQL or MariaDB database, made on first use. A transaction that changes this database too takes the
 * decision along in its own commit.
 */
export class MysqlDecisionLog implements DecisionLog {
  /** The session of the database where the decisions are kept. */
  readonly session: MysqlSession;
  /** @internal */ readonly outbox: MysqlOutbox;
  readonly #tables: MysqlDecisionTables;
  readonly #pool: PrivatePool;

  /**
   * @param session the session of the database where the decisions are kept; its user creates the tables, or finds them.
   * @throws ConfigurationError when `session` is none of MySQL, or for unknown or impossible options.
   */
  constructor(session: MysqlSession, options: MysqlDecisionLogOptions = {}) {
    checkOptions('new MysqlDecisionLog()', options, optionRules);
    if (!(session instanceof MysqlSession)) {
      throw new ConfigurationError(
        `a MysqlDecisionLog needs the session of its database, a MysqlSession, not ${describe(session)}`,
      );
    }
    const { tablePrefix = 'unanimous_', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    this.session = session;
    this.#pool = new PrivatePool(session.corePool, timeoutMs);
    this.#tables = new MysqlDecisionTables(this.#pool, tablePrefix);
    this.outbox = new MysqlOutbox(this.#pool, this.#tables.names);
  }

  /** See {@link DecisionLog.open}. */
  open({ create = true }: { readonly create?: boolean | undefined } = {}): Promise<string> {
    return this.#tables.open(create);
  }

  /** See {@link DecisionLog.register}. */
  async register(incarnation: string, node: string, leaseMs: number): Promise<void> {
    const { node: nodes, lease } = this.#tables.names;
    await this.#pool.transaction(async (ask) => {
      await ask(`insert into ${nodes} (incarnation, node) values (${quote(incarnation)}, ${quote(node)})`);
      await ask(`insert into ${lease} (incarnation, expires_at) values (${quote(incarnation)}, ${inFuture(leaseMs)})`);
    });
  }

  /** See {@link DecisionLog.renew}. */
  async renew(incarnation: string, leaseMs: number): Promise<boolean> {
    const { node, lease } = this.#tables.names;
    await this.#pool.query(
      `update ${lease} set expires_at = ${inFuture(leaseMs)} where incarnation = ${quote(incarnation)}`,
    );
    const { rows } = await this.#pool.query(`select 1 from ${node} where incarnation = ${quote(incarnation)}`);
    return rows.length > 0;
  }

  /** See {@link DecisionLog.decide}. */
  async decide(decision: Decision): Promise<void> {
    const { gid, messages = [] } = decision;
    let wasSent = false;
    try {
      const write = async (ask: PrivateAsk): Promise<void> => {
        wasSent = true;
        const { affectedRows } = await ask(this.#insertText(decision));
        if (affectedRows === 0) throw fenced(gid);
        if (messages.length > 0) await ask(this.outbox.insertText(gid, messages));
      };
      await (messages.length === 0 ? this.#pool.with(write) : this.#pool.transaction(write));
    } catch (error) {
      throw wasSent ? this.#explain(error, gid) : notWritten(gid, error);
    }
  }

  /** Inserts nothing where the incarnation isn't registered; else nobody can fence it before the end of this transaction. */
  #insertText({ gid, incarnation, participants }: Decision): string {
    const { decision, node } = this.#tables.names;
    return `insert into ${decision} (gid, incarnation, outcome, participants) select ${quote(gid)}, incarnation, 'C', ${quote(JSON.stringify(participants))} from ${node} where incarnation = ${quote(incarnation)} lock in share mode`;
  }

  /** See {@link DecisionLog.carries}. */
  carries(manager: DataManager): boolean {
    return manager instanceof SqlBranch && manager.session === this.session;
  }

  /** See {@link DecisionLog.decideWith}. */
  async decideWith(manager: DataManager, _txn: Transaction, decision: Decision): Promise<void> {
    const { gid, messages = [] } = decision;
    const texts = [this.#insertText(decision)];
    if (messages.length > 0) texts.push(this.outbox.insertText(gid, messages));
    await (manager as SqlBranch).commitBy(async (connection) => {
      try {
        await (connection as MysqlConnection).commitAfter(texts, (changedRows) => {
          if (changedRows === 0) throw fenced(gid);
        });
      } catch (error) {
        const isOpen = connection.isUncertain || errorNumber(error) === COMMIT_FAILED;
        throw isOpen ? error : this.#refusal(error, gid);
      }
    });
  }

  /** What an error of writing a decision means. */
  #explain(error: unknown, gid: string): unknown {
    if (error instanceof DecisionFailedError) return error;
    const number = errorNumber(error);
    return number === undefined || UNCERTAIN.has(number) ? error : this.#refusal(error, gid);
  }

  #refusal(error: unknown, gid: string): DecisionFailedError {
    if (error instanceof DecisionFailedError) return error;
    const isOurs = errorNumber(error) === DUPLICATE && (error as Error).message.includes(gid);
    return isOurs ? decidedBefore(gid) : notWritten(gid, error);
  }

  /** See {@link DecisionLog.settle}. */
  settle({ gid, incarnation }: Decision): Promise<DecidedOutcome | undefined> {
    const { decision, node } = this.#tables.names;
    // In one transaction, so that nobody fences the incarnation in between.
    return this.#pool.transaction(async (ask) => {
      await ask(
        `insert ignore into ${decision} (gid, incarnation, outcome, participants) select ${quote(gid)}, incarnation, 'A', '[]' from ${node} where incarnation = ${quote(incarnation)} lock in share mode`,
      );
      const { rows } = await ask<StoredDecision>(`select outcome from ${decision} where gid = ${quote(gid)}`);
      return rows[0] === undefined ? undefined : outcomeOf(rows[0]);
    });
  }

  /** See {@link DecisionLog.nodes}. */
  async nodes(): Promise<DecisionNode[]> {
    const { node, lease } = this.#tables.names;
    const { rows } = await this.#pool.query<{
      incarnation: string;
      node: string;
      started_at: Date;
      is_expired: number;
    }>(
      `select n.incarnation, n.node, n.started_at, coalesce(l.expires_at < now(3), 1) as is_expired
       from ${node} n left join ${lease} l on l.incarnation = n.incarnation order by n.started_at`,
    );
    return rows.map((row) => ({
      incarnation: row.incarnation,
      node: row.node,
      startedAt: row.started_at,
      isExpired: row.is_expired === 1,
    }));
  }

  /** See {@link DecisionLog.fence}. */
  async fence(incarnation: string): Promise<boolean> {
    const { node, lease } = this.#tables.names;
    try {
      await this.#pool.transactionWithin(FENCE_TIMEOUT_MS, async (ask) => {
        // This waits for the decisions on the way, which hold the row in share mode.
        await ask(`delete from ${node} where incarnation = ${quote(incarnation)}`);
        await ask(`delete from ${lease} where incarnation = ${quote(incarnation)}`);
      });
      return true;
    } catch (error) {
      if (errorNumber(error) === LOCK_WAIT_TIMEOUT) return false;
      throw error;
    }
  }

  /** See {@link DecisionLog.decisions}. */
  async decisions(limit: number, prefix = ''): Promise<DecisionRow[]> {
    const { decision } = this.#tables.names;
    const { rows } = await this.#pool.query<StoredDecision>(
      `select * from ${decision} where left(gid, ${prefix.length}) = ${quote(prefix)} order by created_at limit ${Math.trunc(limit)}`,
    );
    return rows.map(rowOf);
  }

  /** See {@link DecisionLog.decisionsOf}. */
  async decisionsOf(gids: readonly string[]): Promise<DecisionRow[]> {
    if (gids.length === 0) return [];
    const { rows } = await this.#pool.query<StoredDecision>(
      `select * from ${this.#tables.names.decision} where gid in (${gids.map(quote).join()})`,
    );
    return rows.map(rowOf);
  }

  /** See {@link DecisionLog.forget}. */
  async forget(gids: readonly string[]): Promise<void> {
    if (gids.length === 0) return;
    await this.#pool.query(`delete from ${this.#tables.names.decision} where gid in (${gids.map(quote).join()})`);
  }

  /** See {@link DecisionLog.forgetTombstones}. */
  async forgetTombstones(): Promise<void> {
    const { decision, node } = this.#tables.names;
    // A delete that looks for them would lock every row that it sees, and wait for the decisions on the way.
    const { rows } = await this.#pool.query<{ gid: string }>(
      `select d.gid from ${decision} d left join ${node} n on n.incarnation = d.incarnation where d.outcome = 'A' and n.incarnation is null`,
    );
    await this.forget(rows.map(({ gid }) => gid));
  }

  /** See {@link DecisionLog.actByHand}. */
  actByHand(action: HandAction, decision: Decision): Promise<DecidedOutcome | undefined> {
    return this.#pool.transaction((ask) => {
      const rowsOf = async (text: string): Promise<object[]> => (await ask<object>(text)).rows;
      return actByHand(rowsOf, HAND_DIALECT, this.#tables.names, action, decision);
    });
  }

  /** See {@link DecisionLog.handActions}. */
  async handActions(gid: string): Promise<HandActionRow[]> {
    const { audit, dropped } = this.#tables.names;
    const [actions, drops] = await Promise.all([
      this.#pool.query<StoredHandAction>(`select * from ${audit} where gid = ${quote(gid)} order by id`),
      this.#pool.query<StoredDrop>(`select * from ${dropped} where gid = ${quote(gid)} order by id`),
    ]);
    return inTime([...actions.rows.map(handActionOf), ...drops.rows.map(dropOf)]);
  }

  /** See {@link DecisionLog.close}. */
  close(): Promise<void> {
    this.#pool.end();
    return Promise.resolve();
  }
}
