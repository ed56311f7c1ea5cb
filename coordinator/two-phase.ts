/**
 * The phases of a commit over the joined data managers, in zope's order (zope 63-77 and the departures from 72, 73 and
 * 138-140). After all votes only forward: whoever has voted yes is finished, whatever another one throws.
 */
import { attempt, cleanUp } from './cleanup.ts';
import { events, observed, watched } from './events.ts';
import { environment } from './environment.ts';
import { type DecisionToTake, chooseWay, inSortOrder } from './commit-way.ts';
import {
  type CommitOutcomeUnknownError,
  InDoubtError,
  isHeuristic,
  list,
  suppress,
  suppressedBy,
  toError,
} from './errors.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type { DataManager } from './types.ts';

const BEGIN = 0;
const COMMIT = 1;
const VOTE = 2;
const VOTED = 3;

/**
 * Calls the data managers phase by phase. It is advanced by {@link commitTransaction}, which awaits what isn't answered
 * synchronously: so a commit costs one await for each promise that a data manager returns, and none besides.
 */
export class TwoPhaseCommit {
  readonly #txn: Transaction;
  /** In the order of the calls. */
  #order: readonly DataManager[];
  #phase: number = BEGIN;
  /** How many have been called in this phase. */
  #called = 0;
  /** How many have voted yes: the first in the order. */
  #voted = 0;
  /** Those that have voted yes at once with one that said no. */
  #votedBeside: DataManager[] | undefined = undefined;
  /** Those whose read-only vote has released them. */
  #released: Set<DataManager> | undefined = undefined;
  #failures: { manager: DataManager; error: Error }[] | undefined = undefined;
  /** What is written to the decision store; undefined where nothing has to be. */
  #decision: DecisionToTake | undefined = undefined;
  /** Whose own commit takes the decision along. */
  #carrier: DataManager | undefined = undefined;

  constructor(txn: Transaction) {
    this.#txn = txn;
    this.#order = inSortOrder(txn.resources, txn.sortKeys);
  }

