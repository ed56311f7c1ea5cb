/**
 * Every error that this package makes. A message states what was required, what was seen and what follows from it;
 * `code` never changes between releases.
 */
import { inspect } from 'node:util';
import { hideCredentials, printable } from './printable.ts';
import type { ResourceWarningKind } from './types.ts';

/** Where in the life of a transaction an error arose. */
export type Phase =
  | 'begin'
  | 'work'
  | 'savepoint'
  | 'before commit'
  | 'tpcBegin'
  | 'commit'
  | 'tpcVote'
  | 'tpcFinish'
  | 'abort'
  | 'tpcAbort';

/** What an error is made with, besides its message. */
export interface TransactionErrorOptions {
  /** The error that led to this one. */
  cause?: unknown;
  /** The name or sort key of the resource concerned. */
  resource?: string | undefined;
  /** The global transaction id concerned. */
  xid?: string | undefined;
  /** Where in the life of the transaction it arose. */
  phase?: Phase | undefined;
}

/** Base class of every error made by this package. */
export class TransactionError extends Error {
  /** Stable identifier of the kind of error: `ERR_TXN_…`. */
  get code(): string {
    return 'ERR_TXN';
  }
  /** The name or sort key of the resource concerned, where there is one. */
  declare readonly resource?: string;
  /** The global transaction id concerned, where it is known. */
  declare readonly xid?: string;
  /** Where in the life of the transaction the error arose, where it is known. */
  declare readonly phase?: Phase;
  /** Errors of the cleanup that followed this one; see {@link suppress}. */
  declare readonly suppressed?: readonly unknown[];

  constructor(message: string, options: TransactionErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    const self = this as { resource?: string; xid?: string; phase?: Phase };
    if (options.resource !== undefined) self.resource = options.resource;
    if (options.xid !== undefined) self.xid = options.xid;
    if (options.phase !== undefined) self.phase = options.phase;
    // Its own as well, so that it is kept by libraries that copy an error's own properties into one of theirs.
    Object.defineProperty(this, 'code', { value: this.code, configurable: true, writable: true });
  }

  override get name(): string {
    return this.constructor.name;
  }
}

/** An earlier step of this transaction failed; only `abort()` is left (zope 54, 55). The cause is that step's error. */
export class TransactionFailedError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_FAILED';
  }
}

/** The transaction was doomed and can't be committed (zope 52). */
export class DoomedTransaction extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_DOOMED';
  }
}

/** The transaction ran past its `timeoutMs`, and was doomed by that. */
export class TransactionTimeoutError extends DoomedTransaction {
  override get code(): string {
    return 'ERR_TXN_TIMEOUT';
  }
}

/** Trying again from the start may succeed (zope 112): throw a subclass of it to be retried by `run`. */
export class TransientError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_TRANSIENT';
  }
  /** Always true; a property, so that it is recognised across copies of the package. */
  get isTransient(): true {
    return true;
  }
}

/** A row was changed by somebody else since it was read; see {@link expectUpdated}. Transient: another attempt reads it anew. */
export class OptimisticLockError extends TransientError {
  override get code(): string {
    return 'ERR_TXN_OPTIMISTIC_LOCK';
  }
}

/** There is no transaction in this asynchronous context, and the mode is explicit (zope 7). */
export class NoTransaction extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_NO_TRANSACTION';
  }
}

/**
 * The transaction is over: it was committed or aborted, or is ending. Late work of a task that outlived its transaction
 * gets this rather than a stray transaction.
 */
export class TransactionClosed extends NoTransaction {
  override get code(): string {
    return 'ERR_TXN_CLOSED';
  }
}

/** A transaction is already active where a new one was to begin (zope 8). */
export class AlreadyInTransaction extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_ALREADY_IN_TRANSACTION';
  }
}

/** The operation isn't allowed in the transaction's present status (Python's ValueError of a wrong state). */
export class TransactionStateError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_STATE';
  }
}

/** The savepoint is no longer valid: an earlier one was rolled back, or the transaction has ended (zope 120, 121). */
export class InvalidSavepointRollbackError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_INVALID_SAVEPOINT_ROLLBACK';
  }
}

