/** What the sessions of mails and files share: a session as that of a database, without a connection to keep. */
import { transaction } from '../../coordinator/default.ts';
import { ConfigurationError, TransactionClosed, describe } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  DataManager,
  JoinOptions,
  MarkChangedOptions,
  OutboxTarget,
  RegisterOptions,
  Session,
  SessionCoordinator,
  SessionState,
} from '../../coordinator/types.ts';
import type { PlainBranch } from './branch.ts';

/** The same as the name of a database's session: it is part of sort keys and errors. */
const NAME = /^[A-Za-z0-9_.-]{1,63}$/;

/** Options of `register` that are about connections and what can be prepared. */
const FOREIGN: readonly (keyof RegisterOptions)[] = ['keepSession', 'twoPhase', 'detectWrites'];

/** Made once, used by every context; its first use in a transaction joins a branch to that. */
export abstract class PlainSession<B extends PlainBranch & DataManager> implements Session {
  /** Stable name: in errors. */
  readonly name: string;
  #initialState: SessionState = 'active';
  #coordinator: SessionCoordinator = transaction;

  /** @internal */
  protected constructor(name: string) {
    if (!NAME.test(name)) {
      throw new ConfigurationError(
        `the name of a session must be 1 to 63 letters, digits, '_', '.' or '-', not ${describe(name)}`,
      );
    }
    this.name = name;
  }

  /**
   * Called by `register`. Holds for transactions that the session joins from now on.
   * @throws ConfigurationError for `keepSession`, `twoPhase` and `detectWrites`, which are about databases.
   */
  configure(options: RegisterOptions): void {
    const foreign = FOREIGN.find((key) => options[key] !== undefined);
    if (foreign !== undefined) {
      throw new ConfigurationError(
        `register(): the session '${this.name}' has the options coordinator and initialState; '${foreign}' is for databases`,
        { resource: this.name },
      );
    }
    if (options.initialState !== undefined) this.#initialState = options.initialState;
    if (options.coordinator !== undefined) this.#coordinator = options.coordinator;
    this.#announce();
  }

  /** State in the current transaction; undefined where it hasn't joined, or there is none. */
  get state(): SessionState | undefined {
    return (this.#coordinator.current?.joined(this) as B | undefined)?.state;
  }

  /**
   * Joins the current transaction where it hasn't; there is nothing that it would have to be told.
   * @throws TransactionStateError when it was declared read-only (zope 148).
   */
  markChanged(_options?: MarkChangedOptions): void {
    this.branch().requireWritable('marked as changed');
  }

  /** Joins the current transaction before it is first used; see `joinTransaction`. */
  joinTransaction(options: JoinOptions = {}): void {
    this.branch(options.initialState);
  }

  /**
   * @internal The part of this session in the current transaction; joins it where it hasn't.
   * @throws NoTransaction without a transaction, TransactionClosed once its end has begun.
   */
  protected branch(initialState: SessionState = this.#initialState): B {
    const txn = this.#coordinator.enlist();
    const joined = txn.joined(this) as B | undefined;
    if (joined !== undefined) {
      joined.requireOpen();
      return joined;
    }
    if (txn.status !== 'active' && txn.status !== 'doomed' && txn.status !== 'commit failed') {
      throw new TransactionClosed(
        `a session joins while its transaction is active; that of '${this.name}' is ${txn.status}, so nothing is done`,
        { resource: this.name, xid: txn.id },
      );
    }
    this.#announce();
    return txn.getOrJoin(this, () => this.open(txn, txn.options.readOnly === true ? 'readonly' : initialState));
  }

  /** Whoever delivers messages must be known to the coordinator, also in a process that has not used it yet. */
  #announce(): void {
    const target = this as unknown as OutboxTarget;
    if (typeof target.deliver === 'function') this.#coordinator.delivers?.(target);
  }

  /** @internal Makes the part of a transaction. */
  protected abstract open(txn: Transaction, state: SessionState): B;
}
