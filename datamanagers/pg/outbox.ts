/** The messages of a decision store in PostgreSQL; {@link Outbox} has the rules. */
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
import type { PgResult } from './driver.ts';
import { literal } from './gid.ts';
import { type OwnStatement, requireNoZero } from './own-statement.ts';
import type { PrivatePool } from './private-pool.ts';

export class PgOutbox implements Outbox {
  readonly #pool: PrivatePool;
  readonly #table: string;
  readonly #dropped: string;

  constructor(pool: PrivatePool, { outbox, dropped }: TableNames) {
    this.#pool = pool;
    this.#table = outbox;
    this.#dropped = dropped;
  }

  /**
   * The statement that stores messages: their deliverer's alone for the beginning. The time is that of the statement, not that of the
   * beginning of the transaction, which may be long ago.
   */
  insert(gid: string, messages: readonly OutboxMessage[]): OwnStatement {
    const values = [gid];
    const rows = messages.map(({ target, payload }, index) => {
      requireNoZero('the payload of a message', payload);
      const count = values.push(target, payload);
      return `($1, ${index + 1}, $${count - 1}, $${count}, clock_timestamp(), clock_timestamp() + interval '${CLAIM_MS} milliseconds')`;
    });
    return {
      text: `insert into ${this.#table} (gid, seq, target, payload, created_at, next_at) values ${rows.join()}`,
      values,
    };
  }

  async claim({ prefix, targets, inOrder, limit, forMs }: Claim): Promise<StoredMessage[]> {
    const table = this.#table;
    const isOurs = (name: string): string => `left(${name}.gid, ${prefix.length}) = ${literal(prefix)}`;
    const textOf = (names: readonly string[], rest: number, held: string, isFirst: string): string =>
      `with ${held}due as (select o.gid, o.seq from ${table} o ${isFirst} where not o.dead and o.next_at <= now()
          and o.target in (${names.map(literal).join()}) and ${isOurs('o')} ${isFirst === '' ? '' : 'and (h.target is null or (o.created_at, o.gid, o.seq) < (h.created_at, h.gid, h.seq))'}
          order by o.created_at, o.gid, o.seq limit ${Math.trunc(rest)} for update of o skip locked)
        update ${table} o set next_at = clock_timestamp() + ${Math.trunc(forMs)} * interval '1 millisecond' from due
        where o.gid = due.gid and o.seq = due.seq returning o.*`;
    const free = targets.filter((target) => !inOrder.includes(target));
    const messages: StoredMessage[] = [];
    if (free.length > 0) {
      const { rows } = await this.#pool.query<StoredOutboxRow>(textOf(free, limit, '', ''));
      messages.push(...messagesOf(rows));
    }
    if (inOrder.length > 0 && messages.length < limit) {
      // The oldest that isn't due keeps those behind it. Looked for once for each target: asked for each message, it would take time by the square.
      const held = `held as materialized (select distinct on (target) target, created_at, gid, seq from ${table} p
          where ${isOurs('p')} and not p.dead and p.next_at > now() and p.target in (${inOrder.map(literal).join()})
          order by target, created_at, gid, seq), `;
      const text = textOf(inOrder, limit - messages.length, held, 'left join held h on h.target = o.target');
      // One process at a time: nobody takes those behind what another one is taking at this moment.
      const results = (await this.#pool.query(
        `begin; select pg_advisory_xact_lock(hashtext(${literal(table)})); ${text}; commit`,
      )) as unknown as PgResult<StoredOutboxRow>[];
      messages.push(...messagesOf(results[2]!.rows));
    }
    return messages;
  }

  async hold(messages: readonly MessageKey[], forMs: number): Promise<void> {
    await this.#pool.query(
      `update ${this.#table} set next_at = now() + $3 * interval '1 millisecond' where not dead and ${these}`,
      [...keysOf(messages), forMs],
    );
  }

  async remove(messages: readonly MessageKey[]): Promise<void> {
    await this.#pool.query(`delete from ${this.#table} where ${these}`, keysOf(messages));
  }

  async failed({ gid, sequence }: MessageKey, error: string, retryInMs: number | undefined): Promise<void> {
    await this.#pool.query(
      `update ${this.#table} set attempts = attempts + 1, error = $3, dead = $4,
         next_at = now() + $5 * interval '1 millisecond' where gid = $1 and seq = $2`,
      [gid, sequence, error, retryInMs === undefined, retryInMs ?? 0],
    );
  }

  async list(limit: number): Promise<ListedMessage[]> {
    const { rows } = await this.#pool.query<ListedOutboxRow>(
      `select *, extract(epoch from now() - created_at) * 1000 as age_ms, extract(epoch from next_at - now()) * 1000 as due_in_ms
       from ${this.#table} order by created_at, gid, seq limit $1`,
      [limit],
    );
    return listedOf(rows);
  }

  async retry(messages: readonly MessageKey[]): Promise<void> {
    await this.#pool.query(`update ${this.#table} set dead = false, next_at = now() where ${these}`, keysOf(messages));
  }

  async drop(messages: readonly MessageKey[], { by, forced }: DropByHand): Promise<StoredMessage[]> {
    const { rows } = await this.#pool.query<StoredOutboxRow>(
      `with gone as (delete from ${this.#table} where ${these} returning *),
         written as (insert into ${this.#dropped} (gid, seq, target, attempts, error, stored_at, forced, done_by)
           select gid, seq, target, attempts, error, created_at, $3, $4 from gone)
       select * from gone`,
      [...keysOf(messages), forced, personOf(by)],
    );
    return messagesOf(rows);
  }
}

const these = '(gid, seq) in (select * from unnest($1::text[], $2::int[]))';

function keysOf(messages: readonly MessageKey[]): unknown[] {
  return [messages.map(({ gid }) => gid), messages.map(({ sequence }) => sequence)];
}
