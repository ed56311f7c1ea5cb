/** Functions and methods that run in a transaction whenever they are called, and the names that other frameworks have for that. */
import type { TransactionCoordinator } from './coordinator.ts';
import { transaction } from './default.ts';
import { ConfigurationError, describe } from './errors.ts';
import { type Rules, aTransactionCoordinator, checkOptions } from './options.ts';
import { checkAttempts, coordinatorRunRules } from './run.ts';
import type { Awaitable, CoordinatorRunOptions } from './types.ts';

/** Options of {@link transactional} and its kin: those of `run`, and whose `run` it is. */
export interface TransactionalOptions extends CoordinatorRunOptions {
  /** How often it is tried where it begins the transaction itself; default 1, because a function may have effects of its own. */
  attempts?: number | undefined;
  /** The coordinator; default the process-wide `transaction`. */
  coordinator?: TransactionCoordinator | undefined;
}

/** What {@link Transactional} returns: a decorator for methods, standard or legacy (`experimentalDecorators`). */
export interface TransactionalDecorator {
  /** Standard (TC39). */
  <This, A extends unknown[], R>(
    method: (this: This, ...args: A) => Promise<R>,
    context: ClassMethodDecoratorContext<This, (this: This, ...args: A) => Promise<R>>,
  ): (this: This, ...args: A) => Promise<R>;
  /** Legacy, as Nest and TypeORM use it. */
  <M extends (...args: never[]) => Promise<unknown>>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<M>,
  ): void;
}

const transactionalRules: Rules<TransactionalOptions> = {
  ...coordinatorRunRules,
  coordinator: aTransactionCoordinator,
};
const { propagation: _not, ...isolatedRules } = transactionalRules;

/** Options of {@link isolatedTask}. */
export type IsolatedTaskOptions = Omit<TransactionalOptions, 'propagation'>;

type Method<This, A extends unknown[], R> = (this: This, ...args: A) => R;
type Wrapped<This, A extends unknown[], R> = (this: This, ...args: A) => Promise<Awaited<R>>;

/**
 * Wraps a function, so that each call runs in a transaction: it commits when the function returns and aborts when it throws. Where one is
 * active already, `propagation` says what happens; by default the call takes part. The note of a transaction that it begins is the
 * function's name.
 *
 * @returns a function of the same parameters, with the same `this`.
 * @throws ConfigurationError, at once, for what is no function and for unknown or impossible options. A call throws as
 * {@link TransactionCoordinator.run} does.
 */
export function transactional<This, A extends unknown[], R>(
  fn: Method<This, A, R>,
  options: TransactionalOptions = {},
): Wrapped<This, A, R> {
  return wrap('transactional()', fn, options);
}

/**
 * Decorates a method as {@link transactional} wraps a function. The same decorator works in standard form and, with
 * `experimentalDecorators`, in the legacy form of Nest and TypeORM, where it keeps what other decorators have noted of the method
 * (`reflect-metadata`).
 *
 * @throws ConfigurationError, when the class is defined, for unknown or impossible options and for what is no method.
 */
export function Transactional(options: TransactionalOptions = {}): TransactionalDecorator {
  checkTransactional('@Transactional()', options);
  const decorate = (
    first: unknown,
    second: ClassMethodDecoratorContext | string | symbol,
    descriptor?: PropertyDescriptor,
  ): unknown => {
    if (typeof second === 'object') {
      refuseOther(second.kind === 'method', `a ${second.kind}`);
      return wrap('@Transactional()', first as Method<unknown, unknown[], unknown>, options);
    }
    const method: unknown = descriptor?.value;
    refuseOther(typeof method === 'function', describe(method));
    const wrapped = wrap('@Transactional()', method as Method<unknown, unknown[], unknown>, options);
    keepMetadata(method as object, wrapped);
    descriptor!.value = wrapped;
    return undefined;
  };
  return decorate as TransactionalDecorator;
}

/**
 * Wraps a function that must be called in a transaction, and takes part in it (`propagation: 'mandatory'`).
 * @throws as {@link transactional} does; a call without a transaction rejects with NoTransaction.
 */
