/**
 * What the sessions of all SQL databases share: made once per process, used by every context, joined to a transaction by its
 * first statement (zope 132-156).
 */
import { transaction } from '../../coordinator/default.ts';
import { ConfigurationError, TransactionClosed, describe } from '../../coordinator/errors.ts';
import type { TransactionManager } from '../../coordinator/manager.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  JoinOptions,
  MarkChangedOptions,
  RecoverableResource,
  RegisterOptions,
  Session,
  SessionCoordinator,
  SessionState,
  TransactionOptions,
} from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { SqlBranch } from './branch.ts';
import type { SqlConnection } from './connection.ts';

/** A name is part of a branch's identity, which can't be a bind parameter and is at most 64 bytes in XA. */
const NAME = /^[A-Za-z0-9_.-]{1,63}$/;

export abstract class SqlSession<C extends SqlConnection> implements Session, RecoverableResource {
  readonly name: string;
  /** Whether its branches are prepared; see {@link RegisterOptions.twoPhase}. */
  twoPhase: 'auto' | boolean = 'auto';
  /** Whether writes are found by themselves; see {@link RegisterOptions.detectWrites}. */
  detectWrites = true;
  #initialState: SessionState = 'active';
  #keepSession = false;
  #coordinator: SessionCoordinator = transaction;
  /** Connections kept between the transactions of a context. */
  readonly #kept = new Map<object, { readonly connection: C; readonly forget: () => void }>();

  protected constructor(name: string) {
    if (typeof name !== 'string' || !NAME.test(name)) {
      throw new ConfigurationError(
        `the name of a session must be 1 to 63 letters, digits, '_', '.' or '-', not ${describe(name)}; it is part of the identity of its branches`,
      );
    }
    this.name = name;
  }

  /** Called by `register`. Holds for transactions that the session joins from now on. */
  configure(options: RegisterOptions): void {
    if (options.initialState !== undefined) this.#initialState = options.initialState;
    if (options.keepSession !== undefined) this.#keepSession = options.keepSession;
    if (options.twoPhase !== undefined) this.twoPhase = options.twoPhase;
    if (options.detectWrites !== undefined) this.detectWrites = options.detectWrites;
    if (options.coordinator !== undefined) this.#coordinator = options.coordinator;
  }

  /** State in the current transaction; undefined where it hasn't joined, or there is none. */
  get state(): SessionState | undefined {
    return (this.#coordinator.current?.joined(this) as SqlBranch<C> | undefined)?.state;
  }

  /** Says that something was written which can't be seen from outside; see `markChanged`. */
  markChanged(options: MarkChangedOptions = {}): void {
    const branch = this.branch({ keepSession: options.keepSession });
    branch.markChanged();
    if (options.keepSession === true) branch.keep = true;
  }

  /** Joins the current transaction before the first statement does; see `joinTransaction`. */
  joinTransaction(options: JoinOptions = {}): void {
    const branch = this.branch(options);
    if (options.initialState === 'changed') branch.markChanged();
    if (options.keepSession !== undefined) branch.keep = options.keepSession;
  }

  /** The part of this session in the current transaction; joins it where it hasn't. */
  protected branch(options: JoinOptions = {}): SqlBranch<C> {
    const txn = this.#coordinator.enlist();
    const joined = txn.joined(this);
    if (joined !== undefined) return joined as SqlBranch<C>;
    if (txn.status !== 'active' && txn.status !== 'doomed' && txn.status !== 'commit failed') {
      throw new TransactionClosed(
        `a session joins while its transaction is active; that of '${this.name}' is ${txn.status}, so nothing is sent`,
        { resource: this.name, xid: txn.id },
      );
    }
    return txn.getOrJoin(this, () => this.#join(txn, options));
  }

  #join(txn: Transaction, options: JoinOptions): SqlBranch<C> {
    for (const other of txn.resources) {
      if (other instanceof SqlBranch && other.session.name === this.name) {
        throw new ConfigurationError(
          `the sessions of a transaction must have different names, by which their branches are told apart; another one named '${this.name}' has joined already`,
          { resource: this.name, xid: txn.id },
        );
      }
    }
    const state = txn.options.readOnly === true ? 'readonly' : (options.initialState ?? this.#initialState);
    return new SqlBranch(this, txn, state, options.keepSession ?? this.#keepSession);
  }

  /** A connection for a transaction: the one kept by its context, else one of the pool. */
  acquire(txn: Transaction, cancelled: () => Promise<never>): Promise<C> {
    const home = txn.manager.home;
    const kept = this.#kept.size === 0 ? undefined : this.#kept.get(home);
    if (kept === undefined) return this.connect(cancelled);
    this.#kept.delete(home);
    kept.forget();
    if (kept.connection.broken === undefined) return Promise.resolve(kept.connection);
    kept.connection.release();
    return this.connect(cancelled);
  }

  /** Takes a connection back at the end of a transaction: keeps it for its context, or gives it to the pool. */
  giveBack(connection: C, txn: Transaction, keep: boolean): void {
    if (!keep) return connection.release();
    const home: TransactionManager = txn.manager.home;
    if (connection.broken !== undefined || connection.open || connection.isUncertain || this.#kept.has(home)) {
      return connection.release();
    }
    const drop = (): void => {
      this.#kept.delete(home);
      connection.release();
    };
    this.#kept.set(home, { connection, forget: home.onClose(drop) });
    return undefined;
  }

  /**
   * Gives back the connection that `keepSession` keeps for this context. Where its transaction is still open, the connection goes
   * back at its end.
   */
  close(): void {
    const branch = this.#coordinator.current?.joined(this) as SqlBranch<C> | undefined;
    if (branch !== undefined) branch.keep = false;
    const home = this.#coordinator.home;
    const kept = home === undefined ? undefined : this.#kept.get(home);
    if (kept === undefined) return;
    kept.forget();
    this.#kept.delete(home!);
    kept.connection.release();
  }

  /** Identity of this session's branch of a transaction: at most 127 bytes. */
  gidOf(id: string): string {
    return `${id}:${this.name}`;
  }

  /** Takes a connection of the pool, for a bounded time. */
  protected abstract connect(cancelled: () => Promise<never>): Promise<C>;
  /** The statement that begins a transaction with these options. */
  abstract beginText(options: TransactionOptions, readOnly: boolean): string;
  /** Whether trying the whole transaction again may help (zope 154). */
  abstract shouldRetry(error: Error): boolean;
  /** The reply to a COMMIT was lost: returns where it has committed, else throws what is known. */
  abstract resolveCommit(connection: C, txn: Transaction, error: Error): Promise<void>;
  /** Ends what is prepared under `gid`, over this connection or another, for a bounded time. */
  abstract finishPrepared(connection: C, verb: 'commit' | 'rollback', gid: string): Promise<void>;
  /** Makes an error of preparing say what to do. */
  abstract explainPrepare(error: Error): Error;
  abstract listPrepared(): Promise<Xid[]>;
  abstract commitPrepared(xid: Xid): Promise<void>;
  abstract rollbackPrepared(xid: Xid): Promise<void>;
}
