/** Timeouts and signals: what dooms a transaction from outside, until it is decided. */
import { DoomedTransaction, TransactionTimeoutError, toError } from './errors.ts';
import { environment, type Timer } from './environment.ts';
import { isFinished } from './status.ts';
import type { Transaction } from './transaction.ts';

/** Watches the clock and a signal for one transaction, or for one function that takes part in it. */
export class Deadline {
  readonly #txn: Transaction;
  #timer: Timer = undefined;
  #signal: AbortSignal | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;
  #passed: Error | undefined = undefined;
  #waiting: ((error: Error) => void) | undefined = undefined;

  constructor(txn: Transaction, timeoutMs: number | undefined, signal: AbortSignal | undefined) {
    this.#txn = txn;
    if (timeoutMs !== undefined) {
      // Unreferenced: a transaction that nothing else keeps going needs nobody to end it.
      this.#timer = environment.setTimer(() => this.#pass(timeoutError(txn, timeoutMs)), timeoutMs, false);
    }
    if (signal !== undefined) {
      this.#signal = signal;
      this.#onAbort = () => this.#pass(signalError(signal, txn.id));
      signal.addEventListener('abort', this.#onAbort, { once: true });
    }
  }

  /** The error with which it has passed; undefined while it hasn't. */
  get passed(): Error | undefined {
    return this.#passed;
  }

  /** Answers as `work` does, unless the deadline passes first: then rejects with its error. */
  race<T>(work: PromiseLike<T> | T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting = reject;
      Promise.resolve(work).then(resolve, reject);
      if (this.#passed !== undefined) reject(this.#passed);
    });
  }

  clear(): void {
    if (this.#timer !== undefined) environment.clearTimer(this.#timer);
    this.#timer = undefined;
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#onAbort = undefined;
    this.#signal = undefined;
    this.#waiting = undefined;
  }

  #pass(error: Error): void {
    const txn = this.#txn;
    if (txn.decided || isFinished(txn.state) || txn.state === 'aborting' || txn.state === 'commit failed') return;
    this.#passed = error;
    // While committing the status stays: the phases look for the reason before the decision.
    if (txn.state === 'active') txn.doom(error);
    else txn.doomReason ??= error;
    for (const manager of txn.resources.slice()) {
      try {
        manager.cancel?.(error);
      } catch (failure) {
        txn.manager.report(toError(failure));
      }
    }
    this.#waiting?.(error);
  }
}

function timeoutError(txn: Transaction, timeoutMs: number): TransactionTimeoutError {
  return new TransactionTimeoutError(
    `a transaction must be decided within its timeoutMs; ${timeoutMs} ms have passed, so it is doomed and will be rolled back`,
    { xid: txn.id },
  );
}

/** The error of a transaction whose signal was aborted. */
export function signalError(signal: AbortSignal, xid?: string): DoomedTransaction {
  const reason: unknown = signal.reason;
  return new DoomedTransaction(
    `a transaction goes on while its signal isn't aborted; it was aborted (${reason instanceof Error ? reason.message : String(reason)}), so the transaction is doomed and will be rolled back`,
    { xid, cause: reason },
  );
}
