/**
 * A client that a library holds, in the transaction of the code that calls it: which transaction that is, and what the client's own
 * BEGIN, COMMIT and ROLLBACK come to in it.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { TransactionClosed, type TransactionError, TransactionStateError } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { SqlBranch } from './branch.ts';
import { ClientTransaction, refuseOtherModes } from './client-transaction.ts';
import type { SqlConnection } from './connection.ts';
import type { Control } from './control.ts';
import type { Work } from './queue.ts';

/** The session that a client is of. */
export interface Enlisting {
  readonly name: string;
  /** The part of the session in the transaction of the calling code; undefined outside of any. @throws as its `query` does. */
  enlisted(): SqlBranch | undefined;
}

/** The transaction that a client belongs to. */
interface Home {
  readonly txn: Transaction;
  /** Calls a function in the context in which the client was taken, or has begun. */
  readonly inside: <R>(fn: () => R) => R;
}

/** What begins or ends a client's own transaction, or can't be done; the others name a savepoint in it. */
type OwnControl = Exclude<Control, { readonly name: string }>;

/** Names that this package gives. */
const RESERVED = /^["`]?unanimous_/i;

export class Enlistment {
  readonly #session: Enlisting;
  #home: Home | undefined = undefined;
  readonly #isBound: boolean;
  /** The client's own transaction, while it is open. */
  #own: ClientTransaction | undefined = undefined;
  /** Begins or ends the client's own transaction: what comes later on the client waits for it, and fails with it. */
  #pending: Promise<unknown> | undefined = undefined;
  readonly #streams = new Set<() => void>();
  #released = false;

  /** `txn` is the one that the client is taken for, if it is for one; else it finds its own at each statement. */
  constructor(session: Enlisting, txn: Transaction | undefined) {
    this.#session = session;
    this.#isBound = txn !== undefined;
    if (txn !== undefined) this.#home = homeOf(txn);
  }

  /** Whether a transaction of the client's own is open, or about to be. */
  get hasOwn(): boolean {
    return this.#own !== undefined || this.#pending !== undefined;
  }

  /**
   * The part of the session that a statement goes to: of the transaction that the client belongs to, else of the calling code's;
   * undefined outside of any.
   *
   * @throws TransactionClosed where that transaction has ended, ConcurrentUseError where it isn't the turn of the calling code.
   */
  branch(): SqlBranch | undefined {
    if (this.#released) throw releasedError(this.#session.name);
    const home = this.#home;
    if (home === undefined) return this.#session.enlisted();
    try {
      const branch = this.#branchOf(home);
      if (branch?.txn !== home.txn) throw this.#closedError(home.txn);
      // Where the session has left its transaction with a savepoint and joined it again, what the client has begun is gone.
      return this.#own?.branch ?? branch;
    } catch (error) {
      // A nested run that was begun meanwhile waits for the end of the client's own transaction.
      if (!isConcurrentUse(error) || this.#own === undefined || this.#own.over !== undefined) throw error;
      return this.#own.branch;
    }
  }

  /** As the calling code may use it where that is in the same transaction, else as the code might that took the client. */
  #branchOf(home: Home): SqlBranch | undefined {
    let branch: SqlBranch | undefined;
    try {
      branch = this.#session.enlisted();
    } catch (error) {
      if ((error as TransactionError).xid === home.txn.id) throw error;
    }
    // Libraries ask from anywhere: from a timer, or from the context of whoever came first in a tick.
    return branch?.txn === home.txn ? branch : home.inside(() => this.#session.enlisted());
  }

  /** The connection of the transaction, where the calling code may use it and a statement has taken it. */
  get connection(): SqlConnection | undefined {
    try {
      return this.branch()?.connection;
    } catch {
      return undefined;
    }
  }

  /**
   * Runs `work` on the connection in turn; a cursor or stream gives the way to `stop` it, a statement that may be sent together with others says
   * so by `shares`.
   */
  perform<T>(work: Work<T>, stop?: () => void, shares?: () => boolean): Promise<T> {
    return this.#pending === undefined
      ? this.#perform(work, stop, shares)
      : this.#pending.then(() => this.#perform(work, stop, shares));
  }

  #perform<T>(work: Work<T>, stop?: () => void, shares?: () => boolean): Promise<T> {
    try {
      const branch = this.#required();
      return stop === undefined
        ? branch.perform(work, stop, this.#own?.turn, shares)
        : this.#performStream(branch, work, stop);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #performStream<T>(branch: SqlBranch, work: Work<T>, stop: () => void): Promise<T> {
    const end = (): void => {
      // One that hasn't begun must not begin any more.
      this.#streams.delete(end);
      stop();
    };
    this.#streams.add(end);
    const unlessEnded: Work<T> = (connection) =>
      this.#streams.has(end) ? work(connection) : Promise.reject(releasedError(this.#session.name));
    return branch.perform(unlessEnded, end, this.#own?.turn).finally(() => this.#streams.delete(end));
  }

  #required(): SqlBranch {
    const branch = this.branch();
    if (branch === undefined) throw noTransactionOf(this.#session.name);
    return branch;
  }

  /** The same for SAVEPOINT, RELEASE and ROLLBACK TO, which need a transaction of the client's own. */
  performInOwn<T>(control: Control & { readonly name: string }, work: Work<T>): Promise<T> {
    const perform = (): Promise<T> =>
      this.#own === undefined || RESERVED.test(control.name)
        ? Promise.reject(this.#savepointError(control))
        : this.#perform(work);
    return this.#pending === undefined ? perform() : this.#pending.then(perform);
  }

  /** Begins or ends the client's own transaction; resolves with the server's tag for it. */
  control(control: OwnControl): Promise<string> {
    const before = this.#pending;
    // A rollback is there for when what came before has failed.
    const done =
      before === undefined
        ? this.#carryOut(control)
        : before.then(
            () => this.#carryOut(control),
            (error: Error) => (control.kind === 'rollback' ? this.#carryOut(control) : Promise.reject(error)),
          );
    this.#pending = done;
    const clear = (): void => {
      if (this.#pending === done) this.#pending = undefined;
    };
    done.then(clear, clear);
    return done;
  }

  async #carryOut(control: OwnControl): Promise<string> {
    switch (control.kind) {
      case 'begin': {
        if (this.#own?.over !== undefined) this.#ended();
        const branch = this.#required();
        // As the server, which warns of it: still the same transaction.
        if (this.#own !== undefined) refuseOtherModes(branch, control.modes);
        else await this.#begin(branch, control);
        return control.tag;
      }
      case 'set transaction':
        refuseOtherModes(this.#required(), control.modes);
        return control.tag;
      case 'commit':
        await this.#commit();
        return control.tag;
      case 'rollback':
        await this.#rollback();
        return control.tag;
      case 'refused':
        throw this.#refusedError(control.tag);
    }
  }

  async #begin(branch: SqlBranch, { modes }: Control & { readonly kind: 'begin' }): Promise<void> {
    const home = homeOf(branch.txn);
    this.#own = await ClientTransaction.begin(branch, modes);
    this.#home ??= home;
  }

  async #commit(): Promise<void> {
    const own = this.#own;
    const over = own?.over;
    if (over === undefined) this.#required();
    if (own === undefined) throw this.#refusedError('COMMIT');
    this.#ended();
    if (over !== undefined) throw over;
    await own.commit();
  }

  /** Wherever it is called from, and where nothing was begun: libraries send it to clean up. */
  async #rollback(): Promise<void> {
    const own = this.#own;
    this.#ended();
    await own?.rollback();
  }

  #ended(): void {
    this.#own = undefined;
    if (!this.#isBound) this.#home = undefined;
  }

  /** Takes no more statements, and undoes what the client has begun and not ended. Nobody else gets it, so that twice does no harm. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    void this.reset();
  }

  /** Undoes what the client has begun and not ended. */
  async reset(): Promise<void> {
    for (const stop of this.#streams) stop();
    const turn = this.#own?.turn;
    const pending = this.#pending;
    const undone =
      pending === undefined ? this.#rollback() : pending.catch(() => undefined).then(() => this.#rollback());
    // A commit of the transaction waits for it, and fails with it.
    if (turn !== undefined) turn.ending = undone;
    await undone.catch(() => undefined);
  }

  #closedError(txn: Transaction): TransactionClosed {
    return new TransactionClosed(
      `a client of '${this.#session.name}' works while the transaction that it belongs to is active; that is ${txn.status}, so nothing is sent`,
      { resource: this.#session.name, xid: txn.id },
    );
  }

  #refusedError(statement: string): TransactionStateError {
    return new TransactionStateError(
      `a client inside of a transaction ends what it has begun by itself, and nothing else; the statement ${statement} was not sent to '${this.#session.name}': the transaction is committed or aborted by its coordinator`,
      { resource: this.#session.name, phase: 'work' },
    );
  }

  #savepointError({ tag, name }: Control & { readonly name: string }): TransactionStateError {
    return new TransactionStateError(
      `a client makes savepoints of its own behind its own BEGIN, under names that don't begin with unanimous_; ${tag} of ${name} was not sent to '${this.#session.name}': begin first, or call savepoint() of the transaction`,
      { resource: this.#session.name, phase: 'work' },
    );
  }
}

function isConcurrentUse(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ERR_TXN_CONCURRENT_USE';
}

function homeOf(txn: Transaction): Home {
  return { txn, inside: AsyncLocalStorage.snapshot() };
}

function releasedError(name: string): TransactionStateError {
  return new TransactionStateError(
    `a client must not be used once it is released; one of '${name}' was, so nothing is sent`,
    { resource: name, phase: 'work' },
  );
}

function noTransactionOf(name: string): TransactionClosed {
  return new TransactionClosed(
    `a client works while the transaction of the code that calls it is active; that of '${name}' has ended, so nothing is sent`,
    { resource: name },
  );
}