export function requiresTransaction<This, A extends unknown[], R>(fn: Method<This, A, R>): Wrapped<This, A, R> {
  return wrap('requiresTransaction()', fn, { propagation: 'mandatory' });
}

/**
 * Wraps a function that takes part in the transaction of its caller, or has one of its own where there is none
 * (`propagation: 'required'`).
 * @throws as {@link transactional} does.
 */
export function ensureTransaction<This, A extends unknown[], R>(fn: Method<This, A, R>): Wrapped<This, A, R> {
  return wrap('ensureTransaction()', fn, {});
}

/**
 * Wraps a background task, so that each call has a transaction of its own, whoever calls or schedules it, and however long it outlives
 * the transaction of that one.
 *
 * @throws as {@link transactional} does.
 */
export function isolatedTask<This, A extends unknown[], R>(
  fn: Method<This, A, R>,
  options: IsolatedTaskOptions = {},
): Wrapped<This, A, R> {
  checkOptions('isolatedTask()', options, isolatedRules);
  const inside = wrap('isolatedTask()', fn, options);
  const coordinator = options.coordinator ?? transaction;
  return named(inside, function (this: This, ...args: A) {
    return coordinator.suspend(() => inside.apply(this, args));
  });
}

/**
 * Calls `fn` in a fresh, empty context, where it may begin and end transactions of its own, and returns what it returns; see
 * {@link TransactionCoordinator.context}.
 *
 * @throws ConfigurationError when it is no function.
 */
export function isolatedContext<R>(fn: () => R, options: { coordinator?: TransactionCoordinator | undefined } = {}): R {
  checkOptions('isolatedContext()', options, { coordinator: aTransactionCoordinator });
  return (options.coordinator ?? transaction).context(fn);
}

/** @internal @throws ConfigurationError for unknown or impossible options, RangeError for a number of attempts. */
export function checkTransactional(where: string, options: TransactionalOptions): void {
  checkOptions(where, options, transactionalRules);
  if (options.attempts !== undefined) checkAttempts(options.attempts);
}

function wrap<This, A extends unknown[], R>(
  where: string,
  fn: Method<This, A, R>,
  options: TransactionalOptions,
): Wrapped<This, A, R> {
  if (typeof fn !== 'function') throw new ConfigurationError(`${where} takes a function, not ${describe(fn)}`);
  checkTransactional(where, options);
  const { coordinator = transaction, ...own } = options;
  const note = own.note ?? (fn.name === '' ? undefined : fn.name);
  const run: CoordinatorRunOptions & { propagation?: 'required' } = {
    attempts: 1,
    ...(own as { propagation?: 'required' }),
    ...(note === undefined ? {} : { note }),
  };
  return named(fn, function (this: This, ...args: A) {
    return coordinator.run(() => fn.apply(this, args) as Awaitable<Awaited<R>>, run);
  });
}

/** Gives a wrapper the name and the number of parameters of what it wraps: frameworks look at both. */
function named<F extends object>(original: { readonly name: string; readonly length: number }, wrapper: F): F {
  Object.defineProperty(wrapper, 'name', { value: original.name, configurable: true });
  Object.defineProperty(wrapper, 'length', { value: original.length, configurable: true });
  return wrapper;
}

function refuseOther(isMethod: boolean, what: string): void {
  if (!isMethod) throw new ConfigurationError(`@Transactional() decorates methods, not ${what}`);
}

type Metadata = {
  getOwnMetadataKeys?(target: object): readonly unknown[];
  getOwnMetadata?(key: unknown, target: object): unknown;
  defineMetadata?(key: unknown, value: unknown, target: object): void;
};

/** Decorators that were applied before have noted on the function what a framework looks up there: routes, for one. */
function keepMetadata(from: object, to: object): void {
  const metadata = Reflect as Metadata;
  for (const key of metadata.getOwnMetadataKeys?.(from) ?? []) {
    metadata.defineMetadata?.(key, metadata.getOwnMetadata?.(key, from), to);
  }
}
