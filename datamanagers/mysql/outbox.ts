/** The messages of a decision store in MySQL or MariaDB; {@link Outbox} has the rules. */
import { CLAIM_MS } from '../../coordinator/deliveries.ts';
import type { MessageKey, Outbox, OutboxMessage, StoredMessage } from '../../coordinator/types.ts';
import { type StoredOutboxRow, messagesOf } from '../sql/decision.ts';
import type { PrivatePool } from './private-pool.ts';
import { inFuture, quote } from './quote.ts';

export class MysqlOutbox implements Outbox {
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
        `(${quote(gid)}, ${index + 1}, ${quote(target)}, ${quote(payload)}, ${inFuture(CLAIM_MS)})`,
    );
    return `insert into ${this.#table} (gid, seq, target, payload, next_at) values ${rows.join()}`;
  }

  claim(targets: readonly string[], limit: number, forMs: number): Promise<StoredMessage[]> {
    return this.#pool.with(async (ask) => {
      await ask('start transaction');
      try {
        const { rows } = await ask<StoredOutboxRow>(
          `select * from ${this.#table} where dead = 0 and next_at <= now(3) and target in (${targets.map(quote).join()}) order by created_at, gid, seq limit ${Math.trunc(limit)} for update`,
        );
        const messages = messagesOf(rows);
        if (messages.length > 0) {
          await ask(`update ${this.#table} set next_at = ${inFuture(forMs)} where ${these(messages)}`);
        }
        await ask('commit');
        return messages;
      } catch (error) {
        await ask('rollback').catch(() => undefined);
        throw error;
      }
    });
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

  async list(limit: number): Promise<StoredMessage[]> {
    const { rows } = await this.#pool.query<StoredOutboxRow>(
      `select * from ${this.#table} order by created_at, gid, seq limit ${Math.trunc(limit)}`,
    );
    return messagesOf(rows);
  }

  async retry(messages: readonly MessageKey[]): Promise<void> {
    await this.#pool.query(`update ${this.#table} set dead = 0, next_at = now(3) where ${these(messages)}`);
  }
}

function these(messages: readonly MessageKey[]): string {
  const keys = messages.map(({ gid, sequence }) => `(${quote(gid)}, ${Math.trunc(sequence)})`);
  return keys.length === 0 ? 'false' : `(gid, seq) in (${keys.join()})`;
}
