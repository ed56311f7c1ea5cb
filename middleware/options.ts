/** What a middleware can be told, and the check of it. */
import type { TransactionCoordinator } from '../coordinator/coordinator.ts';
import { ConfigurationError } from '../coordinator/errors.ts';
import type { TransactionManager } from '../coordinator/manager.ts';
import {
  type Rule,
  aBoolean,
  aCount,
  aFunction,
  aTransactionCoordinator,
  checkOptions,
  oneOf,
  transactionRules,
} from '../coordinator/options.ts';
import { runOptionRules } from '../coordinator/run.ts';
import type { Transaction } from '../coordinator/transaction.ts';
import type { Awaitable, Backoff, IsolationLevel, TransactionOptions } from '../coordinator/types.ts';

/**
 * Options of every middleware. `Q` and `S` are what the framework calls a request and a response; a middleware's own page says which
 * they are.
 */
export interface RequestOptions<Q, S> {
  /** Whose transactions they are; default `transaction`. */
  coordinator?: TransactionCoordinator | undefined;
  /** Chooses the coordinator, or a manager of its own, for each request; goes before `coordinator` (zope 160). */
  manager?: ((request: Q) => TransactionCoordinator | TransactionManager) | undefined;
  /** `false` for a request that is to have no transaction (zope 158). */
  activate?: ((request: Q) => Awaitable<boolean>) | undefined;
  /** Isolation level of the transactions; default the database's. */
  isolation?: IsolationLevel | undefined;
  /** Whether the transactions are opened read-only; {@link begin} can say that of some. */
  readOnly?: boolean | undefined;
  /** Whether a serializable, read-only transaction waits until it can't fail. */
  deferrable?: boolean | undefined;
  /** How long a request may take until its transaction is doomed and the request answered with an error, in milliseconds. */
  timeoutMs?: number | undefined;
  /** Options of the transaction of one request, which go before those above. */
  begin?: ((request: Q) => TransactionOptions) | undefined;
  /**
   * Who asks. A text becomes `txn.user`. Called inside the transaction when it begins and, where there was no text yet, once more when
   * the handler has finished (zope 166).
   */
  annotateUser?: ((request: Q) => Awaitable<string | null | undefined>) | undefined;
  /** The note on the transaction (zope 166); default the method and the path, as `GET /path`. `false` for none. */
  note?: ((request: Q) => string) | false | undefined;
  /**
   * Whether a response keeps its transaction from being committed: `true` aborts. `error` is what the handler threw, where an error
   * handler has made the response. Default: the response header `x-tm` decides; without it, an error or a status of 400 or more aborts
   * (departure from zope 164). `false` for none: an error alone aborts.
   */
  commitVeto?: ((request: Q, response: S, txn: Transaction, error: unknown) => Awaitable<boolean>) | false | undefined;
  /** Whether the response header `x-tm` is sent to the client; default false. */
  exposeHeader?: boolean | undefined;
  /**
   * How often the handler is called at most, each time in another transaction, while the error is transient; default 1. A request whose
   * body the first attempt has read is not tried again, nor one whose response has begun (zope 172).
   */
  attempts?: number | undefined;
  /** The wait between attempts; see `run`. */
  backoff?: Backoff | false | undefined;
  /**
   * A response that comes in pieces: `'commit'` (default) commits before the first one is sent, so that the rest has no transaction;
   * `'buffer'` keeps all of them until the end, and then commits.
   */
  streams?: 'commit' | 'buffer' | undefined;
  /** How much `'buffer'` keeps of one response at most, in bytes; default 16 MiB. More is an error, and nothing is committed. */
  maxBufferBytes?: number | undefined;
}

/** Options as they were checked. */
export interface Settings<Q, S> extends RequestOptions<Q, S> {
  readonly attempts: number;
  readonly streams: 'commit' | 'buffer';
  readonly maxBufferBytes: number;
  readonly exposeHeader: boolean;
}

const DEFAULT_MAX_BUFFER_BYTES = 16 * 1024 * 1024;

const functionOrFalse: Rule = {
  requires: 'a function or false',
  accepts: (value) => value === false || typeof value === 'function',
};
const rules: Record<keyof RequestOptions<unknown, unknown>, Rule> = {
  coordinator: aTransactionCoordinator,
  manager: aFunction,
  activate: aFunction,
  isolation: transactionRules.isolation,
  readOnly: transactionRules.readOnly,
  deferrable: transactionRules.deferrable,
  timeoutMs: transactionRules.timeoutMs,
  begin: aFunction,
  annotateUser: aFunction,
  note: functionOrFalse,
  commitVeto: functionOrFalse,
  exposeHeader: aBoolean,
  attempts: aCount,
  backoff: runOptionRules.backoff,
  streams: oneOf('commit', 'buffer'),
  maxBufferBytes: aCount,
};

/**
 * Checks options, once for all requests. `more` are the rules of options that only one middleware has.
 * @throws ConfigurationError for unknown or impossible options.
 */
export function settingsOf<Q, S>(
  where: string,
  options: RequestOptions<Q, S>,
  more: Readonly<Record<string, Rule>> = {},
): Settings<Q, S> {
  checkOptions(where, options, { ...rules, ...more });
  return {
    ...options,
    attempts: options.attempts ?? 1,
    streams: options.streams ?? 'commit',
    maxBufferBytes: options.maxBufferBytes ?? DEFAULT_MAX_BUFFER_BYTES,
    exposeHeader: options.exposeHeader ?? false,
  };
}

/** @throws ConfigurationError where a middleware that can't call its handler again is told to. */
export function refuseAttempts(where: string, { attempts }: { readonly attempts: number }, instead: string): void {
  if (attempts === 1) return;
  throw new ConfigurationError(
    `${where} with attempts: ${attempts} needs a handler that it can call again, and middleware can go on to what is behind it only once: ${instead}`,
  );
}
