/** What happens to transactions, written to a logger. */
import { type TransactionListeners, observe } from './events.ts';
import { ConfigurationError, describe, list } from './errors.ts';
import { type Rules, aDelay, checkOptions, oneOf } from './options.ts';
import type { Transaction } from './transaction.ts';

/** What a logger needs to have: as pino's and its like, or the console. Called with what is known, then with a message; the console the other way round. */
export interface TransactionLogger {
  /** What goes well. */
  debug(fields: object, message: string): void;
  /** What is done again, or was made up for. */
  info(fields: object, message: string): void;
  /** What has failed, and left nothing half done. */
  warn(fields: object, message: string): void;
  /** What somebody should look at. */
  error(fields: object, message: string): void;
}

/** A level of {@link TransactionLogger}. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Options of {@link logTransactions}. */
export interface LogOptions {
  /** The lowest level that is written; default `'info'`. Nothing is made for what is below it. */
  level?: LogLevel | undefined;
  /** A commit that took longer, from its beginning, is written as a warning, in milliseconds; default: none is. */
  slowMs?: number | undefined;
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
const logRules: Rules<LogOptions> = { level: oneOf(...LEVELS), slowMs: aDelay };

/**
 * Writes what happens to the transactions of this process to a logger, until the function is called that it returns:
 *
 * - `error`: a transaction is in doubt; a pass of recovery could not reach the decision store;
 * - `warn`: a commit has failed; a resource did not finish; recovery could not reach a resource; a transaction is long, idle or slow;
 * - `info`: a transaction is tried again; recovery has ended something;
 * - `debug`: everything else, from begin to commit.
 *
 * @throws ConfigurationError for what is no logger, and for unknown or impossible options.
 */
export function logTransactions(logger: TransactionLogger | Console, options: LogOptions = {}): () => void {
  for (const level of LEVELS) {
    if (typeof (logger as Partial<TransactionLogger> | undefined)?.[level] === 'function') continue;
    throw new ConfigurationError(`logTransactions() takes a logger with ${list(LEVELS)}, not ${describe(logger)}`);
  }
  checkOptions('logTransactions()', options, logRules);
  const lowest = LEVELS.indexOf(options.level ?? 'info');
  const { slowMs } = options;
  const isConsole = logger instanceof console.Console || logger === console;
  const write = (level: LogLevel, fields: object, message: string): void => {
    if (LEVELS.indexOf(level) < lowest) return;
    const [first, second] = isConsole ? [message, fields] : [fields, message];
    (logger[level] as (first: unknown, second: unknown) => void)(first, second);
  };
  const of = (txn: Transaction, more: object = {}): object => ({
    txn: txn.id,
    ...(txn.description === '' ? {} : { note: txn.description }),
    ...(txn.attempt === 1 ? {} : { attempt: txn.attempt }),
    ...more,
  });

  const always: TransactionListeners = {
    commit({ transaction, durationMs }) {
      const isSlow = slowMs !== undefined && durationMs !== undefined && durationMs > slowMs;
      if (!isSlow && lowest > 0) return;
      const fields = of(transaction, { durationMs, way: transaction.way });
      if (isSlow) write('warn', fields, 'transaction was slow');
      else write('debug', fields, 'transaction committed');
    },
    abort({ transaction, durationMs, error }) {
      if (error === undefined && lowest > 0) return;
      if (error === undefined) write('debug', of(transaction, { durationMs }), 'transaction aborted');
      else write('warn', of(transaction, { durationMs, err: error }), 'transaction could not commit');
    },
    'in-doubt': ({ transaction, error }) => write('error', of(transaction, { err: error }), 'transaction in doubt'),
    retry: ({ transaction, error }) => write('info', of(transaction, { err: error }), 'transaction is tried again'),
    warning: ({ transaction, kind, ageMs, idleMs, began }) =>
      write('warn', of(transaction, { kind, ageMs, idleMs, began }), `transaction is ${kind}`),
    finish({ transaction, resource, durationMs, error }) {
      if (error !== undefined) write('warn', of(transaction, { resource, err: error }), 'resource did not finish');
      else if (lowest === 0) write('debug', of(transaction, { resource, durationMs }), 'resource finished');
    },
    recovery({ report, error, durationMs }) {
      if (report === undefined) return write('error', { err: error, durationMs }, 'recovery failed');
      const { fenced, committed, rolledBack, left, delivered, failures } = report;
      const fields = {
        durationMs,
        fenced: fenced.length,
        committed: committed.length,
        rolledBack: rolledBack.length,
        left: left.length,
        delivered,
        failures,
      };
      const isBusy = fenced.length + committed.length + rolledBack.length + delivered > 0;
      if (failures.length > 0) write('warn', fields, 'recovery could not reach everything');
      else write(isBusy ? 'info' : 'debug', fields, 'recovery pass');
    },
  };
  // Those that come with each transaction cost something only where they are written.
  const everything: TransactionListeners = {
    begin: ({ transaction }) => write('debug', of(transaction), 'transaction begun'),
    join: ({ transaction, resource }) => write('debug', of(transaction, { resource }), 'resource joined'),
    vote: ({ transaction, resource, vote, durationMs, error }) =>
      write('debug', of(transaction, { resource, vote, durationMs, err: error }), 'resource voted'),
    decide: ({ transaction, way, durationMs, error }) =>
      write('debug', of(transaction, { way, durationMs, err: error }), 'decision written'),
  };
  return observe(lowest === 0 ? { ...always, ...everything } : always);
}
