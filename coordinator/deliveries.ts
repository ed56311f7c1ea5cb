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
/** Where the target would know it again, it is deleted after this time in milliseconds, many at once; at once where there are so many. */
const REMOVE_LATER_MS = 500;
const REMOVE_AT_ONCE = 1_000;
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

/** What this process has left to recovery, of one target. */
interface Kept {
  /** The latest of them, by key, for as long as they may be waiting. */
  readonly keys: Set<string>;
  /** How many there have been. */
  count: number;
}

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #targets = new Map<string, OutboxTarget>();
  /** Targets in order of which something has failed: what is committed now comes behind that. */
  readonly #blocked = new Map<string, Kept>();
  /** Delivered and still stored: should they be delivered again, their target does nothing. */
  #removable: StoredMessage[] = [];
  #removing: Timer = undefined;
  /** What is being delivered, and whether a timer is set to renew its claims. */
  readonly #claimed = new Set<() => readonly StoredMessage[]>();
  #renews = false;
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
    const stored = messages.map(({ target, payload }, index): StoredMessage => {
      return { target, payload, gid, sequence: index + 1, attempts: 0, isDead: false, createdAt };
    });
    if (this.#blocked.size === 0) return void (await this.#deliverAll(stored, true));
    const late = stored.filter(({ target }) => this.#blocked.has(target));
    if (late.length > 0) await this.#postpone(gid, late);
    await this.#deliverAll(
      stored.filter((message) => !late.includes(message)),
      true,
    );
    return undefined;
  }

  /** Deletes what was delivered and is still stored. Never rejects. */
  async tidy(): Promise<void> {
    if (this.#removing !== undefined) environment.clearTimer(this.#removing);
    this.#removing = undefined;
    const messages = this.#removable;
    this.#removable = [];
    if (messages.length === 0) return;
    // What stays is delivered again, which its target takes for done.
    await this.#options.outbox.remove(messages).catch((error: unknown) => this.#options.report(toError(error)));
  }

  #removeLater(messages: readonly StoredMessage[]): void {
    this.#removable.push(...messages);
    if (this.#removable.length >= REMOVE_AT_ONCE) void this.tidy();
    else this.#removing ??= outside(() => environment.setTimer(() => void this.tidy(), REMOVE_LATER_MS, false));
  }

  /** Leaves messages to recovery, which delivers them behind those that have failed. */
  async #postpone(gid: string, messages: readonly StoredMessage[]): Promise<void> {
    for (const name of new Set(messages.map(({ target }) => target))) {
      this.#block(
        name,
        messages.filter(({ target }) => target === name),
      );
      const reason = new TransactionError(
        `messages to '${name}' are delivered in order; one before those of transaction ${gid} has failed, so recovery delivers them behind it`,
        { xid: gid, resource: name },
      );
      this.#targets.get(name)?.postponed?.(gid, reason);
    }
    await this.#giveBack(messages);
  }

  /** From now on messages of a target come behind these. */
  #block(name: string, messages: readonly StoredMessage[]): void {
    let kept = this.#blocked.get(name);
    if (kept === undefined) this.#blocked.set(name, (kept = { keys: new Set(), count: 0 }));
    for (const message of messages) {
      kept.count++;
      kept.keys.add(keyOf(message));
      // Behind so many others none is looked for, and those before them are through when they are.
      if (kept.keys.size > MESSAGES_A_LOOK) kept.keys.delete(kept.keys.values().next().value!);
    }
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
    const before = new Map([...this.#blocked].map(([name, { count }]) => [name, count]));
    const waiting = await this.#options.outbox.list(MESSAGES_A_LOOK);
    if (waiting.length === MESSAGES_A_LOOK) return;
    for (const [name, kept] of this.#blocked) {
      // What was left meanwhile may not be in the list.
      if (kept.count !== before.get(name)) continue;
      const isFree = waiting.every(
        (each) =>
          each.target !== name ||
          !each.gid.startsWith(this.#options.prefix()!) ||
          each.isDead ||
          // Somebody else delivers it right now; one's own looks the same, where it could not be given back.
          (each.attempts === 0 && each.dueInMs > 0 && !kept.keys.has(keyOf(each))),
      );
      if (isFree) this.#blocked.delete(name);
    }
  }

  /** Those of one target one behind the other; different targets at once. */
  async #deliverAll(messages: readonly StoredMessage[], isNow = false): Promise<number> {
    const byTarget = new Map<OutboxTarget, StoredMessage[]>();
    for (const message of messages) {
      const target = this.#targets.get(message.target);
      if (target === undefined) continue;
      const queue = byTarget.get(target);
      if (queue === undefined) byTarget.set(target, [message]);
      else queue.push(message);
    }
    const queues = [...byTarget];
    if (queues.length === 1) return this.#deliverTo(queues[0]![0], queues[0]![1], isNow);
    const counts = await Promise.all(queues.map(([target, queue]) => this.#deliverTo(target, queue, isNow)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #deliverTo(target: OutboxTarget, queue: readonly StoredMessage[], isNow: boolean): Promise<number> {
    // How many of the queue are through; those that follow are still claimed.
    let through = 0;
    let delivered: StoredMessage[] = [];
    const stopRenewing = this.#renew(() => [...delivered, ...queue.slice(through)]);
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
        through++;
        if (!isDelivered && target.anyOrder !== true) {
          this.#block(target.name, queue.slice(through - 1));
          break;
        }
      }
      if (isNow && target.knowsAgain === true) this.#removeLater(delivered);
      else await remove();
    } catch (error) {
      // It is delivered again when the claim has run out.
      this.#options.report(toError(error));
      // Also where it could not be written down that something has failed.
      if (through < queue.length && target.anyOrder !== true) this.#block(target.name, queue.slice(through));
    } finally {
      stopRenewing();
    }
    if (through < queue.length) await this.#giveBack(queue.slice(through));
    return count;
  }

  /** Keeps the claim for as long as a delivery takes; returns the function that ends that. */
  #renew(claimed: () => readonly StoredMessage[]): () => void {
    this.#claimed.add(claimed);
    if (!this.#renews) this.#renewLater();
    return () => this.#claimed.delete(claimed);
  }

  #renewLater(): void {
    this.#renews = true;
    outside(() => environment.setTimer(() => void this.#renewAll(), CLAIM_MS / RENEWALS, false));
  }

  /** Hardly a delivery takes so long, so all share one timer rather than having one each. */
  async #renewAll(): Promise<void> {
    const messages = [...this.#claimed].flatMap((claimed) => claimed());
    if (messages.length > 0) {
      await this.#options.outbox.hold(messages, CLAIM_MS).catch((error: unknown) => {
        this.#options.report(toError(error));
      });
    }
    this.#renews = false;
    if (this.#claimed.size > 0) this.#renewLater();
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

function keyOf({ gid, sequence }: StoredMessage): string {
  return `${gid} ${sequence}`;
}

/** An error in a form that every store can hold. */
function storable(text: string): string {
  return text.slice(0, LONGEST_ERROR).replaceAll(/\p{Surrogate}|\0/gu, '\uFFFD');
}
