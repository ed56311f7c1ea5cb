// uvu's assertions, and two that asynchronous tests need.
import * as base from 'uvu/assert';
import { setTimeout as sleep } from 'node:timers/promises';

type ErrorClass<E extends Error = Error> = abstract new (...args: never[]) => E;
type ErrorProperties = { readonly [key: string]: unknown };
type ErrorPredicate = (error: unknown) => boolean;

/** What a rejection must be: an instance, an error with these properties, or whatever a predicate accepts. */
export type ExpectedError = ErrorClass | ErrorProperties | ErrorPredicate;

/** Asserts that something rejects, and returns what it rejected with. */
async function rejects<E extends Error>(
  action: PromiseLike<unknown> | (() => unknown),
  expected: ErrorClass<E>,
  message?: string,
): Promise<E>;
async function rejects(
  action: PromiseLike<unknown> | (() => unknown),
  expected?: ExpectedError,
  message?: string,
): Promise<any>;
async function rejects(
  action: PromiseLike<unknown> | (() => unknown),
  expected?: ExpectedError,
  message = 'the rejection is not the expected one',
): Promise<unknown> {
  let value: unknown;
  try {
    value = await (typeof action === 'function' ? action() : action);
  } catch (error) {
    if (expected !== undefined) check(error, expected, message);
    return error;
  }
  throw new base.Assertion({
    message: 'expected a rejection, but it resolved',
    operator: 'rejects',
    actual: value,
    expects: expected,
    generated: true,
  });
}

function check(error: unknown, expected: ExpectedError, message: string): void {
  if (isErrorClass(expected)) {
    if (!(error instanceof expected)) throw unexpected(error, `${message}: expected ${expected.name}`);
  } else if (typeof expected === 'function') {
    if (!expected(error)) throw unexpected(error, message);
  } else {
    // A regular expression has no properties of its own: every error would match.
    if (Object.keys(expected).length === 0) throw new TypeError(`${describe(expected)} expects nothing of an error`);
    for (const [key, value] of Object.entries(expected)) {
      base.equal((error as ErrorProperties | undefined)?.[key], value, `${message}: ${key} of ${describe(error)}`);
    }
  }
}

function isErrorClass(expected: ExpectedError): expected is ErrorClass {
  return typeof expected === 'function' && (expected === Error || expected.prototype instanceof Error);
}

/** Keeps the cause, so that the report shows where the unexpected error came from. */
function unexpected(error: unknown, message: string): Error {
  return new Error(`${message}, but it was ${describe(error)}`, { cause: error });
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** Repeats until the function neither throws nor returns false, and returns what it returned. */
async function eventually<T>(action: () => T | PromiseLike<T>, timeoutMs = 5_000, intervalMs = 20): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let failure: unknown = new Error('it returned false');
    try {
      const value = await action();
      if (value !== false) return value;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not true within ${timeoutMs} ms: ${describe(failure)}`, { cause: failure });
    }
    await sleep(intervalMs);
  }
}

type Assert = typeof base & { readonly rejects: typeof rejects; readonly eventually: typeof eventually };

export const assert: Assert = { ...base, rejects, eventually };