/** A joined data manager can't make savepoints (zope 115, 118). */
export class SavepointsUnsupportedError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_SAVEPOINTS_UNSUPPORTED';
  }
}

/** One transaction was used by two things at once in a way that can't be put in order. */
export class ConcurrentUseError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_CONCURRENT_USE';
  }
}

/** No connection could be had within `acquireTimeoutMs`. */
export class AcquireTimeoutError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_ACQUIRE_TIMEOUT';
  }
}

/**
 * The connection that a transaction worked over is gone, and with it the transaction: the server has rolled it back, or will.
 * The cause says what ended it. Nothing was committed, so the whole may be tried again.
 */
export class ConnectionLostError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_CONNECTION_LOST';
  }
}

/**
 * The server answered ROLLBACK to a COMMIT or PREPARE TRANSACTION: a statement had failed and its error was swallowed.
 * Nothing was stored. The cause is the swallowed error.
 */
export class SilentRollbackError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_SILENT_ROLLBACK';
  }
}

/** The reply to a COMMIT was lost and whether it happened can't be found out. Never retried. */
export class CommitOutcomeUnknownError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_OUTCOME_UNKNOWN';
  }
}

/** What an {@link InDoubtError} is made with. */
export interface InDoubtDetails extends TransactionErrorOptions {
  /** The resources that have confirmed the commit. */
  finished: readonly string[];
  /** The resources that are bound to commit and have not confirmed it. */
  unfinished: readonly string[];
}

/**
 * The decision to commit was taken, or may have been, and not every resource has confirmed it. What is unfinished stays
 * prepared, with its locks, until it is committed; it is never rolled back and the work must not be repeated.
 */
export class InDoubtError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_IN_DOUBT';
  }
  /** The resources that have confirmed the commit. */
  readonly finished: readonly string[];
  /** The resources that are bound to commit and have not confirmed it. */
  readonly unfinished: readonly string[];

  constructor(message: string, details: InDoubtDetails) {
    super(message, details);
    this.finished = details.finished;
    this.unfinished = details.unfinished;
  }
}

/** The decision to commit was not written to the decision store, and won't be: everything is rolled back. */
export class DecisionFailedError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_DECISION_FAILED';
  }
}

/**
 * This process was taken for dead by another one, after a pause longer than its lease, and may not decide any more; its
 * transactions are rolled back. It goes on under a new identity, so that trying again may succeed.
 */
export class FencedError extends DecisionFailedError {
  override get code(): string {
    return 'ERR_TXN_FENCED';
  }
  /** Always true; a property, so that it is recognised across copies of the package. */
  get isTransient(): true {
    return true;
  }
}

/** A branch was committed or rolled back by hand, against or ahead of the decision (X/Open: heuristic outcome). */
export class HeuristicError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_HEURISTIC';
  }
}

/** What a {@link RecoveryWarning} is made with, besides its message. */
export interface RecoveryWarningDetails extends TransactionErrorOptions {
  /** What kind it is. */
  readonly kind: ResourceWarningKind;
}

/**
 * Something keeps recovery from its work, or soon will. Never thrown: reported to `onError`, at most once an hour for each resource and
 * {@link kind}, and part of the report of a pass.
 */
export class RecoveryWarning extends TransactionError {
  /** What kind it is. */
  readonly kind: ResourceWarningKind;

  constructor(message: string, options: RecoveryWarningDetails) {
    super(message, options);
    this.kind = options.kind;
  }

  override get code(): string {
    return 'ERR_TXN_RECOVERY_WARNING';
  }
}

/** Two resources that can only commit in one phase would take part; at most one can be right. */
export class TooManyLastResourcesError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_TOO_MANY_LAST_RESOURCES';
  }
}

/** An argument, an option or a server's setting isn't what is required. */
export class ConfigurationError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_CONFIGURATION';
  }
}

/** True for a {@link TransientError}, of whichever copy of the package. */
export function isTransient(error: unknown): boolean {
  return typeof error === 'object' && error !== null && (error as { isTransient?: unknown }).isTransient === true;
}

