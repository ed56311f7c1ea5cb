/** Running a function in a transaction of its own, again where the error is transient (zope 21-45 and their departures). */
import { ConfigurationError, describe, suppress, toError } from './errors.ts';
import { events } from './events.ts';
import { environment } from './environment.ts';
import type { TransactionManager } from './manager.ts';
import { NO_OPTIONS, type Rule, type Rules, aDelay, bare, checkOptions, oneOf, transactionRules } from './options.ts';
import { isFinished } from './status.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type {
  AttemptOptions,
  Awaitable,
  Backoff,
  CoordinatorRunOptions,
  RunOptions,
  TransactionOptions,
} from './types.ts';

/** One attempt of a loop over `attempts()`: calls the function in a transaction; undefined where it is to be tried again. */
export type Attempt = <T>(fn: (txn: Transaction) => Awaitable<T>) => Promise<T | undefined>;

/** @internal What `run()` without options has. */
export const NO_RUN_OPTIONS: RunOptions = Object.freeze(bare({}));

type Enter = <T>(body: (manager: TransactionManager) => Promise<T>) => Promise<T>;

const DEFAULT_ATTEMPTS = 3;
const DEFAULT_BACKOFF_MS = 10;
const DEFAULT_LONGEST_BACKOFF_MS = 1000;

const aBackoff: Rule = {
  requires: 'false or an object with baseMs and maxMs, in milliseconds',
  accepts: (value) =>
    value === false ||
    (typeof value === 'object' &&
      value !== null &&
      Object.entries(value).every(
        ([key, ms]) => (key === 'baseMs' || key === 'maxMs') && (ms === undefined || aDelay.accepts(ms)),
      )),
};
// A wrong number of attempts is a RangeError, as in zope 36, and is checked apart.
const anything: Rule = { requires: 'a number', accepts: () => true };

export const runOptionRules: Record<keyof RunOptions, Rule> = {
  ...transactionRules,
  attempts: anything,
  backoff: aBackoff,
};
/** The options of the coordinator's `run`. */
export const coordinatorRunRules: Rules<CoordinatorRunOptions> = {
  ...runOptionRules,
  propagation: oneOf('required', 'requires-new', 'nested', 'mandatory', 'supports', 'not-supported', 'never'),
};
const attemptOptionRules: Record<keyof AttemptOptions, Rule> = { ...transactionRules, backoff: aBackoff };

/** @throws RangeError unless it is a whole number of at least 1 (zope 25, 36). */
export function checkAttempts(attempts: unknown): asserts attempts is number {
  if (!Number.isSafeInteger(attempts) || (attempts as number) < 1) {
    throw new RangeError(`the number of attempts must be a whole number of at least 1, not ${describe(attempts)}`);
  }
}

/** Runs `fn` until it has committed, the error isn't transient, or the attempts are used up; `leave` is called in the end. */
export function runOwned<T, M extends TransactionManager>(
  manager: M,
  fn: (txn: Transaction) => Awaitable<T>,
  options: RunOptions,
  leave?: Leave<M>,
): Promise<T> {
  if (options === NO_RUN_OPTIONS) {
    return runAttempts(
      manager,
      fn,
      NO_OPTIONS,
      noteOf(fn),
      { attempt: 1, of: DEFAULT_ATTEMPTS, again: shortly },
      leave,
    );
  }
  const { attempts = DEFAULT_ATTEMPTS, backoff, ...begin } = options;
  const again = (attempt: number): Awaitable<void> => waitBefore(attempt, backoff, begin.signal);
  try {
    checkAttempts(attempts);
  } catch (error) {
    return Promise.reject(error);
  }
  const note = begin.note === undefined ? noteOf(fn) : undefined;
  return runAttempts(manager, fn, begin, note, { attempt: 1, of: attempts, again }, leave);
}

/** The attempts of a loop; each is made in the context that `enter` opens. */
export async function* attemptsOf(
  enter: Enter,
  number: number,
  options: AttemptOptions,
): AsyncGenerator<Attempt, void, undefined> {
  checkAttempts(number);
  checkOptions('attempts()', options, attemptOptionRules);
  const { backoff, ...begin } = options;
  let done = false;
  for (let attempt = 1; attempt <= number && !done; attempt++) {
    yield (fn) =>
      enter(async (manager) => {
        if (typeof fn !== 'function') throw new ConfigurationError(`an attempt takes a function, not ${describe(fn)}`);
        let isOver = true;
        const again = (): false => (isOver = false);
        const value = await runAttempts(manager, fn, begin, undefined, { attempt, of: number, again });
        done = isOver;
        return value;
      });
    if (!done && attempt < number) await waitBefore(attempt, backoff, begin.signal);
  }
}