  /**
   * Calls on until an answer has to be awaited, and returns that; undefined once all have voted yes. A "no" is thrown.
   * `answer` is the awaited answer of the call before.
   */
  advance(answer?: unknown): PromiseLike<unknown> | undefined {
    if (this.#phase === VOTE && this.#voted < this.#called) this.#count(answer);
    for (; this.#phase < VOTED; this.#phase++) {
      if (this.#phase === VOTE && this.#called === 0) this.#choose();
      while (this.#called < this.#order.length) {
        const several = this.#endOfGroup();
        if (several > this.#called + 1) return this.#callAtOnce(several);
        const given = this.#call(this.#order[this.#called++]!);
        if (isThenable(given)) return given;
        if (this.#phase === VOTE) this.#count(given);
      }
      this.#called = 0;
    }
    return undefined;
  }

  #choose(): void {
    const { order, decision, carrier } = chooseWay(this.#txn, this.#order);
    this.#order = order;
    this.#decision = decision;
    this.#carrier = carrier;
    decision?.store.activate(this.#txn.id);
  }

  /**
   * Where those end that are called at once with the next one: resources that can be recovered wait for a server each, and none of them
   * depends on another. The one that decides by its vote comes after all of them.
   */
  #endOfGroup(): number {
    const order = this.#order;
    if (this.#phase === BEGIN || order.length === 1) return 0;
    const decidesLast = this.#txn.way === 'one-phase' || this.#txn.way === 'last-resource';
    const end = this.#phase === VOTE && decidesLast ? order.length - 1 : order.length;
    let at = this.#called;
    while (at < end && order[at]!.recoverable !== undefined && order[at]!.lastResource !== true) at++;
    return at;
  }

  /** Calls those up to `end`, each in a turn of its own, and waits for all; the first error is thrown, the others hang on it. */
  async #callAtOnce(end: number): Promise<void> {
    const group = this.#order.slice(this.#called, end);
    this.#called = end;
    const settled = await Promise.allSettled(group.map(async (manager) => this.#call(manager)));
    const refused = settled.find((one) => one.status === 'rejected');
    if (refused !== undefined) {
      const error = toError(refused.reason);
      for (const other of settled) {
        if (other.status === 'rejected' && other !== refused) suppress(error, other.reason);
      }
      if (this.#phase === VOTE) this.#votedBeside = group.filter((_, index) => settled[index]!.status === 'fulfilled');
      throw error;
    }
    if (this.#phase !== VOTE) return;
    for (const one of settled) this.#count((one as PromiseFulfilledResult<unknown>).value);
  }

  #call(manager: DataManager): unknown {
    if (this.#phase === BEGIN) return manager.tpcBegin(this.#txn);
    if (this.#phase === COMMIT) return manager.commit(this.#txn);
    // A deadline that ran out counts until the one who decides has been asked.
    this.#refuseCancelled();
    if (manager === this.#carrier) return this.#writeDecision();
    return events.vote.hasSubscribers ? observed('vote', this.#txn, manager) : manager.tpcVote(this.#txn);
  }

  #count(vote: unknown): void {
    if (vote === 'read-only') (this.#released ??= new Set()).add(this.#order[this.#voted]!);
    this.#voted++;
  }

  #refuseCancelled(): void {
    if (this.#txn.doomReason !== undefined) throw this.#txn.doomedError();
  }

  /** All have voted yes: from here only forward. A promise where that has to be written down first. */
  decide(): Promise<void> | undefined {
    // Where a last resource voted, its commit was the decision; a deadline that came later is too late.
    if (this.#txn.way !== 'one-phase' && this.#txn.way !== 'last-resource') this.#refuseCancelled();
    if (this.#decision === undefined || this.#carrier !== undefined) {
      this.#txn.decided = true;
      return undefined;
    }
    return this.#writeDecision();
  }

  async #writeDecision(): Promise<void> {
    const decision = this.#decision!;
    const write = (): Promise<void> => decision.store.decide(this.#txn, decision, this.#carrier);
    await (events.decide.hasSubscribers ? this.#observed(write) : write());
    this.#txn.decided = true;
  }

  #observed(write: () => Promise<void>): Promise<void> {
    const transaction = this.#txn;
    const startMs = environment.now();
    return watched(write, (_answer, error) =>
      events.decide.publish({
        transaction,
        way: transaction.way,
        durationMs: environment.now() - startMs,
        ...(error === undefined ? {} : { error }),
      }),
    );
  }

  /** Delivers what was stored with the decision; undefined where there is nothing. */
  deliver(): Promise<void> | undefined {
    const decision = this.#decision;
    if (decision === undefined || decision.messages.length === 0) return undefined;
    return decision.store.deliveries!.now(this.#txn.id, decision.messages);
  }

  /** Nothing of this commit is under way any more: what is left of it is recovery's. */
  over(): void {
    const { decision, id } = { decision: this.#decision, id: this.#txn.id };
    if (decision === undefined) return;
    decision.store.deactivate(id);
    if (this.#txn.decided && this.#failures === undefined) decision.store.finished(id);
  }

  /**
   * The resources that have not confirmed the commit and that recovery goes on with; undefined where there are others, or none that
   * do that.
   */
  pending(): readonly string[] | undefined {
    const failures = this.#failures;
    if (failures === undefined || this.#decision === undefined) return undefined;
    if (failures.some(({ manager, error }) => manager.recoverable === undefined || isHeuristic(error)))
      return undefined;
    return failures.map(({ manager }) => this.#txn.nameOf(manager));
  }

  /** The errors of those that failed to finish, where there are any. */
  get failures(): readonly Error[] {
    return this.#failures!.map(({ error }) => error);
  }

  /** Finishes the next one, or the next ones at once; false where all were told. What it throws is for {@link failedToFinish}. */
  finishNext(): unknown {
    while (this.#called < this.#order.length) {
      const end = this.#endOfGroup();
      if (end > this.#called + 1) return this.#finishAtOnce(end);
      const manager = this.#order[this.#called++]!;
      if (!this.#isReleased(manager)) return this.#finish(manager);
    }
    return false;
  }

  #finish(manager: DataManager): unknown {
    return events.finish.hasSubscribers ? observed('finish', this.#txn, manager) : manager.tpcFinish(this.#txn);
  }

  #isReleased(manager: DataManager): boolean {
    return this.#released !== undefined && this.#released.has(manager);
  }

  async #finishAtOnce(end: number): Promise<void> {
    const group = this.#order.slice(this.#called, end).filter((manager) => !this.#isReleased(manager));
    this.#called = end;
    const settled = await Promise.allSettled(group.map(async (manager) => this.#finish(manager)));
    for (const [index, one] of settled.entries()) {
      if (one.status === 'rejected') this.#recordFailure(group[index]!, one.reason);
    }
  }

  /** The one told last to finish has failed; the others are finished all the same. */
  failedToFinish(thrown: unknown): void {
    this.#recordFailure(this.#order[this.#called - 1]!, thrown);
  }

  #recordFailure(manager: DataManager, thrown: unknown): void {
    (this.#failures ??= []).push({ manager, error: toError(thrown) });
  }

  /** The error of a commit in which somebody didn't finish; undefined where all did. */
  inDoubt(): InDoubtError | undefined {
    const failures = this.#failures;
    if (failures === undefined) return undefined;
    const txn = this.#txn;
    const failed = failures.map(({ manager }) => manager);
    const unfinished = failed.map((manager) => txn.nameOf(manager));
    const finished = this.#order
      .filter((manager) => !failed.includes(manager) && !this.#released?.has(manager))
      .map((manager) => txn.nameOf(manager));
    const first = failures[0]!.error;
    const error = new InDoubtError(
      `every resource must finish once all have voted yes; ${list(unfinished)} did not (${first.message}), ${list(finished)} did; ` +
        `transaction ${txn.id} is decided to commit, so the work must not be repeated` +
        (failed.some((manager) => manager.recoverable !== undefined)
          ? '; what is prepared stays so until it is committed'
          : ''),
      { cause: first, xid: txn.id, resource: unfinished[0], phase: 'tpcFinish', finished, unfinished },
    );
    for (const failure of failures.slice(1)) suppress(error, failure.error);
    return error;
  }

  /** Undoes everything because of `error` (zope 69-74). */
  async undo(error: Error): Promise<void> {
    const voted = this.#order.slice(0, this.#voted).concat(this.#votedBeside ?? []);
    await cleanUp(this.#txn, this.#order, voted.length === 0 ? undefined : new Set(voted), error, this.#released);
    // Somebody has committed a part by hand: whoever gets the error may not look at what hangs on it.
    for (const failure of suppressedBy(error)) if (isHeuristic(failure)) this.#txn.manager.report(failure as Error);
  }

  /** Whether the last resource committed can't be known: what is prepared is held, the rest undone. */
  async hold(error: CommitOutcomeUnknownError): Promise<InDoubtError | CommitOutcomeUnknownError> {
    const txn = this.#txn;
    const others = this.#order.slice(0, this.#voted).filter((manager) => !this.#released?.has(manager));
    const held = others.filter((manager) => manager.hold !== undefined);
    await cleanUp(
      txn,
      this.#order.filter((manager) => !held.includes(manager)),
      new Set(this.#order.slice(0, this.#voted)),
      error,
      this.#released,
    );
    if (held.length === 0) return error;
    for (const manager of held) await attempt(() => manager.hold!(txn), error);
    if (this.#decision !== undefined) txn.resolved = this.#decision.store.whenResolved(txn.id);
    const unfinished = held.map((manager) => txn.nameOf(manager));
    return new InDoubtError(
      `the outcome at ${error.resource ?? 'the last resource'} must be known to end transaction ${txn.id}; its reply was lost, so ${list(unfinished)} ` +
        `stays prepared${this.#decision === undefined ? ': look there, then commit or roll back what is prepared to the same outcome' : ' until recovery can read the decision; transaction.resolved tells'}`,
      { cause: error, xid: txn.id, resource: error.resource, phase: 'tpcVote', finished: [], unfinished },
    );
  }
}
