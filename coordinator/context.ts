/**
 * Which transaction the running code belongs to.
 *
 * An asynchronous context has one manager. What AsyncLocalStorage carries is not the manager but a scope: the manager and
 * the transaction that was begun in this chain. So a task that outlives its transaction finds that one, ended, and never the
 * next one that the same context has begun meanwhile.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { environment } from './environment.ts';
import { TransactionClosed } from './errors.ts';
import { type ManagerOptions, TransactionManager, noTransaction } from './manager.ts';
import type { Decisions } from './decisions.ts';
import type { NestedFrame } from './nested-frame.ts';
import type { Sandbox } from './sandbox.ts';
import { Synchronizers } from './synchronizers.ts';
import type { Transaction } from './transaction.ts';
import type { Watch } from './watch.ts';

/** What an asynchronous chain carries. */
export class Scope {
  readonly manager: ContextManager;
  /** The transaction that was begun in this chain; undefined where none was since the context was opened. */
  readonly txn: Transaction | undefined;

  /** The nested run of it that this chain is in. */
  readonly frame: NestedFrame | undefined;

  constructor(manager: ContextManager, txn: Transaction | undefined, frame?: NestedFrame) {
    this.manager = manager;
    this.txn = txn;
    this.frame = frame;
  }

  /** The transaction that code in this chain works in; undefined where there is none or it is over. */
  get current(): Transaction | undefined {
    const current = this.manager.current;
    // Implicit mode is upstream's: whatever the context's manager has. Else a sibling's is not this chain's.
    return current === this.txn || !this.manager.explicit ? current : undefined;
  }

  /** As {@link current}, but throws where there is none. */
  get(): Transaction {
    const current = this.current;
    if (current !== undefined) return current;
    if (!this.manager.explicit) return this.manager.get();
    if (this.txn === undefined) throw noTransaction();
    throw new TransactionClosed(
      `a transaction must be active in this asynchronous context; the one that was begun here has ended (${this.txn.status}): ` +
        `begin another, or give work that outlives its transaction its own with run() inside detached()`,
      { xid: this.txn.id },
    );
  }
}

export type ScopeStorage = AsyncLocalStorage<Scope | undefined>;

/** The manager of one asynchronous context. */
export class ContextManager extends TransactionManager {
  readonly #owner: ContextOwner;
  /**
   * The context that outlives the transactions in it: `run` opens a context for each transaction, inside of the one where it
   * was called. What a session keeps between transactions is kept here.
   */
  override get home(): ContextManager {
    return this.#home;
  }
  readonly #home: ContextManager;
  /** The transaction of the code that has opened the context. */
  readonly #outer: Transaction | undefined;
  #onClose: Set<() => void> | undefined = undefined;

  constructor(owner: ContextOwner, parent: ContextManager | undefined, outer?: Transaction) {
    super(owner.managerOptions, parent === undefined ? new Synchronizers() : parent.synchronizers);
    this.#owner = owner;
    this.#outer = outer;
    this.#home = parent === undefined ? this : parent.home;
  }

  protected override refusal(): Error | undefined {
    return this.#owner.refusal();
  }

  override get decisions(): Decisions | undefined {
    return this.#owner.decisions();
  }

  override get sandbox(): Sandbox | undefined {
    return this.#owner.sandbox();
  }

  override get watch(): Watch | undefined {
    return this.#owner.watch();
  }

  protected override ready(): Promise<void> | undefined {
    return this.#owner.decisions()?.ready();
  }

  protected override started(txn: Transaction): void {
    txn.startedMs = environment.now();
    this.#owner.opened(txn);
    // Whoever calls begin() goes on in this transaction, and what it calls.
    this.#owner.storage.enterWith(new Scope(this, txn));
    this.#owner.sandbox()?.began(txn, this.#outer);
  }

  override free(txn: Transaction): void {
    super.free(txn);
    this.#owner.ended(txn);
  }

  override nextId(): string {
    return this.#owner.nextId();
  }

  /** Calls `listener` when the context is closed; returns the function that forgets it. */
  override onClose(listener: () => void): () => void {
    const listeners = (this.#onClose ??= new Set());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** The function that the context was opened for has ended: nothing can come back to it. */
  close(): void {
    if (this.#onClose === undefined) return;
    for (const listener of this.#onClose) listener();
    this.#onClose = undefined;
  }
}

/** What a context has of its coordinator. */
export interface ContextOwner {
  readonly storage: ScopeStorage;
  readonly managerOptions: ManagerOptions;
  /** Why no transaction may begin; undefined where it may. */
  readonly refusal: () => Error | undefined;
  readonly nextId: () => string;
  readonly decisions: () => Decisions | undefined;
  readonly sandbox: () => Sandbox | undefined;
  readonly opened: (txn: Transaction) => void;
  readonly ended: (txn: Transaction) => void;
  /** Looks after open transactions; undefined where nobody asked for that. */
  readonly watch: () => Watch | undefined;
}

// Taken once, outside of any transaction: a connection that is opened in a context would keep that context for life.
const outsideOfAll: <R>(fn: () => R) => R = AsyncLocalStorage.snapshot();

/** Calls `fn` outside of every asynchronous context, as the program's start was: for opening connections. */
export function outside<R>(fn: () => R): R {
  return outsideOfAll(fn);
}
