/**
 * The decisions of one coordinator: its incarnation, whose registration in the decision store is its right to decide, the lease of
 * that, and what has been decided and isn't finished.
 */
import { outside } from './context.ts';
import { environment, type Timer } from './environment.ts';
import { CommitOutcomeUnknownError, DecisionFailedError, FencedError, isFenced, toError } from './errors.ts';
import type { Transaction } from './transaction.ts';
import { Deliveries } from './deliveries.ts';
import type { DataManager, Decision, DecisionLog, OutboxMessage, ResolvedOutcome } from './types.ts';
import { XidSource } from './xid.ts';

const PAUSE_MS = 100;
/** Decisions that all have followed are deleted together, after this time in milliseconds. */
const FORGET_DELAY_MS = 500;
/** The lease is renewed so many times before it runs out. */
const RENEWALS = 3;

/** How a coordinator uses its decision log. */
export interface DecisionsOptions {
  readonly log: DecisionLog;
  readonly app: string | undefined;
  readonly node: string;
  readonly leaseMs: number;
  /** How long a decision may go on being looked for before what is prepared is held, in milliseconds. */
  readonly timeoutMs: number;
  /** After how many failures a message of the outbox is dead. */
  readonly deliveryAttempts: number;
  readonly report: (error: Error) => void;
}

/** What is written down. */
export interface ToDecide {
  readonly participants: readonly string[];
  readonly messages: readonly OutboxMessage[];
}

export class Decisions {
  readonly log: DecisionLog;
  /** Delivers what is stored with decisions; undefined where the log stores nothing else. */
  readonly deliveries: Deliveries | undefined;
  readonly #options: DecisionsOptions;
  #ids: XidSource | undefined = undefined;
  #store: string | undefined = undefined;
  #starting: Promise<void> | undefined = undefined;
  #lease: Timer = undefined;
  #forgetting: Timer = undefined;
  #closed = false;
  /** Transactions that may be prepared now. */
  readonly #active = new Set<string>();
  /** Those that were active at any time since recovery began to look. */
  #watched: Set<string> | undefined = undefined;
  /** When the lease was renewed last, and since when no renewal came late, by the clock of the environment. */
  #renewedMs: number | undefined = undefined;
  #steadySinceMs = -Infinity;
  readonly #forgettable: string[] = [];
  /** Who waits to hear how a transaction in doubt has ended. */
  readonly #doubtful = new Map<string, (outcome: ResolvedOutcome) => void>();

  constructor(options: DecisionsOptions) {
    this.log = options.log;
    this.#options = options;
    const { outbox } = options.log;
    if (outbox !== undefined) {
      const { deliveryAttempts: attempts, report } = options;
      this.deliveries = new Deliveries({ outbox, prefix: () => this.prefix, attempts, report });
    }
  }

  /** The identity of the store, once it is known. */
  get store(): string | undefined {
    return this.#store;
  }

  /** The identity under which this process may decide; undefined until it is registered. */
  get incarnation(): string | undefined {
    return this.#ids?.incarnation;
  }

  /** What the ids of all transactions that are decided in this store begin with; undefined until the store is known. */
  get prefix(): string | undefined {
    return this.#store === undefined ? undefined : `${this.#options.app ?? 'unanimous'}:${this.#store}:`;
  }

  /** The next id of a transaction that can be decided; undefined while there is no right to decide. */
  nextId(): string | undefined {
    return this.#ids?.next();
  }

  /** Undefined once the right to decide is there; else a promise that is settled when it is, or can't be had now. */
  ready(): Promise<void> | undefined {
    return this.#ids === undefined && !this.#closed ? this.start().catch(() => undefined) : undefined;
  }

