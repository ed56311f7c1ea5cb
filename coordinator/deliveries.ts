/** Delivers the messages of the outbox: those of a transaction right after it, and whatever is due in recovery. At least once. */
import { environment } from './environment.ts';
import { TransactionError, toError } from './errors.ts';
import type { Outbox, OutboxMessage, OutboxTarget, StoredMessage } from './types.ts';

/** For how long a message is its deliverer's alone, in milliseconds; from when it was stored, that of whoever stored it. */
export const CLAIM_MS = 30_000;
/** How many messages one pass of recovery delivers. */
const MESSAGES_A_PASS = 100;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 600_000;

/** How messages are delivered. */
export interface DeliveriesOptions {
  readonly outbox: Outbox;
  /** After how many failures a message is dead. */
  readonly attempts: number;
  readonly report: (error: Error) => void;
}

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #targets = new Map<string, OutboxTarget>();

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Makes known who delivers the messages of its name; the last one counts. */
  add(target: OutboxTarget): void {
    this.#targets.set(target.name, target);
  }

  /** Delivers what was stored with a decision just now. What fails is recovery's. Never rejects. */
  async now(gid: string, messages: readonly OutboxMessage[]): Promise<void> {
    const createdAt = new Date();
    await this.#deliverAll(
      messages.map((message, index) => ({
        ...message,
        gid,
        sequence: index + 1,
        attempts: 0,
        isDead: false,
        createdAt,
      })),
    );
  }

  /** Delivers what is due, and returns how much. @throws what the decision store does. */
  async due(): Promise<number> {
    const targets = [...this.#targets.keys()];
    if (targets.length === 0) return 0;
    const messages = await this.#options.outbox.claim(targets, MESSAGES_A_PASS, CLAIM_MS);
    return this.#deliverAll(messages);
  }

  /** Those of one target one behind the other, up to the first that fails; different targets at once. */
  async #deliverAll(messages: readonly StoredMessage[]): Promise<number> {
    const byTarget = new Map<OutboxTarget, StoredMessage[]>();
    for (const message of messages) {
      const target = this.#targets.get(message.target);
      if (target === undefined) continue;
      const queue = byTarget.get(target);
      if (queue === undefined) byTarget.set(target, [message]);
      else queue.push(message);
    }
    const counts = await Promise.all([...byTarget].map(([target, queue]) => this.#deliverTo(target, queue)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #deliverTo(target: OutboxTarget, queue: readonly StoredMessage[]): Promise<number> {
    const { outbox } = this.#options;
    const delivered: StoredMessage[] = [];
    try {
      for (const message of queue) {
        if (!(await this.#deliver(target, message))) break;
        delivered.push(message);
      }
      if (delivered.length > 0) await outbox.remove(delivered);
    } catch (error) {
      // It is delivered again when the claim has run out.
      this.#options.report(toError(error));
    }
    return delivered.length;
  }

  async #deliver(target: OutboxTarget, message: StoredMessage): Promise<boolean> {
    try {
      await target.deliver(message);
      return true;
    } catch (thrown) {
      const error = toError(thrown);
      const attempts = message.attempts + 1;
      const isDead = attempts >= this.#options.attempts;
      const retryInMs =
        Math.min(FIRST_RETRY_MS * 2 ** (attempts - 1), LONGEST_RETRY_MS) * (1 - environment.random() / 4);
      await this.#options.outbox.failed(message, error.message, isDead ? undefined : retryInMs);
      this.#options.report(
        new TransactionError(
          `what was stored with a decision must be delivered; message ${message.sequence} of transaction ${message.gid} to '${target.name}' was not (${error.message}), ` +
            (isDead
              ? `for the ${attempts}th time, and is not tried again: it needs an operator`
              : 'and is tried again'),
          { cause: error, xid: message.gid, resource: target.name },
        ),
      );
      return false;
    }
  }
}
