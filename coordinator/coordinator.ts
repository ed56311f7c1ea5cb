/** The front of the machine: the same calls, for the manager of the calling asynchronous context. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ContextManager, type ContextOwner, Scope, type ScopeStorage } from './context.ts';
import {
  AlreadyInTransaction,
  ConfigurationError,
  TransactionClosed,
  TransactionStateError,
  describe,
  list,
  toError,
} from './errors.ts';
import { Decisions } from './decisions.ts';
import { environment } from './environment.ts';
import { type ManagerOptions, checkRun, managerRules, noTransaction, type TransactionManager } from './manager.ts';
import { aDecisionLog, aDelay, aString, bare, checkOptions, recoveryRule } from './options.ts';
import { type CoordinatorInspection, inspectTransaction } from './inspect.ts';
import { Recovery, type RecoveryReport } from './recovery.ts';
import { RecoveryLoop } from './recovery-loop.ts';
import { emitWarning } from './report.ts';
import { type Attempt, NO_RUN_OPTIONS, attemptsOf, coordinatorRunRules, runOwned } from './run.ts';
import { type NestedFrame, checkFrame } from './nested-frame.ts';
import { runJoined, runNested } from './run-joined.ts';
import type { Sandbox } from './sandbox.ts';
import type { Savepoint } from './savepoint.ts';
import { isThenable, started } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type {
  AttemptOptions,
  Awaitable,
  CoordinatorRunOptions,
  DecisionLog,
  OutboxTarget,
  Propagation,
  RecoverableResource,
  Synchronizer,
  TransactionOptions,
} from './types.ts';
import { Watch, type WatchOptions, watchRule } from './watch.ts';
import { XidSource } from './xid.ts';

/** Options of a coordinator. */
export interface CoordinatorOptions extends ManagerOptions {
  /** First part of every transaction id, 1 to 12 of `A-Z a-z 0-9 _ . -`; tells applications on one server apart. */
  app?: string | undefined;
  /**
   * Where the decision to commit changes of several resources is written down, so that a crash leaves nothing half done. Set once,
   * before the first transaction.
   */
  decisionLog?: DecisionLog | undefined;
  /**
   * How long to go on finding out whether a decision was written whose answer was lost, in milliseconds, before what is prepared is
   * held until the store can be reached again ({@link InDoubtError}); default 10,000.
   */
  decisionTimeoutMs?: number | undefined;
  /** Name of this process in the decision store, for people; default its host and number. */
  node?: string | undefined;
  /** How what crashed processes have left prepared is recovered; on wherever there is a decision log. `false` for off. */
  recovery?: RecoveryOptions | false | undefined;
  /** Warns of transactions that take too long, or that nobody works in any more; off by default, and with `false`. */
  watch?: WatchOptions | false | undefined;
}

/** How recovery runs. */
export interface RecoveryOptions {
  /** Mean time between two passes, in milliseconds; default 5,000. */
  everyMs?: number | undefined;
  /**
   * How long this process may be silent before another one takes it for dead and its open transactions over several resources are
   * rolled back, in milliseconds; default 15,000.
   */
  leaseMs?: number | undefined;
  /** Resources besides the sessions that are registered or used in this process. */
  resources?: readonly RecoverableResource[] | undefined;
  /** After how many failures a message of the outbox is dead, until an operator says otherwise; default 20. */
  deliveryAttempts?: number | undefined;
  /**
   * For how long a branch may be prepared before `onError` is told ({@link RecoveryWarning}), in milliseconds; default 60,000.
   */
  oldBranchMs?: number | undefined;
  /** Told of what each pass has done. */
  onPass?: ((report: RecoveryReport) => void) | undefined;
}

const coordinatorRules = {
  ...managerRules,
  app: aString,
  decisionLog: aDecisionLog,
  decisionTimeoutMs: aDelay,
  node: aString,
  recovery: recoveryRule,
  watch: watchRule,
};

