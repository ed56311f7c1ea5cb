/** What the author of a data manager hands to the conformance suite. */
import type { TransactionCoordinator } from '../../coordinator/coordinator.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { Awaitable, RecoverableResource } from '../../coordinator/types.ts';
import type { DataManagerPhase } from './intercept.ts';

/** What a data manager can do besides what all must. Each is checked to be there, or not to be there, as it is said. */
export interface Capabilities {
  /** It has the method `savepoint`. */
  readonly savepoints: boolean;
  /** It votes `'read-only'` where nothing was changed. */
  readonly readOnlyVote: boolean;
  /** It can only commit in one phase: its `lastResource` is true. */
  readonly lastResource: boolean;
  /** Its vote may be its commit where nothing else has changes: its `onePhase` is true. */
  readonly onePhase: boolean;
  /** What it has prepared outlives the process: it has `recoverable`, and `hold`. */
  readonly recoverable: boolean;
  /** What a transaction reads has in it what the transaction has written. */
  readonly readsOwnWrites: boolean;
}

/** What can be made to fail: work, a call of the data manager, or the rollback of one of its savepoints. */
export type FailingPhase = 'work' | Exclude<DataManagerPhase, 'hold'>;

/**
 * Makes the next such phase of the current transaction fail, as it really would: by cutting a connection, by data that the server
 * refuses when it is to commit, by a folder that has gone. Called in the transaction, where something was written already. For
 * `'work'` it does work that fails, and rejects with its error.
 *
 * Returns, where it has to, a function that ends the trouble; it is called when the transaction has ended. A string in its place
 * says why the phase can't be made to fail, and is what its check is skipped for.
 */
export type Failure<R> = ((resource: R, txn: Transaction) => Awaitable<void | (() => Awaitable<unknown>)>) | string;

/** How what is prepared is found and ended without the transaction that prepared it. */
export interface RecoverySubject<R> {
  /** The resource as recovery asks it; after a crash too. */
  resource(resource: R): RecoverableResource;
  /**
   * Loses what a crash of the process would, as far as that can be done from within: the connections, the memory. What is
   * prepared must outlive it. Called between the vote and the end; a string says why it can't be done.
   */
  readonly crash?: ((resource: R) => Awaitable<unknown>) | string | undefined;
  /**
   * Prepares something in the same place that is none of this resource's, such as another application's; returns the function
   * that ends it. A string says why it can't be done.
   */
  readonly foreign?: ((resource: R) => Awaitable<() => Awaitable<unknown>>) | string | undefined;
}

/**
 * A resource whose data managers are to be checked. `R` is whatever `open` makes: a session and its database, say.
 *
 * The checks write values, short strings of letters and digits, no two of which are the same, and look at what is stored. For a
 * table a value is a row, for a mailer a mail with that subject, for a folder a file of that name.
 */
export interface ConformanceSubject<R> {
  /** What its data managers can do besides what all must. */
  readonly capabilities: Capabilities;
  /** Opens the resource, with nothing stored. Called for each check; what is expensive may be kept, and emptied here. */
  open(): Awaitable<R>;
  /** Closes it; the last call of each check. */
  close(resource: R): Awaitable<unknown>;
  /** Writes a value in the current transaction. The resource joins by itself, before anything is awaited. */
  write(resource: R, value: string): Awaitable<unknown>;
  /** All values that are stored, in any order, as somebody sees them who is in no transaction. Called outside of all. */
  stored(resource: R): Awaitable<Iterable<string>>;
  /**
   * Uses the resource in the current transaction and changes nothing; it joins by that. Answers with the values that the
   * transaction sees, where that can be told. Leave it out where nothing can be used without being changed, as with a mail.
   */
  readonly read?: ((resource: R) => Awaitable<Iterable<string> | void>) | undefined;
  /**
   * How much it holds on behalf of transactions: connections in use, locks, prepared branches, temporary files. As it was when
   * the resource was opened, it must be after each check. Leave it out where it can't hold anything.
   */
  readonly held?: ((resource: R) => Awaitable<number | Readonly<Record<string, number>>>) | undefined;
  /** How phases are made to fail. The checks of those that aren't here are skipped. */
  readonly failures?: { readonly [P in FailingPhase]?: Failure<R> } | undefined;
  /**
   * Does something in the current transaction, and to the resource from outside, after which the transaction can't commit but
   * would when it was tried again: another writer has changed what this one has read, say. A string says why that can't be.
   */
  readonly conflict?: ((resource: R) => Awaitable<unknown>) | string | undefined;
  /** Errors for which the whole transaction may be tried again, and errors for which it must not be. */
  readonly errors?: { readonly transient: readonly Error[]; readonly permanent: readonly Error[] } | undefined;
  /** For what is `recoverable`. */
  readonly recovery?: RecoverySubject<R> | undefined;
  /** The coordinator whose transactions the resource joins; default the process-wide `transaction`. */
  readonly coordinator?: TransactionCoordinator | undefined;
  /** How long each step may take, in milliseconds; default 10,000. */
  readonly timeoutMs?: number | undefined;
}

/** One check of the suite, for any test runner. */
export interface ConformanceCheck {
  /** What it protects, as a sentence; the same in every release, so that it can be picked out. */
  readonly name: string;
  /** Why it can't be done with this subject; undefined where it can. */
  readonly skip: string | undefined;
  /**
   * Does it: with a resource of its own, which it closes.
   * @throws ConformanceError that says which rule of the contract was broken. One with a reason to be skipped always throws, so that
   * nothing passes that was not checked.
   */
  run(): Promise<void>;
}
