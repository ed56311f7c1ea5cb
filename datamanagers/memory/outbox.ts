/** Messages in memory; {@link Outbox} has the rules. For tests. */
import { CLAIM_MS } from '../../coordinator/deliveries.ts';
import { environment } from '../../coordinator/environment.ts';
import type {
  Claim,
  DropByHand,
  HandActionRow,
  ListedMessage,
  MessageKey,
  Outbox,
  OutboxMessage,
  StoredMessage,
} from '../../coordinator/types.ts';

/** @internal A message, and from when on it is due, by the clock of the process. */
export interface WaitingMessage {
  message: StoredMessage;
  dueMs: number;
  readonly storedMs: number;
}

/** @internal */
export class MemoryOutbox implements Outbox {
  readonly #waiting: WaitingMessage[];
  readonly #actions: HandActionRow[];

  constructor(waiting: WaitingMessage[], actions: HandActionRow[]) {
    this.#waiting = waiting;
    this.#actions = actions;
  }

  store(gid: string, messages: readonly OutboxMessage[]): void {
    const storedMs = environment.now();
    const dueMs = storedMs + CLAIM_MS;
    const createdAt = new Date();
    for (const [index, { target, payload }] of messages.entries()) {
      const message = { gid, sequence: index + 1, target, payload, attempts: 0, isDead: false, createdAt };
      this.#waiting.push({ message, dueMs, storedMs });
    }
  }

  claim({ prefix, targets, inOrder, limit, forMs }: Claim): Promise<StoredMessage[]> {
    const now = environment.now();
    const claimed: WaitingMessage[] = [];
    const blocked = new Set<string>();
    for (const waiting of this.#waiting) {
      const { message, dueMs } = waiting;
      if (claimed.length === limit) break;
      if (message.isDead || !message.gid.startsWith(prefix)) continue;
      if (!targets.includes(message.target) || blocked.has(message.target)) continue;
      if (dueMs <= now) claimed.push(waiting);
      else if (inOrder.includes(message.target)) blocked.add(message.target);
    }
    for (const waiting of claimed) waiting.dueMs = now + forMs;
    return Promise.resolve(claimed.map(({ message }) => message));
  }

  hold(messages: readonly MessageKey[], forMs: number): Promise<void> {
    for (const waiting of this.#waiting) {
      if (messages.some((key) => isSame(waiting.message, key))) waiting.dueMs = environment.now() + forMs;
    }
    return Promise.resolve();
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

  list(limit: number): Promise<ListedMessage[]> {
    const now = environment.now();
    return Promise.resolve(
      this.#waiting
        .slice(0, limit)
        .map(({ message, dueMs, storedMs }) =>
          Object.assign({}, message, { ageMs: now - storedMs, dueInMs: Math.max(0, dueMs - now) }),
        ),
    );
  }

  retry(messages: readonly MessageKey[]): Promise<void> {
    for (const waiting of this.#waiting) {
      if (!messages.some((key) => isSame(waiting.message, key))) continue;
      waiting.message = { ...waiting.message, isDead: false };
      waiting.dueMs = environment.now();
    }
    return Promise.resolve();
  }

  drop(messages: readonly MessageKey[], { by, forced }: DropByHand): Promise<StoredMessage[]> {
    const dropped = this.#waiting.filter(({ message }) => messages.some((key) => isSame(message, key)));
    for (const { message } of dropped) {
      const { gid, sequence, target, error } = message;
      this.#waiting.splice(
        this.#waiting.findIndex((each) => each.message === message),
        1,
      );
      this.#actions.push({ gid, action: 'drop', by, forced, at: new Date(), message: { sequence, target, error } });
    }
    return Promise.resolve(dropped.map(({ message }) => message));
  }
}

function isSame(a: MessageKey, b: MessageKey): boolean {
  return a.gid === b.gid && a.sequence === b.sequence;
}