const DEFAULT_EVERY_MS = 5_000;
const DEFAULT_LEASE_MS = 15_000;
const DEFAULT_DELIVERY_ATTEMPTS = 20;
const DEFAULT_OLD_BRANCH_MS = 60_000;
const DEFAULT_DECISION_TIMEOUT_MS = 10_000;

/** What can't be changed once decisions may have been taken. */
const DECIDED_ONCE = ['app', 'decisionLog', 'decisionTimeoutMs', 'node', 'recovery'] as const;

const DEFAULT_CLOSE_TIMEOUT_MS = 30_000;

type WithTransaction = Exclude<Propagation, 'supports' | 'not-supported' | 'never'>;
type MaybeWithout = 'supports' | 'not-supported' | 'never';

/**
 * One manager for each asynchronous context, and the calls to the current one. `transaction` is the process-wide default;
 * make another only for transactions that are to know nothing of those.
 */
export class TransactionCoordinator {
  readonly #storage: ScopeStorage = new AsyncLocalStorage<Scope | undefined>();
  #options: CoordinatorOptions = bare({});
  #ids: XidSource | undefined = undefined;
  readonly #owner: ContextOwner;
  readonly #open = new Set<Transaction>();
  #watch: Watch | undefined = undefined;
  #closed = false;
  #whenIdle: (() => void) | undefined = undefined;
  #decisions: Decisions | undefined = undefined;
  #recovery: Recovery | undefined = undefined;
  #loop: RecoveryLoop | undefined = undefined;
  #sandbox: Sandbox | undefined = undefined;
  /** Of the last sandbox: it goes on for what has outlived that. */
  #refusal: Sandbox['refusal'] | undefined = undefined;
  readonly #resources = new Set<RecoverableResource>();
  readonly #targets = new Set<OutboxTarget>();

