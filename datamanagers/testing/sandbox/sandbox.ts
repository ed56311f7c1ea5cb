/**
 * A sandbox: while it is open, the transactions of a coordinator are savepoints of one for each database, which is never committed. All else
 * about them is real: their phases, hooks, status and errors are those of the machine.
 */
import { transaction } from '../../../coordinator/default.ts';
import { TransactionCoordinator } from '../../../coordinator/coordinator.ts';
import { Decisions } from '../../../coordinator/decisions.ts';
import { TransactionStateError, list, suppress, toError } from '../../../coordinator/errors.ts';
import { TransactionManager } from '../../../coordinator/manager.ts';
import { NO_OPTIONS, type Rule, type Rules, aBoolean } from '../../../coordinator/options.ts';
import { isFinished } from '../../../coordinator/status.ts';
import { isThenable } from '../../../coordinator/thenable.ts';
import { Transaction } from '../../../coordinator/transaction.ts';
import type { Awaitable, DataManager, Session } from '../../../coordinator/types.ts';
import { SqlBranch } from '../../sql/branch.ts';
import type { SqlConnection } from '../../sql/connection.ts';
import type { SqlSandbox } from '../../sql/sandbox.ts';
import type { SqlSession } from '../../sql/session.ts';
import { SandboxDecisionLog } from './decisions.ts';
import { OuterBranch, type Surroundings } from './outer.ts';
import { Place, Places } from './places.ts';
import { beginOn } from './stand-in.ts';
import { outlived, whereabouts } from './whereabouts.ts';
import { type Keeper, type Withheld, withhold } from './withhold.ts';

/** Options of {@link rollback} and {@link rollbackPerTest}. */
export interface SandboxOptions {
  /** The coordinator whose transactions are in the sandbox; default the process-wide `transaction`. */
  coordinator?: TransactionCoordinator | undefined;
  /** Sessions that are not in it: what they commit is for good, and the test's to clean up. */
  letThrough?: readonly Session[] | undefined;
  /**
   * Whether it is fine that something is undone which elsewhere would have stayed: what was committed inside of a transaction
   * (`requires-new`) that was rolled back later. Default false: `end()` rejects then.
   */
  allowLostCommits?: boolean | undefined;
}

const aCoordinator: Rule = {
  requires: 'a TransactionCoordinator',
  accepts: (value) => value instanceof TransactionCoordinator,
};
const sessions: Rule = { requires: 'an array of sessions', accepts: Array.isArray };
/** @internal */
export const sandboxRules: Rules<SandboxOptions> = {
  coordinator: aCoordinator,
  letThrough: sessions,
  allowLostCommits: aBoolean,
};

/** Longer than any test; the lease of nobody. */
const LEASE_MS = 3_600_000;
const DECISION_TIMEOUT_MS = 1_000;

/** One opening of a sandbox, from its beginning to its end. */
export class OpenSandbox implements SqlSandbox, Surroundings, Keeper {
  readonly places: Places = new Places();
  /** Why no transaction may begin. */
  readonly refusal: () => Error | undefined = () => (this.isOver ? endedError() : outlived());
  readonly outlived: () => Error | undefined = outlived;
  /** What would have left the process, oldest first. */
  readonly items: Withheld[] = [];
  isOver = false;
  readonly #coordinator: TransactionCoordinator;
  #decisions: Decisions | undefined = undefined;
  readonly #letThrough: readonly unknown[];
  readonly #allowsLostCommits: boolean;
  readonly #errors: Error[] = [];
  /** The transaction that is never committed, and its parts, which hold the connections. */
  readonly #outer: Transaction;
  readonly #branches = new Map<SqlSession, OuterBranch>();
  readonly #open = new Map<Transaction, Place>();
  readonly #undo: (() => Awaitable<void>)[] = [];
  readonly #lost: string[] = [];

  private constructor(coordinator: TransactionCoordinator, options: SandboxOptions) {
    this.#coordinator = coordinator;
    this.#letThrough = options.letThrough ?? [];
    this.#allowsLostCommits = options.allowLostCommits ?? false;
    // Not begun: nobody is told of it who observes transactions, or watches how long they take.
    this.#outer = new Transaction(new TransactionManager(), NO_OPTIONS);
  }

