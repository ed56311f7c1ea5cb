/** What `query` of `pg` takes in its many forms, sorted out. */
import { ConfigurationError, TransactionStateError, describe } from '../../coordinator/errors.ts';
import type { SqlBranch } from '../sql/branch.ts';
import { statementOf } from '../sql/statement.ts';
import type { PgConnection } from './connection.ts';
import type { PgQueryConfig, PgResult, PgSubmittable } from './driver.ts';

/** Is told how a statement ended. */
export type Callback<R> = (error: Error | undefined, result: R) => void;

/** Where statements go. */
export interface QueryTarget {
  readonly name: string;
  /** Runs a statement; `text` is undefined where a named one goes without it. */
  run(text: string | undefined, config: string | PgQueryConfig, values: unknown[] | undefined): Promise<PgResult>;
  /**
   * Runs work on the connection in turn; a cursor or stream gives the way to `stop` it, a statement that may be sent together with others says
   * so by `shares`. May throw where nothing can be sent.
   */
  perform<T>(work: (connection: PgConnection) => Promise<T>, stop?: () => void, shares?: () => boolean): Promise<T>;
}

/** Statements that go to a part of a session, and neither begin nor end a transaction. */
export function targetOn(name: string, branch: () => SqlBranch): QueryTarget {
  const target: QueryTarget = {
    name,
    run: (text, config, values) => {
      refuseControl(name, text);
      return target.perform(
        (connection) => connection.query(config, values),
        undefined,
        () => mayTravelWithOthers(config, values),
      );
    },
    perform: (work, stop, shares) =>
      branch().perform((connection) => work(connection as PgConnection), stop, undefined, shares),
  };
  return target;
}

/** Runs whatever `query` of `pg` takes, and returns what that does: a promise, nothing with a callback, or the cursor or stream. */
export function runQuery(
  target: QueryTarget,
  config: string | PgQueryConfig | PgSubmittable,
  values: unknown[] | Callback<PgResult> | undefined,
  callback: Callback<PgResult> | undefined,
): unknown {
  if (isSubmittable(config)) return submit(target, config);
  const done = typeof values === 'function' ? values : callback;
  const bound = typeof values === 'function' ? undefined : values;
  return answer(run(target, config, bound), done);
}

/** A promise as it is, or by a callback, which runs in the context of whoever passed it, not in that of the socket. */
export function answer<T>(result: Promise<T>, done: Callback<T> | undefined): Promise<T> | undefined {
  if (done === undefined) return result;
  result.then(
    (value) => done(undefined, value),
    (error: Error) => done(error, undefined as never),
  );
  return undefined;
}

function run(target: QueryTarget, config: string | PgQueryConfig, values: unknown[] | undefined): Promise<PgResult> {
  try {
    const text = typeof config === 'string' ? config : config?.text;
    if (typeof text === 'string') return target.run(text, config, values);
    // A named statement that was prepared before may go without its text.
    if (typeof config === 'object' && config !== null && typeof config.name === 'string') {
      return target.run(undefined, config, values);
    }
    throw new ConfigurationError(
      `query() takes a text, a query configuration with a text, or a cursor or stream, not ${describe(config)}`,
      { resource: target.name },
    );
  } catch (error) {
    return Promise.reject(error);
  }
}

/** @throws TransactionStateError for a text that begins or ends a transaction. */
export function refuseControl(name: string, text: string | undefined): void {
  const control = text === undefined ? undefined : statementOf(text).control;
  if (control === undefined) return;
  throw new TransactionStateError(
    `transactions are begun and ended by their coordinator, with commit(), abort() and savepoint(); the statement ${control} was not sent to '${name}'`,
    { resource: name, phase: 'work' },
  );
}

/**
 * Whether a statement may be sent in one flight with others: it works on rows, its result is read whole, and pg can encode its values, as an
 * error of that would end the flight in its midst.
 */
export function mayTravelWithOthers(config: string | PgQueryConfig, values: unknown[] | undefined): boolean {
  if (typeof config === 'string') return statementOf(config).isOrdinary && isPlain(values);
  const { text, rows, query_timeout: timeout } = config as PgQueryConfig & { rows?: unknown };
  if (typeof text !== 'string' || rows !== undefined || timeout !== undefined) return false;
  return statementOf(text).isOrdinary && isPlain(values ?? config.values);
}

/** Whether pg makes text of it without calling what is the user's. */
function isPlain(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isPlain);
  if (typeof value === 'object') return value === null || value instanceof Date || Buffer.isBuffer(value);
  return typeof value !== 'function' && typeof value !== 'symbol';
}

/** Whether it is a query that speaks the protocol by itself. */
export function isSubmittable(config: unknown): config is PgSubmittable {
  return (
    typeof config === 'object' && config !== null && typeof (config as Partial<PgSubmittable>).submit === 'function'
  );
}

/** A cursor or stream: sent when it is its turn, and through when it has been read or closed. */
function submit<T extends PgSubmittable>(target: QueryTarget, submittable: T): T {
  const through = target.perform(
    (connection) => connection.submit(submittable),
    () => stop(submittable),
  );
  through.catch((error: Error) => tell(submittable, error));
  return submittable;
}

/** Tells a cursor or stream why it never reached the connection, which would have told it. */
export function tell(submittable: PgSubmittable, error: Error): void {
  const told = submittable as { handleError?: (error: Error) => void; destroy?: (error: Error) => void };
  if (told.destroy !== undefined) told.destroy(error);
  else told.handleError?.(error);
}

/** Ends a cursor or stream that nobody reads any more. */
export function stop(submittable: PgSubmittable): void {
  const { destroy, close } = submittable as { destroy?: () => void; close?: () => Promise<void> | void };
  if (typeof destroy === 'function') destroy.call(submittable);
  else if (typeof close === 'function') Promise.resolve(close.call(submittable)).catch(() => undefined);
}