  /** @throws ConfigurationError for unknown or impossible options. */
  constructor(options: CoordinatorOptions = {}) {
    const self = this;
    this.#owner = {
      storage: this.#storage,
      get managerOptions(): ManagerOptions {
        return self.#managerOptions;
      },
      refusal: () => (this.#closed ? closedError() : this.#refusal?.()),
      nextId: () => this.#owner.decisions()?.nextId() ?? (this.#ids ??= new XidSource(this.#options.app)).next(),
      decisions: () => (this.#sandbox === undefined ? this.#decisions : this.#sandbox.decisions),
      sandbox: () => this.#sandbox,
      watch: () => this.#watch,
      opened: (txn) => {
        this.#open.add(txn);
        this.#watch?.began(txn);
      },
      ended: (txn) => {
        this.#open.delete(txn);
        if (this.#open.size === 0) this.#whenIdle?.();
      },
    };
    this.configure(options);
  }

  #managerOptions: ManagerOptions = bare({});

  /**
   * Sets options; those not named stay. They hold for contexts opened from now on.
   * @throws ConfigurationError for unknown or impossible options.
   */
  configure(options: CoordinatorOptions): void {
    checkOptions('configure()', options, coordinatorRules);
    if (options.app !== undefined) this.#ids = new XidSource(options.app);
    if (this.#decisions !== undefined && DECIDED_ONCE.some((name) => options[name] !== undefined)) {
      throw new ConfigurationError(
        `${list(DECIDED_ONCE)} are set once, together with the decision log; this coordinator has one already`,
      );
    }
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = bare({ ...this.#options, ...Object.fromEntries(given) });
    const {
      app: _app,
      decisionLog,
      decisionTimeoutMs: _timeout,
      node: _node,
      recovery: _recovery,
      watch,
      ...manager
    } = this.#options;
    this.#managerOptions = bare(manager);
    if (decisionLog !== undefined && this.#decisions === undefined) this.#decideIn(decisionLog);
    if (options.watch !== undefined) {
      this.#watch?.stop();
      this.#watch = watch === undefined || watch === false ? undefined : new Watch(watch, () => this.#open);
    }
  }

  #decideIn(log: DecisionLog): void {
    const { app, decisionTimeoutMs, node, recovery = {} } = this.#options;
    const report = (error: Error): void => (this.#options.onError ?? emitWarning)(error);
    const given = recovery === false ? {} : recovery;
    this.#decisions = new Decisions({
      log,
      app,
      node: node ?? environment.processName(),
      leaseMs: given.leaseMs ?? DEFAULT_LEASE_MS,
      timeoutMs: decisionTimeoutMs ?? DEFAULT_DECISION_TIMEOUT_MS,
      deliveryAttempts: given.deliveryAttempts ?? DEFAULT_DELIVERY_ATTEMPTS,
      report,
    });
    for (const target of this.#targets) this.#decisions.deliveries?.add(target);
    for (const resource of given.resources ?? []) this.#resources.add(resource);
    const oldMs = given.oldBranchMs ?? DEFAULT_OLD_BRANCH_MS;
    this.#recovery = new Recovery(this.#decisions, () => this.#resources, { oldMs, report });
    if (recovery === false) return;
    const everyMs = given.everyMs ?? DEFAULT_EVERY_MS;
    this.#loop = new RecoveryLoop(this.#recovery, { everyMs, report, onPass: given.onPass });
    this.#loop.start();
  }

  /** @internal Makes a resource known to recovery. */
  recovers(resource: RecoverableResource): void {
    this.#resources.add(resource);
  }

  /** @internal Makes known who delivers the messages of its name. */
  delivers(target: OutboxTarget): void {
    this.#targets.add(target);
    this.#decisions?.deliveries?.add(target);
  }

  /**
   * Ends what crashed processes have left prepared, now, and resolves with what was done. It runs by itself every few seconds; any
   * number of processes may run it at once.
   *
   * @throws ConfigurationError without a decision log, and what the decision store throws where it can't be reached.
   */
  async recover(): Promise<RecoveryReport> {
    if (this.#recovery === undefined) {
      throw new ConfigurationError(
        'recovery needs the decisions that were taken; this coordinator has no decision log: configure({ decisionLog })',
      );
    }
    return this.#recovery.pass();
  }

  /** Explicit mode (default true) or zope's implicit mode (zope 6, 19): of this context, and of those opened from now on. */
  get explicit(): boolean {
    return this.#storage.getStore()?.manager.explicit ?? this.#options.explicit ?? true;
  }
  set explicit(value: boolean) {
    this.configure({ explicit: value });
    const scope = this.#storage.getStore();
    if (scope !== undefined) scope.manager.explicit = value;
  }

  /** The manager of this context; where there is no context, one is bound to the calling chain (zope 18). */
  get manager(): TransactionManager {
    return this.#scope().manager;
  }

  /** What outlives the transactions of this context; undefined outside of any. */
  get home(): object | undefined {
    return this.#storage.getStore()?.manager.home;
  }

  #scope(): Scope {
    let scope = this.#storage.getStore();
    if (scope === undefined) {
      scope = new Scope(new ContextManager(this.#owner, undefined), undefined);
      this.#storage.enterWith(scope);
    }
    return scope;
  }

  /** The current transaction of this context, or undefined; never throws, never makes one. */
  get current(): Transaction | undefined {
    return this.#storage.getStore()?.current;
  }

  /**
   * Begins a transaction in this context; outside of any context, binds one to the calling asynchronous chain. What runs after
   * it in the same function, and what that calls, is in it; {@link run} does the same for a function.
   *
   * @throws AlreadyInTransaction where the context has one, also where a sibling has begun it (zope 8).
   * @throws ConfigurationError for unknown or impossible options, DoomedTransaction when the signal is aborted already.
   * @throws TransactionClosed after {@link close}.
   */
  begin(options?: TransactionOptions): Promise<Transaction> {
    const scope = this.#storage.getStore();
    const manager = scope === undefined ? new ContextManager(this.#owner, undefined) : scope.manager;
    return manager.begin(options);
  }

  /**
   * The current transaction; implicit mode makes one where there is none (zope 4).
   * @throws NoTransaction where none was begun, TransactionClosed where it is over.
   */
  get(): Transaction {
    const scope = this.#storage.getStore();
    if (scope !== undefined) return scope.get();
    if (this.explicit) throw noTransaction();
    return this.#scope().get();
  }

  /**
   * The current transaction, for a data manager of the calling code to work in now.
   * @throws as {@link get} does, and ConcurrentUseError while a nested run is open that the calling code isn't in.
   */
  enlist(): Transaction {
    const txn = this.get();
    checkFrame(txn, this.#storage.getStore()!.frame);
    return txn;
  }

  /** Commits the current transaction; see {@link Transaction.commit}. */
  commit(): Promise<void> {
    try {
      return this.get().commit();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Aborts the current transaction; see {@link Transaction.abort}. */
  abort(): Promise<void> {
    try {
      return this.get().abort();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Dooms the current transaction; see {@link Transaction.doom}. */
  doom(): void {
    this.get().doom();
  }

  /** Whether the current transaction is doomed. */
  isDoomed(): boolean {
    return this.get().isDoomed();
  }

  /** Makes a savepoint of the current transaction; see {@link Transaction.savepoint}. @throws as {@link enlist} does. */
  async savepoint(optimistic = false): Promise<Savepoint> {
    return this.enlist().savepoint(optimistic);
  }

  /**
   * Calls `fn` in a transaction: commits when it returns, aborts when it throws, and tries again when the error is transient.
   * Where one is active already, `propagation` says what happens; by default `fn` takes part in it, and is not retried.
   *
   * @returns what `fn` returns.
   * @throws What `fn` threw or the commit, unchanged; a failure of the abort hangs on it as `suppressed`.
   * @throws RangeError unless `attempts` is a whole number of at least 1, ConfigurationError for other impossible options.
   */
  run<T>(
    fn: (txn: Transaction) => Awaitable<T>,
    options?: CoordinatorRunOptions & { propagation?: WithTransaction | undefined },
  ): Promise<T>;
  /** The same where there may be no transaction. */
  run<T>(
    fn: (txn: Transaction | undefined) => Awaitable<T>,
    options: CoordinatorRunOptions & { propagation: MaybeWithout },
  ): Promise<T>;
  run<T>(fn: (txn: never) => Awaitable<T>, options: CoordinatorRunOptions = NO_RUN_OPTIONS): Promise<T> {
    const inside = fn as (txn: Transaction | undefined) => Awaitable<T>;
    if (options === NO_RUN_OPTIONS && typeof fn === 'function' && this.current === undefined) {
      return this.#runOwn(inside, NO_RUN_OPTIONS);
    }
    try {
      return this.#runAs(inside, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #runAs<T>(inside: (txn: Transaction | undefined) => Awaitable<T>, options: CoordinatorRunOptions): Promise<T> {
    checkRun(inside, options, coordinatorRunRules);
    const { propagation = 'required', ...own } = options;
    const current = this.current;
    switch (propagation) {
      case 'required':
        return current === undefined ? this.#runOwn(inside, own) : this.#runJoined(current, inside, own);
      case 'requires-new':
        return this.#runOwn(inside, own);
      case 'nested':
        return current === undefined ? this.#runOwn(inside, own) : this.#runNested(current, inside, own);
      case 'mandatory':
        return this.#runJoined(this.get(), inside, own);
      case 'supports':
        return current === undefined ? callWithout(inside) : this.#runJoined(current, inside, own);
      case 'not-supported':
        return this.suspend(() => callWithout(inside));
      case 'never':
        if (current === undefined) return callWithout(inside);
        throw new AlreadyInTransaction(
          `a function with the propagation 'never' needs a context without a transaction; this one's is ${current.status}`,
          { xid: current.id },
        );
    }
  }

  #runJoined<T>(txn: Transaction, fn: (txn: Transaction) => Awaitable<T>, options: CoordinatorRunOptions): Promise<T> {
    return runJoined(txn, this.#storage.getStore()?.frame, fn, options);
  }

  #runNested<T>(txn: Transaction, fn: (txn: Transaction) => Awaitable<T>, options: CoordinatorRunOptions): Promise<T> {
    const { manager, frame } = this.#storage.getStore()!;
    const place = {
      frame,
      inside: <R>(inner: NestedFrame, body: () => R): R =>
        this.#storage.run(new Scope(manager, txn, inner), () => started(body())),
    };
    return runNested(txn, place, fn, options);
  }

  #runOwn<T>(fn: (txn: Transaction) => Awaitable<T>, options: CoordinatorRunOptions): Promise<T> {
    const scope = this.#ownScope();
    return this.#storage.run(scope, runOwned<T, ContextManager>, scope.manager, fn, options, left);
  }

  /** A context for one transaction, inside of the one where it is called: the same synchronizers, another manager. */
  #ownScope(): Scope {
    const scope = this.#storage.getStore();
    return new Scope(new ContextManager(this.#owner, scope?.manager, scope?.current), undefined);
  }

  /**
   * Attempts for a loop: `for await (const attempt of transaction.attempts(3)) await attempt(async (txn) => { … })`. Each has a
   * context of its own. The loop ends after the first success; a transient error leads to the next attempt, but for the last
   * (zope 25-33).
   */
  attempts(number = 3, options: AttemptOptions = {}): AsyncGenerator<Attempt, void, undefined> {
    const enter = async <T>(body: (manager: ContextManager) => Promise<T>): Promise<T> => {
      const scope = this.#ownScope();
      try {
        return await this.#storage.run(scope, body, scope.manager);
      } finally {
        await left(scope.manager);
      }
    };
    return attemptsOf(enter, number, options);
  }

  /**
   * Calls `fn` in a fresh, empty context, and returns what it returns. A transaction that it leaves open is aborted, and
   * that is reported to `onError`.
   */
  context<R>(fn: () => R): R {
    checkFunction('context', fn);
    const manager = new ContextManager(this.#owner, undefined);
    let result: R;
    try {
      result = this.#storage.run(new Scope(manager, undefined), () => started(fn()));
    } catch (error) {
      void leave(manager);
      throw error;
    }
    if (!isThenable(result)) {
      void leave(manager);
      return result;
    }
    return (async (): Promise<unknown> => {
      try {
        return await result;
      } finally {
        await leave(manager);
      }
    })() as R;
  }

  /** Wraps a background function so that it never sees the transaction of whoever calls or schedules it. */
  detached<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => R {
    checkFunction('detached', fn);
    return (...args) => this.#storage.run(undefined, () => started(fn(...args)));
  }

  /** Calls `fn` without a transaction; the current one waits untouched, and is current again afterwards. */
  suspend<R>(fn: () => R): R {
    checkFunction('suspend', fn);
    const without = (): R => this.#storage.run(undefined, () => started(fn()));
    return this.#sandbox === undefined ? without() : this.#sandbox.suspended(this.current, without);
  }

  /** @internal The sandbox that is open; undefined where none is. */
  get sandbox(): Sandbox | undefined {
    return this.#sandbox;
  }

  /** @internal The log and the application that decisions in a sandbox stand in for. */
  get decidesIn(): { readonly log: DecisionLog; readonly app: string | undefined } | undefined {
    const log = this.#decisions?.log;
    return log === undefined ? undefined : { log, app: this.#options.app };
  }

  /** @internal From now on transactions are in `sandbox`. @throws TransactionStateError where one is open. */
  enterSandbox(sandbox: Sandbox): void {
    if (this.#open.size > 0) {
      throw new TransactionStateError(
        `a sandbox opens while no transaction is open, as that would be outside of it; ${this.#open.size} are: await their end first`,
      );
    }
    this.#sandbox = sandbox;
    this.#refusal = sandbox.refusal;
  }

  /** @internal From now on transactions are for good again. `sandbox` is the one that is open, as no other opens before it is left. */
  leaveSandbox(sandbox: Sandbox): void {
    this.#sandbox = undefined;
    this.#refusal = sandbox.outlived;
  }

  /** Registers a synchronizer with the manager of this context; returns the function that unregisters it (zope 12, 17). */
  registerSynch(synchronizer: Synchronizer): () => void {
    return this.manager.registerSynch(synchronizer);
  }

  /** Unregisters one. @throws TransactionStateError when it isn't registered in this context (zope 13). */
  unregisterSynch(synchronizer: Synchronizer): void {
    this.manager.unregisterSynch(synchronizer);
  }

  /** Unregisters all of this context (zope 14). */
  clearSynchs(): void {
    this.#storage.getStore()?.manager.clearSynchs();
  }

  /** Whether any synchronizer is registered in this context (zope 14). */
  registeredSynchs(): boolean {
    return this.#storage.getStore()?.manager.registeredSynchs() ?? false;
  }

  /**
   * Shuts down: begins nothing more, and resolves when every open transaction has ended, recovery has stopped and the decision log is
   * closed.
   * @throws TransactionStateError when some are still open after `timeoutMs` (default 30,000).
   */
  async close(options: { timeoutMs?: number | undefined } = {}): Promise<void> {
    checkOptions('close()', options, { timeoutMs: aDelay });
    const timeoutMs = options.timeoutMs ?? DEFAULT_CLOSE_TIMEOUT_MS;
    this.#closed = true;
    if (this.#open.size > 0) await this.#untilIdle(timeoutMs);
    await this.#loop?.stop();
    await this.#decisions?.close();
  }

  /** What is open now, in plain objects: for a debugger or a REPL. Changes nothing. */
  inspect(): CoordinatorInspection {
    const decisions = this.#decisions;
    return {
      isClosed: this.#closed,
      transactions: [...this.#open].map((txn) => inspectTransaction(txn, this.#watch)),
      ...(decisions === undefined
        ? {}
        : {
            decisions: {
              ...(decisions.store === undefined ? {} : { store: decisions.store }),
              ...(decisions.incarnation === undefined ? {} : { incarnation: decisions.incarnation }),
              inDoubt: decisions.doubtful,
            },
          }),
    };
  }

  #untilIdle(timeoutMs: number): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const timer = environment.setTimer(
        () =>
          reject(
            new TransactionStateError(
              `every transaction must end before the coordinator closes; after ${timeoutMs} ms ${this.#open.size} are still open`,
            ),
          ),
        timeoutMs,
        true,
      );
      const previous = this.#whenIdle;
      this.#whenIdle = () => {
        environment.clearTimer(timer);
        previous?.();
        resolve();
      };
    });
  }
}

function closedError(): TransactionClosed {
  return new TransactionClosed(
    'a transaction can begin while its coordinator is open; this one was closed with close()',
  );
}

/** Ends a context: what was left open is aborted. */
async function leave(manager: ContextManager): Promise<void> {
  const left = manager.current;
  if (left !== undefined) {
    manager.report(
      new TransactionStateError(
        `a transaction must be ended in the context() or run() that it was begun in; this one was left ${left.status}, and is aborted`,
        { xid: left.id },
      ),
    );
    await left[Symbol.asyncDispose]().catch((failure: unknown) => manager.report(toError(failure)));
  }
  manager.close();
}

/** The same, without a promise where nothing was left open. */
function left(manager: ContextManager): Promise<void> | undefined {
  // What an after-hook has begun and left, for one.
  if (manager.current !== undefined) return leave(manager);
  manager.close();
  return undefined;
}

async function callWithout<T>(inside: (txn: undefined) => Awaitable<T>): Promise<T> {
  return inside(undefined);
}

function checkFunction(where: string, fn: unknown): void {
  if (typeof fn !== 'function') throw new ConfigurationError(`${where}() takes a function, not ${describe(fn)}`);
}
