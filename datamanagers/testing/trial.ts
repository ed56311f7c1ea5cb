/** One check at work: the resource, and the transactions and other data managers that it is tried with. */
import { isDeepStrictEqual } from 'node:util';
import { transaction } from '../../coordinator/default.ts';
import { suppress, toError } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { DataManager } from '../../coordinator/types.ts';
import { type Call, failureOf, listenTo, within } from './calls.ts';
import { RecordingDataManager, type RecordingOptions } from './recording.ts';
import { ConformanceError, type ContractRule, RULES } from './rules.ts';
import type { ConformanceSubject } from './subject.ts';

/** A subject, whatever it opens. */
export type AnySubject = ConformanceSubject<unknown>;

/** Where another data manager is called: before all sort keys, or after all. */
export const PLACES = { 'in front': '', behind: '\uffff' } as const;
export type Place = keyof typeof PLACES;

const DEFAULT_TIMEOUT_MS = 10_000;
const POLL_MS = 5;

/** Opens the resource, lets `check` try it, and sees to it that nothing is held and everything is closed. */
export async function runTrial(subject: AnySubject, check: (trial: Trial) => Promise<void>): Promise<void> {
  const timeoutMs = subject.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const resource = await within(timeoutMs, 'open()', () => subject.open());
  let failure: unknown;
  try {
    await new Trial(subject, resource, timeoutMs).run(check);
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    await within(timeoutMs, 'close()', () => subject.close(resource)).catch((error: unknown) => {
      if (failure === undefined) throw error;
      suppress(failure, error);
    });
  }
}

export class Trial {
  readonly subject: AnySubject;
  readonly resource: unknown;
  readonly #timeoutMs: number;
  readonly #others = new WeakSet<DataManager>();
  /** What others were to see while they are called, and haven't yet. */
  readonly #unseen = new Set<string>();
  #broken: unknown = undefined;
  #heldBefore: unknown = undefined;
  #mayHold = false;

  constructor(subject: AnySubject, resource: unknown, timeoutMs: number) {
    this.subject = subject;
    this.resource = resource;
    this.#timeoutMs = timeoutMs;
  }

