/** Savepoints over all joined data managers (zope 114-128). */
import { InvalidSavepointRollbackError, SavepointsUnsupportedError, toError } from './errors.ts';
import type { HookCounts } from './hooks.ts';
import { cleanUp } from './cleanup.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type { Awaitable, DataManager, DataManagerSavepoint } from './types.ts';

const NO_HOOKS: HookCounts = [0, 0, 0, 0];
/** Up to so many parts are looked through; of more there is an index. */
const FEW = 32;

/** A state of the whole transaction to which it can return. */
export class Savepoint {
  readonly #txn: Transaction;
  readonly #hooks: HookCounts;
  /** What each data manager made, in the order of joining; those that joined later are marked by having made nothing. */
  #parts: { manager: DataManager; made: DataManagerSavepoint | undefined }[] | undefined = undefined;
  /** Those that joined later, where there are many parts. */
  #later: Set<DataManager> | undefined = undefined;
  #valid = true;

  /** @internal */
  constructor(txn: Transaction) {
    this.#txn = txn;
    this.#hooks = txn.hooks?.counts() ?? NO_HOOKS;
  }

  /** False once an earlier savepoint was rolled back, its own rollback failed, or the transaction ended (zope 119, 121). */
  get valid(): boolean {
    return this.#valid;
  }

