/** `outboxed`: functions that are called after the commit at least once, because what they are called with is stored with the decision. */
import { outside } from '../../coordinator/context.ts';
import { transaction } from '../../coordinator/default.ts';
import { ConfigurationError, TransactionError, describe } from '../../coordinator/errors.ts';
import { type Rules, aBoolean, aDelay, checkOptions } from '../../coordinator/options.ts';
import { aCoordinator } from '../../coordinator/session.ts';
import type { OutboxTarget, SessionCoordinator, StoredMessage } from '../../coordinator/types.ts';
import { Patience } from '../support/patience.ts';
import { asJson } from './json.ts';
import { OutboxedCalls } from './outboxed-calls.ts';

/** Options of {@link outboxed}. */
export interface OutboxedOptions {
  /** The coordinator whose transactions it is called in, and whose recovery calls the handler; default the process-wide `transaction`. */
  coordinator?: SessionCoordinator | undefined;
  /** How long the handler's promise is waited for, in milliseconds; default 60,000. After that the call counts as failed. */
  timeoutMs?: number | undefined;
  /** True where the order of calls doesn't matter: then one that fails keeps none of those behind it. Default false. */
  anyOrder?: boolean | undefined;
}

/** What a handler is told besides its payload. */
export interface OutboxedDelivery {
  /** The same each time that the handler is called for one call: an idempotency key, unique among all calls of all transactions. */
  readonly key: string;
  /** 1 for the first time; more where it has failed before. After the death of a process a number may come twice. */
  readonly attempt: number;
  /** Aborted when the time is up. */
  readonly signal: AbortSignal;
}

/** Does what is to be done after a commit; throws where it could not, to be called again later. */
export type OutboxedHandler<P> = (payload: P, delivery: OutboxedDelivery) => unknown;

/**
 * Has the handler called with `payload` once the current transaction has committed. Returns the key of that call
 * ({@link OutboxedDelivery.key}).
 *
 * @throws NoTransaction without a transaction, TransactionClosed once its end has begun.
 * @throws ConfigurationError where the payload isn't JSON; the message names the part that isn't.
 */
export type OutboxedFunction<P> = (payload: P) => string;

const rules: Rules<OutboxedOptions> = { coordinator: aCoordinator, timeoutMs: aDelay, anyOrder: aBoolean };
const DEFAULT_TIMEOUT_MS = 60_000;

/** Together with the prefix as long as the name of a session may be. */
const NAME = /^[A-Za-z0-9_.-]{1,50}$/;
/** What sets functions apart from sessions of the same name. */
const PREFIX = 'function:';

/** The names that are taken. */
const registered = new WeakMap<SessionCoordinator, Set<string>>();

/** A handler, and how it is called. */
export class OutboxedTarget implements OutboxTarget {
  /** What messages call it. */
  readonly name: string;
  /** What it was registered as. */
  readonly label: string;
  readonly anyOrder: boolean;
  readonly #handler: OutboxedHandler<never>;
  readonly #timeoutMs: number;

  constructor(name: string, handler: OutboxedHandler<never>, { timeoutMs, anyOrder }: OutboxedOptions) {
    this.name = `${PREFIX}${name}`;
    this.label = name;
    this.anyOrder = anyOrder ?? false;
    this.#handler = handler;
    this.#timeoutMs = timeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  /** Calls the handler with what was stored. @throws what it does. */
  deliver({ payload: stored, attempts }: StoredMessage): Promise<void> {
    const { key, payload } = JSON.parse(stored) as StoredCall;
    return this.call(key, payload, attempts + 1);
  }

  /** Calls the handler. @throws what it does, TransactionError where its time is up. */
  async call(key: string, payload: unknown, attempt: number): Promise<void> {
    const stop = new AbortController();
    // Outside of the transaction, which has ended: the handler may begin one of its own.
    const called = outside(async () => this.#handler(payload as never, { key, attempt, signal: stop.signal }));
    await new Patience().wait(called, this.#timeoutMs, () => {
      const error = new TransactionError(
        `a function that is called after the commit must be through within its timeoutMs; '${this.name}' was not after ${this.#timeoutMs} ms (${key})`,
        { resource: this.name },
      );
      stop.abort(error);
      return error;
    });
  }
}

interface StoredCall {
  readonly key: string;
  readonly payload: unknown;
}

/**
 * Registers a function that is called after commits, once for each name and process, when the program starts. The function that it returns
 * is called inside of a transaction: with a decision log, and where a database is changed too, its payload is stored with the decision, so
 * that `handler` is called at least once whatever dies meanwhile: right after the commit, else by recovery, in any process that has
 * registered the name. Without, it is called as `onFinish` does, and lost with a process that dies right after the commit.
 *
 * Calls of a name go one behind the other, in the order in which they were made where they are of one transaction, of several in the order
 * of their commits as far as something waits. One that fails is tried again, later and later, and keeps those behind it until it is
 * through or dead (`recovery.deliveryAttempts`), which needs an operator (`npx unanimous outbox`).
 *
 * @param name the same in every process and release for as long as something is stored for it: 1 to 50 of `A-Z a-z 0-9 _ . -`.
 * @param handler must be fit to be called twice for the same key.
 * @throws ConfigurationError for a name that is none, or is taken, for a handler that is no function, and for impossible options.
 */
export function outboxed<P>(
  name: string,
  handler: OutboxedHandler<P>,
  options: OutboxedOptions = {},
): OutboxedFunction<P> {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new ConfigurationError(
      `outboxed() takes the name of a function first, 1 to 50 letters, digits, '_', '.' or '-', not ${describe(name)}`,
    );
  }
  if (typeof handler !== 'function') {
    throw new ConfigurationError(`outboxed('${name}') takes the function to be called, not ${describe(handler)}`);
  }
  checkOptions(`outboxed('${name}')`, options, rules);
  const { coordinator = transaction } = options;
  takeName(name, coordinator);
  const target = new OutboxedTarget(name, handler, options);
  coordinator.delivers?.(target);
  const call = (payload: P): string => {
    const txn = coordinator.enlist();
    const json = asJson(payload, 'the payload');
    return OutboxedCalls.of(txn).add(target, json);
  };
  return Object.defineProperty(call, 'name', { value: name });
}

/** @throws ConfigurationError where it is taken: of two handlers one would never be called. */
function takeName(name: string, coordinator: SessionCoordinator): void {
  const names = registered.get(coordinator) ?? new Set();
  if (names.has(name)) {
    throw new ConfigurationError(
      `a name must be registered with outboxed() once in a process; '${name}' is registered already`,
    );
  }
  registered.set(coordinator, names.add(name));
}
