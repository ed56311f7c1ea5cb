/** The errors of a Redis session, and what the errors of the server mean. */
import { HeuristicError, TransientError, type TransactionErrorOptions } from '../../coordinator/errors.ts';

/** A command of a transaction, in an error. */
export interface RedisCommandInfo {
  /** The command, in lower case. */
  readonly command: string;
  /** Its keys, with the client's `keyPrefix`. */
  readonly keys: readonly string[];
  /** Why it failed; absent where it was applied. */
  readonly error?: Error;
}

/** What a {@link PartlyAppliedError} is made with. */
export interface PartlyAppliedDetails extends TransactionErrorOptions {
  /** The commands that were applied. */
  applied: readonly RedisCommandInfo[];
  /** Those that failed. */
  failed: readonly RedisCommandInfo[];
}

/**
 * Some commands of a transaction were applied and others failed, which Redis doesn't roll back. The other resources were rolled back;
 * what was applied stays, and has to be put right by hand. Never retried.
 */
export class PartlyAppliedError extends HeuristicError {
  /** The commands that were applied, in their order. */
  readonly applied: readonly RedisCommandInfo[];
  /** The commands that failed, each with its error. */
  readonly failed: readonly RedisCommandInfo[];

  constructor(message: string, details: PartlyAppliedDetails) {
    super(message, details);
    this.applied = details.applied;
    this.failed = details.failed;
  }
}

/** What a {@link WatchConflictError} is made with. */
export interface WatchConflictDetails extends TransactionErrorOptions {
  /** The keys that were watched. */
  keys: readonly string[];
}

/** A watched key was changed by somebody else, or has expired: nothing was applied, and the whole may be tried again. */
export class WatchConflictError extends TransientError {
  override get code(): string {
    return 'ERR_TXN_WATCH_CONFLICT';
  }
  /** The keys that were watched, with the client's `keyPrefix`; which of them was changed, Redis doesn't say. */
  readonly keys: readonly string[];

  constructor(message: string, details: WatchConflictDetails) {
    super(message, details);
    this.keys = details.keys;
  }
}

/**
 * Errors of the server that pass: it loads its data, is busy with a script, has become a replica, lacks replicas, or the slot is being
 * moved or has no node for now.
 */
const RETRYABLE: ReadonlySet<string> = new Set([
  'ASK',
  'BUSY',
  'CLUSTERDOWN',
  'LOADING',
  'MASTERDOWN',
  'MOVED',
  'NOREPLICAS',
  'READONLY',
  'TRYAGAIN',
]);

/** Errors that say that another server is in charge now, so that the connection is of no more use. */
const SOMEBODY_ELSES: ReadonlySet<string> = new Set(['MASTERDOWN', 'READONLY']);

/** The first word of an error that the server sent, such as `WRONGTYPE`; undefined for any other error. */
export function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  // EXEC says why it was discarded, from Redis 7 on.
  const message = error.message.replace(/^EXECABORT Transaction discarded because of: /, '');
  const word = /^[A-Z][A-Z0-9]{2,}(?= |$)/.exec(message)?.[0];
  // ioredis names them so; a minifier may have renamed them.
  return word ?? (error.name === 'ReplyError' ? 'ERR' : undefined);
}

/** Whether the server sent it; else the connection is gone, or was never there. */
export function isReply(error: unknown): error is Error {
  return replyCode(error) !== undefined;
}

/** Whether it passes, so that the whole transaction may be tried again. */
export function isPassing(error: Error): boolean {
  if ((error as { code?: unknown }).code === 'ERR_TXN_CONNECTION_LOST') return true;
  const code = replyCode(error);
  return code !== undefined && RETRYABLE.has(code);
}

/** Whether the connection leads to a server that isn't in charge any more. */
export function isDemotion(error: unknown): boolean {
  return SOMEBODY_ELSES.has(replyCode(error) ?? '');
}