  async run(check: (trial: Trial) => Promise<void>): Promise<void> {
    // What a data manager does by itself is looked at here, beside others that have changes too; not what is written down of it.
    this.coordinator.configure({ allowUnsafeCommit: true });
    this.#heldBefore = await this.#held();
    const stored = await this.stored();
    if (stored.length > 0) {
      throw new ConformanceError(
        undefined,
        `open() must open a resource with nothing stored; there was ${textOf(stored)}`,
      );
    }
    try {
      await check(this);
    } catch (error) {
      // What somebody has seen meanwhile comes first: the rest may follow from it.
      throw this.#broken ?? error;
    }
    if (this.#broken !== undefined) throw toError(this.#broken);
    const [unseen] = this.#unseen;
    if (unseen !== undefined) {
      throw new ConformanceError(undefined, `nothing was checked ${unseen}: it never came to that`);
    }
    if (!this.#mayHold) await this.expectNothingHeld('at the end of the check');
  }

  /** Calls `body` in a transaction of its own, and ends that by an abort, where `body` hasn't ended it. */
  async transaction(body: (txn: Transaction) => Promise<void>): Promise<void> {
    let giveUp!: (error: unknown) => void;
    const hung = new Promise<never>((_, reject) => {
      giveUp = reject;
    });
    const options = { attempts: 1, propagation: 'requires-new' } as const;
    const running = this.coordinator.run(async (txn) => {
      try {
        await this.#ended(txn, body);
      } catch (error) {
        // A commit or abort in which a call is never answered never ends either: nobody can wait for that.
        if (txn.completion !== undefined) giveUp(error);
        throw error;
      }
    }, options);
    await Promise.race([running, hung]);
  }

  async #ended(txn: Transaction, body: (txn: Transaction) => Promise<void>): Promise<void> {
    try {
      await body(txn);
    } catch (error) {
      const failure = await this.tryAbort(txn).catch((hung: unknown) => hung);
      throw failure === undefined ? error : suppress(error, failure);
    }
    // Also after a failed commit, when it comes once more.
    await this.abort(txn);
  }

  get coordinator(): typeof transaction {
    return this.subject.coordinator ?? transaction;
  }

  /** Does what may be asked of the subject or its data managers, for a bounded time. */
  within<T>(what: string, action: () => T): Promise<Awaited<T>> {
    return within(this.#timeoutMs, what, action);
  }

  /** The same, where failing would break a rule. */
  async must<T>(rule: ContractRule, what: string, action: () => T): Promise<Awaited<T>> {
    try {
      return await this.within(what, action);
    } catch (error) {
      if (error instanceof ConformanceError) throw error;
      throw new ConformanceError(rule, `${what} must succeed`, error);
    }
  }

  async write(...values: readonly string[]): Promise<void> {
    for (const value of values) {
      await this.within(`write(${value})`, () => this.subject.write(this.resource, value));
    }
  }

  /** What the transaction sees; undefined where that can't be told. */
  async read(): Promise<readonly string[] | undefined> {
    const seen = await this.within('read()', () => this.subject.read!(this.resource));
    return seen === undefined ? undefined : [...seen].toSorted();
  }

  /** What is stored, seen from outside of every transaction. */
  async stored(): Promise<readonly string[]> {
    const stored = await this.within('stored()', () => this.outside(() => this.subject.stored(this.resource)));
    return [...stored].toSorted();
  }

  async #held(): Promise<unknown> {
    const { held } = this.subject;
    return held === undefined ? undefined : await this.within('held()', () => this.outside(() => held(this.resource)));
  }

  /** Calls something outside of the transaction. */
  outside<T>(fn: () => T): T {
    return this.coordinator.suspend(fn);
  }

  /** The data managers with which the subject has joined. */
  joined(txn: Transaction): readonly DataManager[] {
    return txn.resources.filter((manager) => !this.#others.has(manager));
  }

  /** Writes down every call of the data managers with which the subject has joined until now, and how it ended. */
  watch(txn: Transaction): readonly Call[] {
    const calls: Call[] = [];
    for (const manager of this.joined(txn)) listenTo(manager, calls);
    return calls;
  }

  /** Joins another one, at a place among all. */
  other(txn: Transaction, place: Place, options: RecordingOptions = {}): RecordingDataManager {
    const other = new RecordingDataManager({ name: place, sortKey: PLACES[place], ...options });
    this.#others.add(other);
    txn.join(other);
    return other;
  }

  /** A look that another one takes while it is called, and that fails the check rather than the transaction. */
  look(when: string, at: () => Promise<void>): () => Promise<void> {
    this.#unseen.add(when);
    return async () => {
      this.#unseen.delete(when);
      try {
        await at();
      } catch (error) {
        this.#broken ??= error;
      }
    };
  }

  /** Commits; returns what the commit failed with, undefined where it didn't. */
  tryCommit(txn: Transaction): Promise<Error | undefined> {
    return failureOf(this.within('commit()', () => txn.commit()));
  }

  async commit(txn: Transaction): Promise<void> {
    const error = await this.tryCommit(txn);
    if (error === undefined) return;
    throw new ConformanceError(RULES.vote, 'a commit to which nobody says no must succeed', error);
  }

  /** The error of a commit that must fail. */
  async failingCommit(txn: Transaction, rule: ContractRule, because: string): Promise<Error> {
    const error = await this.tryCommit(txn);
    if (error === undefined) throw new ConformanceError(rule, `a commit must fail ${because}; it succeeded`);
    return error;
  }

  /** Throws where the cleanup because of `error` has failed somewhere. */
  demandClean(error: Error, rule: ContractRule): void {
    const [first] = (error as { suppressed?: readonly unknown[] }).suppressed ?? [];
    if (first !== undefined) throw new ConformanceError(rule, 'the cleanup after a no failed', first);
  }

  /** Aborts; returns what the abort failed with, undefined where it didn't. */
  tryAbort(txn: Transaction): Promise<Error | undefined> {
    return failureOf(this.within('abort()', () => txn.abort()));
  }

  async abort(txn: Transaction): Promise<void> {
    const isSecond = txn.status === 'commit failed';
    const error = await this.tryAbort(txn);
    if (error === undefined) return;
    throw new ConformanceError(
      isSecond ? RULES.onceMore : RULES.abort,
      isSecond ? 'the abort after a failed commit failed' : 'an abort failed',
      error,
    );
  }

  async expectStored(rule: ContractRule, when: string, ...values: readonly string[]): Promise<void> {
    const stored = await this.stored();
    if (!isDeepStrictEqual(stored, values.toSorted())) {
      throw new ConformanceError(rule, `${when} ${textOf(values)} must be stored; there was ${textOf(stored)}`);
    }
  }

  /** What it holds at the end it is meant to hold. */
  mayHold(): void {
    this.#mayHold = true;
  }

  /** Waits a moment: what is given back may be on its way. */
  async expectNothingHeld(when: string, rule: ContractRule = RULES.givenBack): Promise<void> {
    const end = performance.now() + this.#timeoutMs;
    for (;;) {
      const held = await this.#held();
      if (isDeepStrictEqual(held, this.#heldBefore)) return;
      if (performance.now() > end) {
        throw new ConformanceError(
          rule,
          `${when} it must hold what it held before, ${JSON.stringify(this.#heldBefore)}; it holds ${JSON.stringify(held)}`,
        );
      }
      await new Promise<void>((resolve) => {
        setTimeout(resolve, POLL_MS);
      });
    }
  }
}

/** Throws unless `holds`. */
export function demand(holds: boolean, rule: ContractRule, seen: string): asserts holds {
  if (!holds) throw new ConformanceError(rule, seen);
}

function textOf(values: readonly string[]): string {
  return values.length === 0 ? 'nothing' : values.join(', ');
}
