/** The messages of a decision store in MySQL or MariaDB; {@link Outbox} has the rules. */
import { CLAIM_MS } from '../../coordinator/deliveries.ts';
import type {
  Claim,
  DropByHand,
  ListedMessage,
  MessageKey,
  Outbox,
  OutboxMessage,
  StoredMessage,
} from '../../coordinator/types.ts';
import { type ListedOutboxRow, type StoredOutboxRow, type TableNames, listedOf, messagesOf } from '../sql/decision.ts';
import { personOf } from '../sql/hand-action.ts';
import { errorNumber } from './driver.ts';
import type { PrivateAsk, PrivatePool } from './private-pool.ts';
import { inFuture, quote } from './quote.ts';

/** NOWAIT, and the lock is somebody else's: in MariaDB, and in MySQL. */
const LOCKED: ReadonlySet<number> = new Set([1205, 3572]);

/**
 * What begins an INSERT over the application's own connection, by which times are reckoned in UTC: where its time zone's clocks are put forward
 * or back, there are times that it can't say. MariaDB reads the first comment, MySQL the second.
 */
const INSERT_IN_UTC = `/*M! set statement time_zone = '+00:00' for */ insert /*+ set_var(time_zone = '+00:00') */`;

export class MysqlOutbox implements Outbox {
  readonly #pool: PrivatePool;
  readonly #table: string;
  readonly #meta: string;
  readonly #dropped: string;

  constructor(pool: PrivatePool, { outbox, meta, dropped }: TableNames) {
    this.#pool = pool;
    this.#table = outbox;
    this.#meta = meta;
    this.#dropped = dropped;
  }

  /** The statement that stores messages: their deliverer's alone for the beginning. */
  insertText(gid: string, messages: readonly OutboxMessage[]): string {
    const rows = messages.map(
      ({ target, payload }, index) =>
        `(${quote(gid)}, ${index + 1}, ${quote(target)}, ${quote(payload)}, ${inFuture(CLAIM_MS)})`,
    );
    return `${INSERT_IN_UTC} into ${this.#table} (gid, seq, target, payload, next_at) values ${rows.join()}`;
  }

  claim({ prefix, targets, inOrder, limit, forMs }: Claim): Promise<StoredMessage[]> {
    const isOurs = (table: string): string => `left(${table}.gid, ${prefix.length}) = ${quote(prefix)}`;
    return this.#pool.transaction(async (ask) => {
      let held = '';
      let condition = isOurs('o');
      if (inOrder.length > 0) {
        // One process at a time: nobody takes those behind what another one is taking at this moment. This statement makes no snapshot.
        if (!(await isMyTurn(ask, this.#meta))) return [];
        // The oldest that isn't due keeps those behind it. Looked for once for each target: asked for each message, it would take time by the square.
        held = `left join (select target, created_at, gid, seq from (
            select target, created_at, gid, seq, row_number() over (partition by target order by created_at, gid, seq) as place from ${this.#table} p
            where ${isOurs('p')} and p.dead = 0 and p.next_at > now(3) and p.target in (${inOrder.map(quote).join()})) as waiting where place = 1) as h
          on h.target = o.target`;
        condition += ' and (h.target is null or (o.created_at, o.gid, o.seq) < (h.created_at, h.gid, h.seq))';
      }
      const { rows } = await ask<StoredOutboxRow>(
        `select o.* from ${this.#table} o ${held} where o.dead = 0 and o.next_at <= now(3) and o.target in (${targets.map(quote).join()}) and ${condition}
         order by o.created_at, o.gid, o.seq limit ${Math.trunc(limit)} for update`,
      );
      const messages = messagesOf(rows);
      if (messages.length > 0) {
        await ask(`update ${this.#table} set next_at = ${inFuture(forMs)} where ${these(messages)}`);
      }
      return messages;
    });
  }

  async hold(messages: readonly MessageKey[], forMs: number): Promise<void> {
    await this.#pool.query(
      `update ${this.#table} set next_at = ${inFuture(forMs)} where dead = 0 and ${these(messages)}`,
    );
  }

  async remove(messages: readonly MessageKey[]): Promise<void> {
    await this.#pool.query(`delete from ${this.#table} where ${these(messages)}`);
  }

  async failed({ gid, sequence }: MessageKey, error: string, retryInMs: number | undefined): Promise<void> {
    await this.#pool.query(
      `update ${this.#table} set attempts = attempts + 1, error = ${quote(error)}, dead = ${retryInMs === undefined ? 1 : 0},
         next_at = ${inFuture(retryInMs ?? 0)} where gid = ${quote(gid)} and seq = ${Math.trunc(sequence)}`,
    );
  }

  async list(limit: number): Promise<ListedMessage[]> {
    const { rows } = await this.#pool.query<ListedOutboxRow>(
      `select o.*, timestampdiff(microsecond, created_at, now(3)) / 1000 as age_ms, timestampdiff(microsecond, now(3), next_at) / 1000 as due_in_ms
       from ${this.#table} o order by created_at, gid, seq limit ${Math.trunc(limit)}`,
    );
    return listedOf(rows);
  }

  async retry(messages: readonly MessageKey[]): Promise<void> {
    await this.#pool.query(`update ${this.#table} set dead = 0, next_at = now(3) where ${these(messages)}`);
  }

  drop(messages: readonly MessageKey[], { by, forced }: DropByHand): Promise<StoredMessage[]> {
    return this.#pool.transaction(async (ask) => {
      const { rows } = await ask<StoredOutboxRow>(`select * from ${this.#table} where ${these(messages)} for update`);
      const found = messagesOf(rows);
      if (found.length === 0) return [];
      await ask(
        `insert into ${this.#dropped} (gid, seq, target, attempts, error, stored_at, forced, done_by)
         select gid, seq, target, attempts, error, created_at, ${forced ? 1 : 0}, ${quote(personOf(by))} from ${this.#table} where ${these(found)}`,
      );
      await ask(`delete from ${this.#table} where ${these(found)}`);
      return found;
    });
  }
}

/** False where another process is claiming; or was paused at it, and isn't waited for. */
async function isMyTurn(ask: PrivateAsk, meta: string): Promise<boolean> {
  try {
    await ask(`select value from ${meta} where name = 'version' for update nowait`);
    return true;
  } catch (error) {
    if (LOCKED.has(errorNumber(error) ?? 0)) return false;
    throw error;
  }
}

function these(messages: readonly MessageKey[]): string {
  const keys = messages.map(({ gid, sequence }) => `(${quote(gid)}, ${Math.trunc(sequence)})`);
  return keys.length === 0 ? 'false' : `(gid, seq) in (${keys.join()})`;
}
