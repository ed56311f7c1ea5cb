/** Messages in memory; {@link Outbox} has the rules. For tests. */
import { CLAIM_MS } from '../../coordinator/deliveries.ts';
import { environment } from '../../coordinator/environment.ts';
import type { MessageKey, Outbox, OutboxMessage, StoredMessage } from '../../coordinator/types.ts';

/** @internal A message, and from when on it is due, by the clock of the process. */
export interface WaitingMessage {
  message: StoredMessage;
  dueMs: number;
}

/** @internal */
export class MemoryOutbox implements Outbox {
  readonly #waiting: WaitingMessage[];

  constructor(waiting: WaitingMessage[]) {
    this.#waiting = waiting;
  }

  store(gid: string, messages: readonly OutboxMessage[]): void {
    const dueMs = environment.now() + CLAIM_MS;
    const createdAt = new Date();
    for (const [index, { target, payload }] of messages.entries()) {
      const message = { gid, sequence: index + 1, target, payload, attempts: 0, isDead: false, createdAt };
      this.#waiting.push({ message, dueMs });
    }
  }

  claim(targets: readonly string[], limit: number, forMs: number): Promise<StoredMessage[]> {
    const now = environment.now();
    const due = this.#waiting.filter(
      ({ message, dueMs }) => !message.isDead && dueMs <= now && targets.includes(message.target),
    );
    const claimed = due.slice(0, limit);
    for (const waiting of claimed) waiting.dueMs = now + forMs;
    return Promise.resolve(claimed.map(({ message }) => message));
  }

  remove(messages: readonly MessageKey[]): Promise<void> {
    for (const key of messages) {
      const index = this.#waiting.findIndex(({ message }) => isSame(message, key));
      if (index >= 0) this.#waiting.splice(index, 1);
    }
    return Promise.resolve();
  }

  failed(key: MessageKey, error: string, retryInMs: number | undefined): Promise<void> {
    for (const waiting of this.#waiting) {
      const { message } = waiting;
      if (!isSame(message, key)) continue;
      waiting.message = { ...message, attempts: message.attempts + 1, error, isDead: retryInMs === undefined };
      waiting.dueMs = environment.now() + (retryInMs ?? 0);
    }
    return Promise.resolve();
  }

  list(limit: number): Promise<StoredMessage[]> {
    return Promise.resolve(this.#waiting.slice(0, limit).map(({ message }) => message));
  }

  retry(messages: readonly MessageKey[]): Promise<void> {
    for (const waiting of this.#waiting) {
      if (!messages.some((key) => isSame(waiting.message, key))) continue;
      waiting.message = { ...waiting.message, isDead: false };
      waiting.dueMs = environment.now();
    }
    return Promise.resolve();
  }
}

function isSame(a: MessageKey, b: MessageKey): boolean {
  return a.gid === b.gid && a.sequence === b.sequence;
}