  /** Opens the store and registers a new incarnation. @throws what the store does. */
  start(): Promise<void> {
    this.#starting ??= outside(() => this.#register()).finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #register(): Promise<void> {
    const { log, app, node, leaseMs } = this.#options;
    this.#store ??= await log.open();
    const ids = new XidSource(app, this.#store);
    await log.register(ids.incarnation, node, leaseMs);
    this.#ids = ids;
    this.#renewed();
    this.#scheduleRenewal();
  }

  #scheduleRenewal(): void {
    if (this.#closed) return;
    if (this.#lease !== undefined) environment.clearTimer(this.#lease);
    const everyMs = this.#options.leaseMs / RENEWALS;
    this.#lease = outside(() => environment.setTimer(() => void this.#renew(), everyMs, false));
  }

  async #renew(): Promise<void> {
    const { incarnation } = this;
    if (incarnation === undefined || this.#closed) return;
    try {
      if (await this.log.renew(incarnation, this.#options.leaseMs)) this.#renewed();
      else this.#fenced(incarnation);
    } catch (error) {
      this.#options.report(toError(error));
    }
    this.#scheduleRenewal();
  }

  #renewed(): void {
    const now = environment.now();
    if (this.#isLate) this.#steadySinceMs = now;
    this.#renewedMs = now;
  }

  /** Whether a renewal of the lease is overdue. */
  get #isLate(): boolean {
    const renewedMs = this.#renewedMs;
    return renewedMs !== undefined && environment.now() - renewedMs > (this.#options.leaseMs / RENEWALS) * 2;
  }

  /**
   * Whether a lease that has run out may be taken for a sign of death. Not where this process could not renew its own in time: the
   * store was down for others as well, and they get the time of a lease to come back.
   */
  get mayFence(): boolean {
    return !this.#isLate && environment.now() - this.#steadySinceMs >= this.#options.leaseMs;
  }

  /** From now on a transaction may be prepared, and is the business of whoever commits it. */
  activate(gid: string): void {
    this.#active.add(gid);
    this.#watched?.add(gid);
  }

  /** Whoever commits it is through: what is left of it is recovery's. */
  deactivate(gid: string): void {
    this.#active.delete(gid);
  }

  /** The transactions that are active now, and those that become it while `use` is under way. */
  async watchActive<T>(use: (active: ReadonlySet<string>) => Promise<T>): Promise<T> {
    this.#watched = new Set(this.#active);
    try {
      return await use(this.#watched);
    } finally {
      this.#watched = undefined;
    }
  }

  /** Another process has taken this one for dead: what it had begun can't be decided any more. */
  #fenced(incarnation: string): void {
    if (this.incarnation !== incarnation) return;
    this.#ids = undefined;
    this.#options.report(
      new FencedError(
        `a process must renew its lease in time to decide; this one (${incarnation}) did not and was taken for dead: its open transactions over several resources are rolled back, and it goes on under a new identity`,
      ),
    );
    this.start().catch((error: unknown) => this.#options.report(toError(error)));
  }

  /** Whether a transaction's id was made for this store, so that what it prepares can be decided and recovered. */
  canDecide(txn: Transaction): boolean {
    return this.#store !== undefined && txn.id.startsWith(this.prefix!);
  }

  /**
   * Writes the decision, with the commit of `carrier` where there is one.
   *
   * @throws DecisionFailedError when it is certain that nothing is decided to commit.
   * @throws CommitOutcomeUnknownError when that can't be found out now.
   */
  async decide(
    txn: Transaction,
    { participants, messages }: ToDecide,
    carrier: DataManager | undefined,
  ): Promise<void> {
    const decision: Decision = { gid: txn.id, incarnation: incarnationOf(txn.id), participants, messages };
    try {
      if (carrier === undefined) await this.log.decide(decision);
      else await this.log.decideWith!(carrier, txn, decision);
    } catch (thrown) {
      const error = toError(thrown);
      if (isFenced(error)) this.#fenced(decision.incarnation);
      if (!(error instanceof DecisionFailedError)) return this.#settleOrHold(decision, error);
      if (error.cause === undefined) {
        const outcome = await this.#decidedByOthers(decision.gid);
        if (outcome === undefined) throw unreadable(decision.gid, error);
        if (outcome === 'committed') return followHand(decision, carrier, error);
      }
      // What the carrier's own database has said is what the user is told.
      throw carrier !== undefined && error.cause instanceof Error ? error.cause : error;
    }
  }

  /** What somebody was first to decide: an operator maybe to commit. Undefined where that can't be found out in time. */
  #decidedByOthers(gid: string): Promise<ResolvedOutcome | undefined> {
    return this.#inTime(async () => {
      const [row] = await this.log.decisionsOf([gid]);
      return row?.outcome ?? 'unknown';
    });
  }

  async #settleOrHold(decision: Decision, cause: Error): Promise<void> {
    const outcome = await this.#settleInTime(decision);
    if (outcome === 'committed') return;
    if (outcome === 'unknown') this.#fenced(decision.incarnation);
    const details = { cause, xid: decision.gid, phase: 'tpcVote' } as const;
    if (outcome === 'aborted') {
      throw new DecisionFailedError(
        `a decision must be written to the decision store; that of ${decision.gid} was not (${cause.message}), so everything is rolled back`,
        details,
      );
    }
    const why =
      outcome === 'unknown'
        ? 'this process was taken for dead before it could ask again'
        : "the store can't be reached";
    throw new CommitOutcomeUnknownError(
      `the answer of the decision store must be known; that to transaction ${decision.gid} was lost (${cause.message}), and ${why}`,
      { ...details, resource: 'the decision store' },
    );
  }