  /**
   * Returns every data manager to its state at this savepoint; those that joined since are aborted and leave the
   * transaction (zope 124). Hooks registered since are dropped. May be repeated; invalidates later savepoints only (zope 119).
   *
   * @throws InvalidSavepointRollbackError when it isn't valid.
   * @throws SavepointsUnsupportedError when it is optimistic and a data manager can't roll back; the transaction has then failed.
   * @throws The data manager's error when one fails to roll back; the transaction has then failed (zope 122).
   */
  async rollback(): Promise<void> {
    const txn = this.#txn;
    if (txn.status === 'commit failed') throw txn.failedError();
    if (!this.#valid) {
      throw new InvalidSavepointRollbackError(
        `a savepoint can be rolled back while it is valid; this one is not, because an earlier one was rolled back or its transaction is ${txn.status}`,
        { xid: txn.id },
      );
    }
    txn.invalidateSavepointsAfter(this);
    txn.savepointsUnderWay++;
    try {
      for (const part of this.#parts?.slice() ?? []) {
        const answer = part.made === undefined ? this.#leave(part.manager) : part.made.rollback();
        if (isThenable(answer)) await answer;
        txn.requireOpen('roll back in');
      }
      txn.hooks?.truncate(this.#hooks);
    } catch (thrown) {
      this.#valid = false;
      const error = toError(thrown);
      if (isOpen(txn)) txn.fail(error);
      throw error;
    } finally {
      txn.savepointsUnderWay--;
    }
  }

  /** Aborts a data manager that joined later, and takes it out; once, however often the rollback is repeated (zope 126). */
  #leave(manager: DataManager): Awaitable<void> {
    this.#parts = this.#parts?.filter((part) => part.manager !== manager || part.made !== undefined);
    this.#later?.delete(manager);
    if (!this.#txn.unjoin(manager)) return undefined;
    return manager.abort(this.#txn);
  }

  /** @internal */
  invalidate(): void {
    this.#valid = false;
    // Whoever keeps it keeps no data managers.
    this.#parts = undefined;
    this.#later = undefined;
  }

  /** @internal A data manager joined after this savepoint was made. */
  joinedLater(manager: DataManager): void {
    if (this.#joinedLater(manager)) return;
    this.#add(manager, undefined);
    this.#later?.add(manager);
  }

  /** Whether it is known to have joined later: it has left since, by the rollback of another savepoint. */
  #joinedLater(manager: DataManager): boolean {
    const parts = this.#parts ?? [];
    if (parts.length < FEW) return parts.some((part) => part.manager === manager && part.made === undefined);
    this.#later ??= new Set(parts.filter(({ made }) => made === undefined).map((part) => part.manager));
    return this.#later.has(manager);
  }

  /** @internal */
  made(manager: DataManager, savepoint: DataManagerSavepoint): void {
    this.#add(manager, savepoint);
  }

  #add(manager: DataManager, made: DataManagerSavepoint | undefined): void {
    // A literal is as large as it has to be; an empty array makes room for many.
    if (this.#parts === undefined) this.#parts = [{ manager, made }];
    else this.#parts.push({ manager, made });
  }
}

/** False once it has failed or ends, which may be while a data manager answers: whoever did that has undone everything. */
function isOpen(txn: Transaction): boolean {
  return txn.status === 'active' || txn.status === 'doomed';
}

/** Makes a savepoint of every joined data manager; an error fails the transaction and cleans up all (zope 115, 116). */
export function makeSavepoint(txn: Transaction, optimistic: boolean): Promise<Savepoint> {
  const savepoint = new Savepoint(txn);
  // Known before it is complete: a data manager that joins while another one answers is one that joined later.
  txn.addSavepoint(savepoint);
  const managers = txn.resources;
  const count = managers.length;
  for (let index = 0; index < count; index++) {
    try {
      const answer = partOf(txn, managers[index]!, optimistic);
      if (isThenable(answer)) return finishSavepoint(txn, savepoint, managers.slice(index, count), answer, optimistic);
      savepoint.made(managers[index]!, answer);
      if (txn.state !== 'active') txn.requireOpen('make a savepoint of');
    } catch (thrown) {
      return failSavepoint(txn, thrown);
    }
  }
  return Promise.resolve(savepoint);
}

/** Goes on from the first data manager that has to be awaited. */
async function finishSavepoint(
  txn: Transaction,
  savepoint: Savepoint,
  managers: readonly DataManager[],
  first: Awaitable<DataManagerSavepoint>,
  optimistic: boolean,
): Promise<Savepoint> {
  txn.savepointsUnderWay++;
  try {
    let answer = first;
    for (let index = 0; ; answer = partOf(txn, managers[index]!, optimistic)) {
      savepoint.made(managers[index]!, await answer);
      txn.requireOpen('make a savepoint of');
      if (++index >= managers.length) return savepoint;
    }
  } catch (thrown) {
    return await failSavepoint(txn, thrown);
  } finally {
    txn.savepointsUnderWay--;
  }
}

async function failSavepoint(txn: Transaction, thrown: unknown): Promise<never> {
  const error = toError(thrown);
  if (isOpen(txn)) {
    // Failed before it is cleaned up, so that nothing joins or commits meanwhile.
    txn.fail(error);
    await cleanUp(txn, txn.resources, undefined, error);
  }
  throw error;
}

/** What one data manager makes of it. */
function partOf(txn: Transaction, manager: DataManager, optimistic: boolean): Awaitable<DataManagerSavepoint> {
  if (typeof manager.savepoint === 'function') return manager.savepoint(txn);
  if (optimistic) return new NoRollback(txn, manager);
  throw unsupported(
    txn,
    manager,
    'make a savepoint',
    'ask for an optimistic one, savepoint(true), where it will not be rolled back',
  );
}

/** Stands for the savepoint of a data manager that has none, in an optimistic savepoint (zope 117). */
class NoRollback implements DataManagerSavepoint {
  readonly #txn: Transaction;
  readonly #manager: DataManager;

  constructor(txn: Transaction, manager: DataManager) {
    this.#txn = txn;
    this.#manager = manager;
  }

  rollback(): never {
    throw unsupported(
      this.#txn,
      this.#manager,
      'roll back to a savepoint',
      'the transaction has failed and must be aborted',
    );
  }
}

function unsupported(txn: Transaction, manager: DataManager, what: string, so: string): SavepointsUnsupportedError {
  const resource = txn.nameOf(manager);
  return new SavepointsUnsupportedError(
    `every joined data manager must be able to ${what}; '${resource}' has no method savepoint; ${so}`,
    { resource, xid: txn.id, phase: 'savepoint' },
  );
}
