/** The parts of a transaction that run behind a savepoint of their own, and whose turn it is. */
import { ConcurrentUseError, TransactionClosed } from './errors.ts';
import type { Transaction } from './transaction.ts';

/**
 * A part of a transaction behind a savepoint of its own. The open ones form a stack: while one is open, only code inside of it
 * may work in the transaction, lest its rollback takes a sibling's work along.
 */
export interface NestedFrame {
  readonly parent: NestedFrame | undefined;
  closed: boolean;
  /** The error that left a function which took part in it: only its rollback is left. */
  failure: Error | undefined;
  /** Siblings that wait for their turn. */
  readonly waiting: (() => void)[];
}

/** The frame has closed, or its transaction has ended: whoever waits looks again. */
export function wakeWaiting(frame: NestedFrame): void {
  for (const wake of frame.waiting.splice(0)) wake();
}

/** @throws unless code in `frame` may work in the transaction now. */
export function checkFrame(txn: Transaction, frame: NestedFrame | undefined): void {
  if (txn.innermost === frame) return;
  if (frame?.closed === true) throw frameClosed(txn);
  throw new ConcurrentUseError(
    'while a nested run is open, only what it calls may work in its transaction: a rollback to its savepoint would take the rest along; await it first',
    { xid: txn.id, phase: 'work' },
  );
}

/** The error of work that outlived its nested run. */
export function frameClosed(txn: Transaction): TransactionClosed {
  return new TransactionClosed(
    'work in a nested run must be done before the run ends; the one that this was started in has ended, with its savepoint',
    { xid: txn.id, phase: 'work' },
  );
}