  /** What is decided; undefined where that can't be found out in time. */
  #settleInTime(decision: Decision): Promise<ResolvedOutcome | undefined> {
    return this.#inTime(async () => {
      return (await this.log.settle(decision)) ?? 'unknown';
    });
  }

  /** What is read from the store, which is asked again where it doesn't answer; undefined where it doesn't in time. */
  async #inTime(read: () => Promise<ResolvedOutcome>): Promise<ResolvedOutcome | undefined> {
    const endMs = environment.now() + this.#options.timeoutMs;
    for (;;) {
      try {
        const outcome = await read();
        if (outcome === 'committed') await this.log.confirm?.();
        return outcome;
      } catch {
        if (environment.now() + PAUSE_MS > endMs) return undefined;
      }
      await pause(PAUSE_MS);
    }
  }

  /** All have followed the decision: it may be deleted. */
  finished(gid: string): void {
    this.#forgettable.push(gid);
    this.#forgetting ??= outside(() => environment.setTimer(() => void this.forgetFinished(), FORGET_DELAY_MS, false));
  }

  /** Deletes the decisions that all have followed. Where that fails, recovery does it. */
  async forgetFinished(): Promise<void> {
    if (this.#forgetting !== undefined) environment.clearTimer(this.#forgetting);
    this.#forgetting = undefined;
    const gids = this.#forgettable.splice(0);
    if (gids.length === 0) return;
    await this.log.forget(gids).catch((error: unknown) => this.#options.report(toError(error)));
  }

  /** A promise of how a transaction that is in doubt has ended; recovery finds it out. */
  whenResolved(gid: string): Promise<ResolvedOutcome> {
    return new Promise((resolve) => this.#doubtful.set(gid, resolve));
  }

  /** Recovery has ended all that was prepared of a transaction. */
  resolved(gid: string, outcome: ResolvedOutcome): void {
    this.#doubtful.get(gid)?.(outcome);
    this.#doubtful.delete(gid);
  }

  /** The transactions of this process that are in doubt. */
  get doubtful(): readonly string[] {
    return [...this.#doubtful.keys()];
  }

  /** Gives the right to decide back, where nothing is in doubt, and closes the log. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#lease !== undefined) environment.clearTimer(this.#lease);
    await this.#starting?.catch(() => undefined);
    await this.deliveries?.tidy();
    await this.forgetFinished();
    const { incarnation } = this;
    this.#ids = undefined;
    if (incarnation !== undefined) {
      await this.log.fence(incarnation).catch((error: unknown) => this.#options.report(toError(error)));
    }
    await this.log.close();
  }
}

/** Goes on as an operator has decided; where something of the transaction went by that decision, nobody may try it again. */
function followHand({ gid, messages = [] }: Decision, carrier: DataManager | undefined, cause: Error): void {
  if (carrier === undefined && messages.length === 0) return;
  const lost =
    carrier === undefined ? 'what it would have sent' : 'what it has changed in the database of the decision store';
  throw new CommitOutcomeUnknownError(
    `a transaction is decided once; ${gid} was decided to commit by hand before it could decide by itself: ${lost} is not part of that, all else is committed`,
    { cause, xid: gid, phase: 'tpcVote', resource: 'the decision store' },
  );
}

/** Somebody else has decided, and nobody says how. */
function unreadable(gid: string, cause: Error): CommitOutcomeUnknownError {
  return new CommitOutcomeUnknownError(
    `a decision must be known to be followed; that about transaction ${gid} was taken before this process could (${cause.message}), and the store can't be reached to read it`,
    { cause, xid: gid, phase: 'tpcVote', resource: 'the decision store' },
  );
}

/** The incarnation in a transaction's id. */
export function incarnationOf(gid: string): string {
  return gid.split(':')[2]!;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void environment.setTimer(resolve, ms, true));
}
