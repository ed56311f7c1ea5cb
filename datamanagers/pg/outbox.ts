/** The messages of a decision store in PostgreSQL; {@link Outbox} has the rules. */
import { CLAIM_MS } from '../../coordinator/deliveries.ts';
import type { MessageKey, Outbox, OutboxMessage, StoredMessage } from '../../coordinator/types.ts';
import { type StoredOutboxRow, messagesOf } from '../sql/decision.ts';
import { literal } from './gid.ts';
import type { PrivatePool } from './private-pool.ts';

export class PgOutbox implements Outbox {
  readonly #pool: PrivatePool;
  readonly #table: string;

  constructor(pool: PrivatePool, table: string) {
    this.#pool = pool;
    this.#table = table;
  }

  /** The statement that stores messages: their deliverer's alone for the beginning. */
  insertText(gid: string, messages: readonly OutboxMessage[]): string {
    const rows = messages.map(
      ({ target, payload }, index) =>
        `(${literal(gid)}, ${index + 1}, ${literal(target)}, ${escaped(payload)}, now() + interval '${CLAIM_MS} milliseconds')`,
    );
    return `insert into ${this.#table} (gid, seq, target, payload, next_at) values ${rows.join()}`;
  }

  async claim(targets: readonly string[], limit: number, forMs: number): Promise<StoredMessage[]> {
    const { rows } = await this.#pool.query<StoredOutboxRow>(
      `with due as (select gid, seq from ${this.#table} where not dead and next_at <= now() and target = any($1)
         order by created_at, gid, seq limit $2 for update skip locked)
       update ${this.#table} o set next_at = now() + $3 * interval '1 millisecond' from due
       where o.gid = due.gid and o.seq = due.seq returning o.*`,
      [targets, limit, forMs],
    );
    return messagesOf(rows);
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

  async list(limit: number): Promise<StoredMessage[]> {
    const { rows } = await this.#pool.query<StoredOutboxRow>(
      `select * from ${this.#table} order by created_at, gid, seq limit $1`,
      [limit],
    );
    return messagesOf(rows);
  }

  async retry(messages: readonly MessageKey[]): Promise<void> {
    await this.#pool.query(`update ${this.#table} set dead = false, next_at = now() where ${these}`, keysOf(messages));
  }
}

const these = '(gid, seq) in (select * from unnest($1::text[], $2::int[]))';

function keysOf(messages: readonly MessageKey[]): unknown[] {
  return [messages.map(({ gid }) => gid), messages.map(({ sequence }) => sequence)];
}

/** Quotes any text, so that it means the same whatever standard_conforming_strings is. */
function escaped(text: string): string {
  if (text.includes('\0')) throw new TypeError('the payload of a message holds no zero bytes');
  return ` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
