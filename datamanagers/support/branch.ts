/** What the branches of mails and files share: when they take work, and what state they are in. */
import { TransactionClosed, TransactionStateError } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { SessionState } from '../../coordinator/types.ts';

/** One session's part of one transaction. */
export abstract class PlainBranch {
  readonly name: string;
  protected readonly txn: Transaction;
  /** True once the end has begun. */
  protected closed = false;
  readonly #declared: SessionState;

  constructor(name: string, txn: Transaction, declared: SessionState) {
    this.name = name;
    this.txn = txn;
    this.#declared = declared;
  }

  /** Whether there is anything to commit. */
  protected abstract get hasWork(): boolean;

  /** What was declared, and whether there is anything to commit. */
  get state(): SessionState {
    return this.#declared === 'active' && this.hasWork ? 'changed' : this.#declared;
  }

  /** @throws TransactionClosed once the end has begun. */
  requireOpen(): void {
    if (!this.closed) return;
    const status = this.txn.status;
    throw new TransactionClosed(
      `a session works while its transaction is active; that of '${this.name}' is ${status === 'active' || status === 'doomed' ? 'ending' : status}, so nothing more is done`,
      { resource: this.name, xid: this.txn.id },
    );
  }

  /** @throws TransactionStateError where it was declared read-only, TransactionClosed once the end has begun. */
  requireWritable(what: string): void {
    this.requireOpen();
    if (this.#declared !== 'readonly') return;
    throw new TransactionStateError(
      `a session must not be read-only to be ${what}; '${this.name}' is read-only in this transaction`,
      { resource: this.name, xid: this.txn.id },
    );
  }
}