/** True where the reply to a COMMIT was lost ({@link CommitOutcomeUnknownError}), of whichever copy of the package. */
export function isOutcomeUnknown(error: unknown): error is CommitOutcomeUnknownError {
  return codeOf(error) === 'ERR_TXN_OUTCOME_UNKNOWN';
}

/** True for a {@link FencedError}, of whichever copy of the package. */
export function isFenced(error: unknown): boolean {
  return codeOf(error) === 'ERR_TXN_FENCED';
}

/** True for a {@link HeuristicError}, of whichever copy of the package. */
export function isHeuristic(error: unknown): boolean {
  return codeOf(error) === 'ERR_TXN_HEURISTIC';
}

/** True where something may have been committed although an error came of it: never to be repeated. */
export function mayHaveCommitted(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ERR_TXN_OUTCOME_UNKNOWN' || code === 'ERR_TXN_IN_DOUBT' || code === 'ERR_TXN_HEURISTIC';
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined;
}

/** What was thrown as an `Error`: an error is returned as it is, anything else becomes the cause of one. */
export function toError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  // Errors of another realm (a vm context) are errors too.
  if (Object.prototype.toString.call(thrown) === '[object Error]') return thrown as Error;
  return new TransactionError(`an error was expected to be thrown, not ${describe(thrown)}`, { cause: thrown });
}

/**
 * Hangs a failure of the cleanup on the error that led to the cleanup, under `suppressed`, so that it neither replaces the
 * error nor gets lost. Returns the error.
 */
export function suppress<E>(error: E, failure: unknown): E {
  if (failure === error || typeof error !== 'object' || error === null) return error;
  const holder = error as { suppressed?: unknown[] };
  if (Array.isArray(holder.suppressed)) {
    if (!holder.suppressed.includes(failure)) holder.suppressed.push(failure);
  } else if (Object.isExtensible(holder)) {
    Object.defineProperty(holder, 'suppressed', { value: [failure], configurable: true, writable: true });
  }
  return error;
}

/** The failures that hang on an error; see {@link suppress}. */
export function suppressedBy(error: unknown): readonly unknown[] {
  const { suppressed } = (error ?? {}) as { suppressed?: unknown };
  return Array.isArray(suppressed) ? suppressed : [];
}

/**
 * A value as a short text for a message: in one line, of at most 80 characters, without what looks like a password in an address. Never
 * throws, whatever the value does when it is looked at.
 */
export function describe(value: unknown): string {
  let text: string;
  try {
    text = printable(inWords(value));
  } catch {
    text = `${value !== null && typeof value === 'object' ? 'an object' : 'a value'} that can't be looked at`;
  }
  return text.length > 80 ? `${text.slice(0, 79).replace(/[\uD800-\uDBFF]$/, '')}…` : text;
}

/** So much of a name or a text is looked at: 80 characters are shown. */
const LONGEST_SHOWN = 200;
const MOST_KEYS = 20;

function inWords(value: unknown): string {
  if (typeof value === 'function') {
    const name = nameOf(value);
    return name === '' ? 'a function' : `the function ${name}`;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { constructor } = value;
    if (constructor === Object) {
      return `an object with the keys ${list(
        Object.keys(value)
          .slice(0, MOST_KEYS)
          .map((key) => key.slice(0, LONGEST_SHOWN)),
      )}`;
    }
    if (typeof constructor === 'function') return `an instance of ${nameOf(constructor)}`;
  }
  const shown = Array.isArray(value) ? value.slice(0, MOST_KEYS).map(withoutSecrets) : withoutSecrets(value);
  return inspect(shown, { depth: 0, breakLength: Infinity, maxStringLength: 60, customInspect: false });
}

/** Anybody may have given a function another name, or none that is a text. */
function nameOf(fn: object): string {
  const { name } = fn as { name?: unknown };
  return typeof name === 'string' ? name.slice(0, LONGEST_SHOWN) : '';
}

/** A whole text, not only what is shown: the end of a password may be behind that. */
function withoutSecrets(value: unknown): unknown {
  return typeof value === 'string' && value.includes('://') ? hideCredentials(value) : value;
}

/** Names as `a, b and c`; `none` for no names. */
export function list(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  if (names.length === 1) return names[0]!;
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)!}`;
}
