/**
 * Delivers the messages of the outbox: those of a transaction right after it, and whatever is due in recovery. At least once.
 *
 * Messages of one target go one behind the other, those of different targets at once. One that fails keeps those behind it, unless their
 * order doesn't matter to the target: none of them is claimed before it is through or dead, and this process leaves what it commits
 * meanwhile to recovery. What processes commit at the same moment has no order.
 */
import { outside } from './context.ts';
import { environment, type Timer } from './environment.ts';
import { TransactionError, toError } from './errors.ts';
import type { Outbox, OutboxMessage, OutboxTarget, StoredMessage } from './types.ts';

/**
 * For how long a message is its deliverer's alone, in milliseconds; from when it was stored, that of whoever stored it. Renewed for as long
 * as it is being delivered.
 */
export const CLAIM_MS = 30_000;
const RENEWALS = 3;
/** How many messages are claimed at once, and for how long one pass of recovery goes on claiming. */
const MESSAGES_A_CLAIM = 100;
const PASS_MS = 5_000;
/** What was delivered is deleted together, at the end and after this time in milliseconds. */
const REMOVE_MS = 1_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 600_000;
/** So much of an error is kept. */
const LONGEST_ERROR = 2_000;
/** So many messages are looked at to find out whether any keeps others. */
const MESSAGES_A_LOOK = 1_000;

/** How messages are delivered. */
export interface DeliveriesOptions {
  readonly outbox: Outbox;
  /** What the ids of all transactions of this application begin with; undefined until the store is known. */
  readonly prefix: () => string | undefined;
  /** After how many failures a message is dead. */
  readonly attempts: number;
  readonly report: (error: Error) => void;
}

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #targets = new Map<string, OutboxTarget>();
  /** Names of targets in order of which something has failed: what is committed now comes behind that. */
  readonly #blocked = new Set<string>();
  #stopping = false;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Makes known who delivers the messages of its name; the last one counts. */
  add(target: OutboxTarget): void {
    this.#targets.set(target.name, target);
  }

  /** Whoever delivers in this process. */
  get targets(): readonly OutboxTarget[] {
    return [...this.#targets.values()];
  }

  /** Delivers what was stored with a decision just now. What fails is recovery's. Never rejects. */
  async now(gid: string, messages: readonly OutboxMessage[]): Promise<void> {
    const createdAt = new Date();
    const stored = messages.map((message, index) => ({
      ...message,
      gid,
      sequence: index + 1,
      attempts: 0,
      isDead: false,
      createdAt,
    }));
    const late = stored.filter(({ target }) => this.#blocked.has(target));
    if (late.length > 0) await this.#postpone(gid, late);
    await this.#deliverAll(stored.filter((message) => !late.includes(message)));
  }

  /** Leaves messages to recovery, which delivers them behind those that have failed. */
  async #postpone(gid: string, messages: readonly StoredMessage[]): Promise<void> {
    for (const name of new Set(messages.map(({ target }) => target))) {
      const reason = new TransactionError(
        `messages to '${name}' are delivered in order; one before those of transaction ${gid} has failed, so recovery delivers them behind it`,
        { xid: gid, resource: name },
      );
      this.#targets.get(name)?.postponed?.(gid, reason);
    }
    await this.#giveBack(messages);
  }

  async #giveBack(messages: readonly StoredMessage[]): Promise<void> {
    // Where that fails, they are due when the claim has run out.
    await this.#options.outbox.hold(messages, 0).catch((error: unknown) => this.#options.report(toError(error)));
  }

  /** Delivers what is due, and returns how much. @throws what the decision store does. */
  async due(): Promise<number> {
    const targets = [...this.#targets.keys()];
    const prefix = this.#options.prefix();
    if (targets.length === 0 || prefix === undefined) return 0;
    const inOrder = targets.filter((name) => this.#targets.get(name)!.anyOrder !== true);
    const claim = { prefix, targets, inOrder, limit: MESSAGES_A_CLAIM, forMs: CLAIM_MS };
    const endMs = environment.now() + PASS_MS;
    let delivered = 0;
    for (;;) {
      const messages = await this.#options.outbox.claim(claim);
      delivered += await this.#deliverAll(messages);
      if (messages.length < MESSAGES_A_CLAIM || environment.now() >= endMs || this.#stopping) break;
    }
    if (this.#blocked.size > 0) await this.#unblock();
    return delivered;
  }

  /** Delivers nothing more than what is being delivered now. */
  stop(): void {
    this.#stopping = true;
  }

  /** Where nothing that has failed, or was left to recovery, waits any more, what is committed next is delivered at once again. */
  async #unblock(): Promise<void> {
    const waiting = await this.#options.outbox.list(MESSAGES_A_LOOK);
    if (waiting.length === MESSAGES_A_LOOK) return;
    for (const name of this.#blocked) {
      const isFree = waiting.every(
        (each) =>
          each.target !== name ||
          !each.gid.startsWith(this.#options.prefix()!) ||
          each.isDead ||
          (each.attempts === 0 && each.dueInMs > 0),
      );
      if (isFree) this.#blocked.delete(name);
    }
  }

  /** Those of one target one behind the other; different targets at once. */
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
    const left = [...queue];
    let delivered: StoredMessage[] = [];
    const stopRenewing = this.#renew(() => [...delivered, ...left]);
    let count = 0;
    let removedMs = environment.now();
    const remove = async (): Promise<void> => {
      const all = delivered;
      delivered = [];
      removedMs = environment.now();
      if (all.length > 0) await this.#options.outbox.remove(all);
    };
    try {
      for (const message of queue) {
        if (this.#stopping) break;
        const isDelivered = await this.#deliver(target, message);
        if (isDelivered) {
          delivered.push(message);
          count++;
        }
        if (environment.now() - removedMs >= REMOVE_MS) await remove();
        left.shift();
        if (!isDelivered && target.anyOrder !== true) {
          this.#blocked.add(target.name);
          break;
        }
      }
      await remove();
    } catch (error) {
      // It is delivered again when the claim has run out.
      this.#options.report(toError(error));
    } finally {
      stopRenewing();
    }
    if (left.length > 0) await this.#giveBack(left);
    return count;
  }

  /** Keeps the claim for as long as a delivery takes; returns the function that ends that. */
  #renew(claimed: () => readonly StoredMessage[]): () => void {
    let timer: Timer;
    let isOver = false;
    const schedule = (): void => {
      timer = outside(() => environment.setTimer(() => void renew(), CLAIM_MS / RENEWALS, false));
    };
    const renew = async (): Promise<void> => {
      const messages = claimed();
      if (messages.length > 0) {
        await this.#options.outbox.hold(messages, CLAIM_MS).catch((error: unknown) => {
          this.#options.report(toError(error));
        });
      }
      if (!isOver) schedule();
    };
    schedule();
    return () => {
      isOver = true;
      environment.clearTimer(timer);
    };
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
      await this.#options.outbox.failed(message, storable(error.message), isDead ? undefined : retryInMs);
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

/** An error in a form that every store can hold. */
function storable(text: string): string {
  return text.slice(0, LONGEST_ERROR).replaceAll(/\p{Surrogate}|\0/gu, '\uFFFD');
}