/** @internal Whose work must not be tried again, whatever the error: a body that was read can't be read twice. */
export const unrepeatable: WeakSet<Transaction> = new WeakSet();

/** Told that the function is over; a promise where there is something to wait for. */
type Leave<M> = (manager: M) => Promise<void> | undefined;

/** Which attempt is the next, and of how many. */
interface Attempts {
  readonly attempt: number;
  readonly of: number;
  /** Asked before another one is made, where one may be; `false` ends it there. */
  readonly again: (attempt: number) => Awaitable<void | false>;
}

/**
 * One transaction after the other, until one has committed; throws what is final. Each is always ended (departure from zope 23, 32).
 * @returns what `fn` returns; undefined where there was to be no other attempt.
 */
async function runAttempts<T, M extends TransactionManager>(
  manager: M,
  fn: (txn: Transaction) => Awaitable<T>,
  options: TransactionOptions,
  note: string | undefined,
  { attempt: first, of, again }: Attempts,
  leave?: Leave<M>,
): Promise<T> {
  try {
    for (let attempt = first; ; attempt++) {
      const opened = manager.open(options);
      const txn = isThenable(opened) ? await opened : opened;
      txn.attempt = attempt;
      if (note !== undefined) txn.note(note);
      try {
        const work = fn(txn);
        const value = txn.deadline === undefined ? await work : await txn.deadline.race(work);
        // Whichever is current by now (zope 41); none where the function has ended it itself (departure from zope 42).
        const current = manager.current;
        if (current !== undefined) await (current.completion ?? current.commit());
        return value;
      } catch (thrown) {
        const retry = attempt < of && mayRetry(txn, manager, thrown);
        if (retry && events.retry.hasSubscribers) {
          events.retry.publish({ transaction: txn, attempt, error: toError(thrown) });
        }
        await end(manager, thrown);
        if (!retry) throw thrown;
      }
      if ((await again(attempt)) === false) return undefined as T;
    }
  } finally {
    const leaving = leave?.(manager);
    if (leaving !== undefined) await leaving;
  }
}

/** Asked before the abort, while data managers are joined (zope 30). Who can't answer says no. */
function mayRetry(txn: Transaction, manager: TransactionManager, thrown: unknown): boolean {
  if (isFinished(txn.status) || unrepeatable.has(txn)) return false;
  try {
    return txn.isRetryableError(thrown);
  } catch (failure) {
    hang(thrown, failure, manager);
    return false;
  }
}

/** Hangs a failure on what led to it, or reports it where nothing can hang on that (departure from zope 33). */
function hang(thrown: unknown, failure: unknown, manager: TransactionManager): void {
  if (thrown instanceof Error) suppress(thrown, failure);
  else manager.report(toError(failure));
}

/** Aborts what is current because of `thrown`. */
async function end(manager: TransactionManager, thrown: unknown): Promise<void> {
  const current = manager.current;
  if (current === undefined) return;
  if (current.completion !== undefined) await current.completion.catch(() => undefined);
  try {
    await current.abort();
  } catch (failure) {
    hang(thrown, failure, manager);
  }
}

/** The note of a transaction that says none: the function's name, unless it is `_` (zope 37). */
function noteOf(fn: { readonly name: string }): string | undefined {
  return fn.name === '' || fn.name === '_' ? undefined : fn.name;
}

/** How long to wait after the given failed attempt, in milliseconds: exponential, half of it random (departure from zope 45). */
export function backoffMs(
  attempt: number,
  { baseMs = DEFAULT_BACKOFF_MS, maxMs = DEFAULT_LONGEST_BACKOFF_MS }: Backoff,
): number {
  const longest = Math.min(maxMs, baseMs * 2 ** (attempt - 1));
  return longest / 2 + (environment.random() * longest) / 2;
}

function shortly(attempt: number): Awaitable<void> {
  return waitBefore(attempt, undefined, undefined);
}

function waitBefore(
  attempt: number,
  backoff: Backoff | false | undefined,
  signal: AbortSignal | undefined,
): Awaitable<void> {
  if (backoff === false || signal?.aborted === true) return undefined;
  return new Promise((resolve) => {
    const done = (): void => {
      environment.clearTimer(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = environment.setTimer(done, backoffMs(attempt, backoff ?? {}), true);
    signal?.addEventListener('abort', done, { once: true });
  });
}
