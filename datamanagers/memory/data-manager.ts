/**
 * One transaction's part in a memory store: the data manager to read before writing another. What each method must do stands
 * in {@link DataManager}; the comments here say how this one does it.
 */
import { HeuristicError, TransactionClosed } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  DataManager,
  DataManagerSavepoint,
  RecoverableResource,
  SandboxConduct,
  Vote,
} from '../../coordinator/types.ts';
import { MemoryChanges } from './changes.ts';
import type { MemoryStore } from './store.ts';

/**
 * The part of a store in a transaction beside which databases take part: it is undone or made so with them, and nothing is
 * expected of it after a crash, which the store doesn't survive either.
 */
export class MemoryDataManager<K, V> implements DataManager {
  // Before sessions, whose keys begin with ~: a conflict is found before a database is asked to prepare.
  readonly sortKey: string;
  /** @internal */ protected readonly store: MemoryStore<K, V>;
  /** @internal */ protected readonly changes: MemoryChanges<K, V>;
  readonly #txn: Transaction;
  #closed = false;

  /** @internal Made by the store, when it joins. */
  constructor(store: MemoryStore<K, V>, txn: Transaction) {
    this.sortKey = `memory:${store.name}`;
    this.store = store;
    this.#txn = txn;
    this.changes = new MemoryChanges(store.committed);
  }

  /** @internal What the transaction works on. @throws TransactionClosed once its end has begun: what is done now would be lost. */
  get work(): MemoryChanges<K, V> {
    if (!this.#closed) return this.changes;
    throw new TransactionClosed(
      `a store works while its transaction is active; that of '${this.store.name}' is being ended, so nothing is read or written`,
      { resource: this.store.name, xid: this.#txn.id },
    );
  }

  /** From here on only what the transaction has done until now counts. */
  tpcBegin(): void {
    this.#closed = true;
  }

  /** What could fail while it is handed over (to a server, a file) would be handed over here. Memory has it already. */
  commit(): void {}

  /** No is said by throwing. After a yes others must neither read nor write what this depends on. */
  tpcVote(txn: Transaction): Vote {
    if (this.changes.isEmpty) return 'read-only';
    this.store.promise(txn.id, this.changes);
    return 'commit';
  }

  /** Can't fail: all that could was done for the vote. */
  tpcFinish(txn: Transaction): void {
    this.store.finish(txn.id);
    if (this.changes.ended !== 'rolled back') return;
    throw new HeuristicError(
      `what has voted must not be rolled back by anybody else; that of transaction ${txn.id} at '${this.store.name}' was, while it was decided to commit`,
      { resource: this.store.name, xid: txn.id, phase: 'tpcFinish' },
    );
  }

  tpcAbort(txn: Transaction): void {
    this.abort(txn);
  }

  /** Whatever was done until now, be it nothing: so it may come at any time, and again. */
  abort(txn: Transaction): void {
    this.#closed = true;
    this.store.forget(txn.id);
  }

  /** What was committed when the sandbox's transaction joined is what is committed afterwards. */
  sandboxed(): SandboxConduct {
    const { committed } = this.store;
    return { undo: () => this.store.returnTo(committed) };
  }

  savepoint(): DataManagerSavepoint {
    const then = this.work.soFar;
    return { rollback: () => this.work.returnTo(then) };
  }
}

/** The same as a database would do it that can prepare: what has voted is there until somebody ends it, by its id. */
export class RecoverableMemoryDataManager<K, V> extends MemoryDataManager<K, V> {
  readonly onePhase = true;

  get changed(): boolean {
    return !this.changes.isEmpty;
  }

  get recoverable(): RecoverableResource {
    return this.store;
  }

  /** Alone, its vote is its commit. */
  override tpcVote(txn: Transaction): Vote {
    const vote = super.tpcVote(txn);
    if (txn.way === 'one-phase') this.store.finish(txn.id);
    return vote;
  }

  /** What is prepared is with the store; there is no connection to give back. */
  hold(): void {}
}

/** The same as a database would do it that can't prepare: its vote, the last of all, is its commit. */
export class LastResourceMemoryDataManager<K, V> extends MemoryDataManager<K, V> {
  readonly lastResource = true;

  get changed(): boolean {
    return !this.changes.isEmpty;
  }

  override tpcVote(txn: Transaction): Vote {
    const vote = super.tpcVote(txn);
    this.store.finish(txn.id);
    return vote;
  }
}
