/**
 * The phases of a commit over the joined data managers, in zope's order (zope 63-77 and the departures from 72, 73 and
 * 138-140). After all votes only forward: whoever has voted yes is finished, whatever another one throws.
 *
 * Places kept for what comes with a decision store: the decision is written where {@link TwoPhaseCommit.decide} is, and
 * recovery finds what is left by {@link RecoverableResource}.
 */
import { attempt, cleanUp } from './cleanup.ts';
import {
  type CommitOutcomeUnknownError,
  InDoubtError,
  TooManyLastResourcesError,
  list,
  suppress,
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
  /** How many have voted yes. */
  #voted = 0;
  /** Those whose read-only vote has released them. */
  #released: Set<DataManager> | undefined = undefined;
  #failures: { manager: DataManager; error: Error }[] | undefined = undefined;

  constructor(txn: Transaction) {
    this.#txn = txn;
    this.#order = inSortOrder(txn.resources, txn.sortKeys);
  }

  /**
   * Calls on until an answer has to be awaited, and returns that; undefined once all have voted yes. A "no" is thrown.
   * `answer` is the awaited answer of the call before.
   */
  advance(answer?: unknown): PromiseLike<unknown> | undefined {
    if (this.#phase === VOTE && this.#called > 0) this.#count(answer);
    for (; this.#phase < VOTED; this.#phase++) {
      if (this.#phase === VOTE && this.#called === 0) this.#order = chooseWay(this.#txn, this.#order);
      while (this.#called < this.#order.length) {
        const given = this.#call(this.#order[this.#called++]!);
        if (isThenable(given)) return given;
        if (this.#phase === VOTE) this.#count(given);
      }
      this.#called = 0;
    }
    return undefined;
  }

  #call(manager: DataManager): unknown {
    if (this.#phase === BEGIN) return manager.tpcBegin(this.#txn);
    if (this.#phase === COMMIT) return manager.commit(this.#txn);
    // A deadline that ran out counts until the one who decides has been asked.
    this.#refuseCancelled();
    return manager.tpcVote(this.#txn);
  }

  #count(vote: unknown): void {
    if (vote === 'read-only') (this.#released ??= new Set()).add(this.#order[this.#voted]!);
    this.#voted++;
  }

  #refuseCancelled(): void {
    if (this.#txn.doomReason !== undefined) throw this.#txn.doomedError();
  }

  /** All have voted yes: from here only forward. */
  decide(): void {
    // Where a last resource voted, its commit was the decision; a deadline that came later is too late.
    if (this.#txn.way !== 'one-phase' && this.#txn.way !== 'last-resource') this.#refuseCancelled();
    this.#txn.decided = true;
  }

  /** Finishes the next one; false where all were told. What it throws is for {@link failedToFinish}. */
  finishNext(): unknown {
    while (this.#called < this.#order.length) {
      const manager = this.#order[this.#called++]!;
      if (this.#released === undefined || !this.#released.has(manager)) return manager.tpcFinish(this.#txn);
    }
    return false;
  }

  /** The one told last to finish has failed; the others are finished all the same. */
  failedToFinish(thrown: unknown): void {
    (this.#failures ??= []).push({ manager: this.#order[this.#called - 1]!, error: toError(thrown) });
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
    const voted = this.#voted === 0 ? undefined : new Set(this.#order.slice(0, this.#voted));
    await cleanUp(this.#txn, this.#order, voted, error, this.#released);
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
    const unfinished = held.map((manager) => txn.nameOf(manager));
    return new InDoubtError(
      `the outcome at ${error.resource ?? 'the last resource'} must be known to end transaction ${txn.id}; its reply was lost, so ${list(unfinished)} ` +
        `stays prepared: look there, then commit or roll back what is prepared to the same outcome`,
      { cause: error, xid: txn.id, resource: error.resource, phase: 'tpcVote', finished: [], unfinished },
    );
  }
}

/** By sort key, compared by code unit; equal keys in join order (zope 64, 65). */
function inSortOrder(managers: readonly DataManager[], keys: readonly string[]): readonly DataManager[] {
  let sorted = true;
  for (let index = 1; index < keys.length && sorted; index++) sorted = !(keys[index]! < keys[index - 1]!);
  if (sorted) return managers;
  const order = managers.map((_, index) => index);
  order.sort((a, b) => (keys[a]! < keys[b]! ? -1 : keys[a]! > keys[b]! ? 1 : a - b));
  return order.map((index) => managers[index]!);
}

/**
 * Finds out which way this commit goes, from what has changes, and puts the one that commits by its vote last.
 * @throws TooManyLastResourcesError before anyone votes, where two can only commit in one phase.
 */
function chooseWay(txn: Transaction, order: readonly DataManager[]): readonly DataManager[] {
  let lastResource: DataManager | undefined;
  let durable: DataManager | undefined;
  let lastResources = 0;
  let durables = 0;
  let plain = 0;
  for (const manager of order) {
    const changed = manager.changed;
    if (manager.lastResource === true) {
      if (changed === false) continue;
      lastResources++;
      lastResource = manager;
    } else if (changed === true) {
      durables++;
      durable = manager;
    } else if (changed === undefined) {
      plain++;
    }
  }
  if (lastResources > 1 && !txn.manager.allowUnsafeLastResources) {
    const names = order.filter((m) => m.lastResource === true && m.changed !== false).map((m) => txn.nameOf(m));
    throw new TooManyLastResourcesError(
      `at most one resource of a transaction may be unable to prepare; ${list(names)} can only commit in one phase, so that one could commit and the next fail; nothing was committed`,
      { xid: txn.id, phase: 'tpcVote' },
    );
  }
  if (lastResource === undefined && durables === 1 && durable!.onePhase === true) {
    lastResource = durable;
    durables = 0;
  }
  if (lastResource !== undefined) txn.way = durables === 0 ? 'one-phase' : 'last-resource';
  else txn.way = durables === 0 && plain === 0 ? 'read-only' : 'two-phase';
  if (lastResources > 1)
    return [...order.filter((m) => m.lastResource !== true), ...order.filter((m) => m.lastResource === true)];
  if (lastResource === undefined || order.at(-1) === lastResource) return order;
  return [...order.filter((m) => m !== lastResource), lastResource];
}
