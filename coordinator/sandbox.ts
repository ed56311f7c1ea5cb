/** What a coordinator, its transactions and their sessions ask of a sandbox: where all that is committed is undone in the end. */
import type { Decisions } from './decisions.ts';
import type { Transaction } from './transaction.ts';
import type { DataManager } from './types.ts';

/** Made by `unanimous/testing`; a coordinator has one at most. */
export interface Sandbox {
  /** Where decisions are taken in it; undefined where the coordinator has no decision log. */
  readonly decisions: Decisions | undefined;
  /** Why no transaction may begin in it; undefined where it may. */
  readonly refusal: () => Error | undefined;
  /** The same when it is over, for work that has outlived it. */
  readonly outlived: () => Error | undefined;
  /** A transaction was begun in it, by code of the transaction `parent`, where there is one. */
  began(txn: Transaction, parent: Transaction | undefined): void;
  /** A data manager has joined one of its transactions. */
  joined(txn: Transaction, manager: DataManager): void;
  /** Calls `fn` for code of `txn`, which waits for it and whose transaction it is not to see. */
  suspended<R>(txn: Transaction | undefined, fn: () => R): R;
}