  /** Made when they are first asked for: the coordinator may get its decision log later than its sandbox. */
  get decisions(): Decisions | undefined {
    const { decidesIn } = this.#coordinator;
    if (this.#decisions !== undefined || decidesIn === undefined) return this.#decisions;
    this.#decisions = new Decisions({
      log: new SandboxDecisionLog(decidesIn.log),
      app: decidesIn.app,
      node: 'sandbox',
      leaseMs: LEASE_MS,
      timeoutMs: DECISION_TIMEOUT_MS,
      deliveryAttempts: 1,
      report: (error) => this.#errors.push(error),
    });
    return this.#decisions;
  }

  /** @throws ConfigurationError for unknown or impossible options, TransactionStateError where it can't be opened now. */
  static enter(options: SandboxOptions): OpenSandbox {
    const { coordinator = transaction } = options;
    if (coordinator.sandbox !== undefined) throw openError();
    const sandbox = new OpenSandbox(coordinator, options);
    coordinator.enterSandbox(sandbox);
    return sandbox;
  }

  /** Calls `fn` so that what it starts is known to be of this sandbox. */
  run<T>(fn: () => T): T {
    return whereabouts.run({ sandbox: this, place: undefined }, fn);
  }

  began(txn: Transaction, parent: Transaction | undefined): void {
    for (const known of this.#open.keys()) if (isFinished(known.status)) this.#open.delete(known);
    const outer = (parent === undefined ? undefined : this.#open.get(parent)) ?? this.place();
    // Its id is to be asked for when it is ready, not before.
    this.#open.set(txn, new Place(() => `transaction ${txn.id}`, outer));
  }

  joined(txn: Transaction, manager: DataManager): void {
    if (!(manager instanceof SqlBranch)) withhold(txn, manager, this);
  }

  suspended<R>(txn: Transaction | undefined, fn: () => R): R {
    const place = (txn === undefined ? undefined : this.#open.get(txn)) ?? this.place();
    return whereabouts.run({ sandbox: this, place }, fn);
  }

  place(): Place | undefined {
    const here = whereabouts.getStore();
    return here?.sandbox === this ? here.place : undefined;
  }

  connectionFor(
    session: SqlSession,
    txn: Transaction,
    cancelled: () => Promise<never>,
  ): Promise<SqlConnection> | undefined {
    const place = this.#open.get(txn);
    if (place === undefined || this.#letThrough.includes(session)) return undefined;
    return this.#connect(session, txn, place, cancelled);
  }

  async #connect(
    session: SqlSession,
    txn: Transaction,
    place: Place,
    cancelled: () => Promise<never>,
  ): Promise<SqlConnection> {
    return beginOn(this.#outerOf(session), txn, place, this, cancelled);
  }

  outside(session: SqlSession): SqlBranch | undefined {
    const outlivedBy = this.refusal();
    if (outlivedBy !== undefined) throw outlivedBy;
    return this.#letThrough.includes(session) ? undefined : this.#outerOf(session);
  }

  #outerOf(session: SqlSession): OuterBranch {
    let branch = this.#branches.get(session);
    if (branch === undefined) {
      if (this.isOver) throw endedError();
      branch = new OuterBranch(session, this.#outer, this);
      this.#branches.set(session, branch);
    }
    return branch;
  }

  lost(what: readonly string[], by: string): void {
    for (const each of what) this.#lost.push(`${each} (inside of ${by})`);
  }

  withheld(item: Withheld): void {
    this.items.push(item);
  }

  undo(step: () => Awaitable<void>): void {
    this.#undo.push(step);
  }

  isLetThrough(txn: Transaction, manager: DataManager): boolean {
    return this.#letThrough.some((session) => txn.joined(session) === manager);
  }

  /** Rolls everything back. @throws TransactionStateError for what a test must not leave or hide; all was rolled back all the same. */
  async leave(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    const errors = this.#errors;
    const attempt = async (step: () => Awaitable<unknown>): Promise<void> => {
      try {
        const done = step();
        if (isThenable(done)) await done;
      } catch (thrown) {
        errors.push(toError(thrown));
      }
    };
    // Inner ones before those that they were begun in.
    for (const txn of [...this.#open.keys()].toReversed()) await attempt(() => this.#end(txn));
    this.#outer.transition('aborting');
    for (const branch of this.#branches.values()) await attempt(() => branch.abort());
    this.#outer.transition('aborted');
    await attempt(() => this.#decisions?.close());
    for (const step of this.#undo.toReversed()) await attempt(step);
    this.#coordinator.leaveSandbox(this);
    if (this.#lost.length > 0 && !this.#allowsLostCommits) errors.push(lostError(this.#lost));
    const [first, ...others] = errors;
    if (first === undefined) return;
    for (const other of others) suppress(first, other);
    throw first;
  }

  async #end(txn: Transaction): Promise<void> {
    if (txn.completion !== undefined) await txn.completion.catch(() => undefined);
    if (isFinished(txn.status)) return;
    // One whose commit has failed is over, but for its abort.
    const isLeft = txn.status !== 'commit failed';
    const error = new TransactionStateError(
      `every transaction of a test must have ended when its sandbox does; ${txn.id}${txn.description === '' ? '' : ` (${txn.description})`} was left ${txn.status}, and is rolled back: await it`,
      { xid: txn.id },
    );
    for (const manager of txn.resources.slice()) manager.cancel?.(error);
    await txn.abort().catch((failure: unknown) => suppress(error, failure));
    if (isLeft) throw error;
  }
}

function openError(): TransactionStateError {
  return new TransactionStateError(
    'a coordinator has one sandbox at a time, as its transactions must be told which they are in; one is open: ' +
      'end that first, run the tests of a file one after the other, or give each its own coordinator and sessions',
  );
}

function endedError(): TransactionStateError {
  return new TransactionStateError(
    'a transaction begins in a sandbox while that is open; it is being ended, so that nothing more begins',
  );
}

function lostError(lost: readonly string[]): TransactionStateError {
  return new TransactionStateError(
    `what is committed inside of another transaction stays when that is rolled back; in a sandbox it doesn't, and so ${list(lost)} was undone, which elsewhere would have been stored: ` +
      'test this without a sandbox, or say allowLostCommits where it makes no difference',
  );
}
