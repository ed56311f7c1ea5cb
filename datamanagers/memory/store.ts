/** A map whose changes take part in transactions. */
import { transaction } from '../../coordinator/default.ts';
import { TransientError } from '../../coordinator/errors.ts';
import { type Rules, aString, checkOptions, oneOf } from '../../coordinator/options.ts';
import { aCoordinator } from '../../coordinator/session.ts';
import type { RecoverableResource, SessionCoordinator } from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { type MemoryChanges } from './changes.ts';
import { LastResourceMemoryDataManager, MemoryDataManager, RecoverableMemoryDataManager } from './data-manager.ts';

/** Options of a memory store. */
export interface MemoryStoreOptions {
  /** What it is called in errors and among prepared branches; default `memory`. */
  name?: string | undefined;
  /**
   * How it takes part. `'volatile'` (default): it is undone or made so with the others, and no database has to prepare for its sake.
   * `'recoverable'`: as a database that can prepare, with branches that can be listed and ended by their ids. `'last-resource'`:
   * as a database that can only commit in one phase. The last two stand in for databases, in tests.
   */
  role?: 'volatile' | 'recoverable' | 'last-resource' | undefined;
  /** The coordinator whose transactions it joins; default the process-wide `transaction`. */
  coordinator?: SessionCoordinator | undefined;
}

const optionRules: Rules<MemoryStoreOptions> = {
  name: aString,
  role: oneOf('volatile', 'recoverable', 'last-resource'),
  coordinator: aCoordinator,
};

const ROLES = {
  volatile: MemoryDataManager,
  recoverable: RecoverableMemoryDataManager,
  'last-resource': LastResourceMemoryDataManager,
} as const;

/**
 * A map in the memory of this process whose changes become visible when their transaction commits; until then only that
 * transaction sees them. Transactions are serializable: each sees what was committed when it first used the store, and
 * one whose vote comes after a change of something that it has read fails with a {@link TransientError}, so that `run` tries again.
 *
 * For caches, tests and as the data manager to learn from: a commit copies the map, so it is made for thousands of entries
 * rather than millions. Values are kept as they are, not copied: replace them instead of changing them.
 */
export class MemoryStore<K = string, V = unknown> implements RecoverableResource {
  /** What it is called in errors and among prepared branches. */
  readonly name: string;
  readonly #coordinator: SessionCoordinator;
  readonly #role: keyof typeof ROLES;
  /** Never changed, only replaced: so whoever has it has a snapshot. */
  #committed: ReadonlyMap<K, V> = new Map();
  /** What has voted and not ended, by the transaction's id. */
  readonly #promised = new Map<string, MemoryChanges<K, V>>();

  /** @throws ConfigurationError for unknown or impossible options. */
  constructor(options: MemoryStoreOptions = {}) {
    checkOptions('new MemoryStore()', options, optionRules);
    this.name = options.name ?? 'memory';
    this.#role = options.role ?? 'volatile';
    this.#coordinator = options.coordinator ?? transaction;
    if (this.#role === 'recoverable') this.#coordinator.recovers?.(this);
  }

  /** What is committed now: a snapshot, which can be read outside of any transaction. */
  get committed(): ReadonlyMap<K, V> {
    return this.#committed;
  }

  /** The value of `key` as the current transaction sees it; undefined where there is none. @throws as {@link set} does. */
  get(key: K): V | undefined {
    return this.#work.get(key);
  }

  /** Whether there is a value for `key`, as the current transaction sees it. @throws as {@link set} does. */
  has(key: K): boolean {
    return this.#work.has(key);
  }

  /** All entries as the current transaction sees them: a copy. It then depends on every change of any of them. @throws as {@link set} does. */
  entries(): Map<K, V> {
    return this.#work.entries();
  }

  /**
   * Sets a value in the current transaction.
   * @throws NoTransaction without a transaction, TransactionClosed once its end has begun.
   */
  set(key: K, value: V): void {
    this.#work.set(key, value);
  }

  /** Deletes a value in the current transaction. @throws as {@link set} does. */
  delete(key: K): void {
    this.#work.delete(key);
  }

  /** What the current transaction works on. The first use joins it, before anything is read or changed. */
  get #work(): MemoryChanges<K, V> {
    return this.#coordinator.enlist().getOrJoin(this, (txn) => new ROLES[this.#role](this, txn)).work;
  }

  /** @internal Takes the promise to commit. @throws TransientError where somebody has changed, or may change, what was read. */
  promise(id: string, changes: MemoryChanges<K, V>): void {
    if (changes.isStale(this.#committed)) throw this.#conflict(id, 'has changed since');
    for (const other of this.#promised.values()) {
      if (changes.dependsOn(other)) throw this.#conflict(id, 'is being changed by a transaction that has voted');
    }
    this.#promised.set(id, changes);
  }

  #conflict(id: string, what: string): TransientError {
    return new TransientError(
      `what a transaction has read must stay so until it commits; something that this one has read in '${this.name}' ${what}, so nothing is committed: try it again`,
      { resource: this.name, xid: id, phase: 'tpcVote' },
    );
  }

  /** @internal Makes so what was promised; nothing where it has ended already. */
  finish(id: string): void {
    const changes = this.#take(id, 'committed');
    if (changes !== undefined) this.#committed = changes.appliedTo(this.#committed);
  }

  /** @internal Undoes whatever was committed since `committed` was read. */
  returnTo(committed: ReadonlyMap<K, V>): void {
    this.#committed = committed;
  }

  /** @internal Takes the promise back; nothing where there is none. */
  forget(id: string): void {
    this.#take(id, 'rolled back');
  }

  #take(id: string, ended: 'committed' | 'rolled back'): MemoryChanges<K, V> | undefined {
    const changes = this.#promised.get(id);
    if (changes === undefined) return undefined;
    this.#promised.delete(id);
    changes.ended = ended;
    return changes;
  }

  /** The branches that have voted and not ended. */
  listPrepared(): Promise<Xid[]> {
    return Promise.resolve([...this.#promised.keys()].map((gid) => ({ gid, branch: this.name })));
  }

  /** Commits a branch that has voted. Nothing where it has ended already: recovery may come twice. */
  commitPrepared({ gid }: Xid): Promise<void> {
    this.finish(gid);
    return Promise.resolve();
  }

  /** Rolls a branch back that has voted. Nothing where it has ended already. */
  rollbackPrepared({ gid }: Xid): Promise<void> {
    this.forget(gid);
    return Promise.resolve();
  }
}
