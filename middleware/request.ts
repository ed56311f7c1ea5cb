/**
 * The transaction of one request: a machine that knows no framework and no socket.
 *
 *   working     the handler is running, in the transaction of this attempt
 *   deciding    its response is known, and held back; the transaction commits or aborts
 *   committed   the response may leave
 *   aborted     the response may leave, and says by itself that nothing was done, or the transaction was doomed on purpose
 *   failed      another response must leave: the error's
 *
 * From `working` and `deciding` a transient error leads back to `working`, in another transaction, while attempts are left.
 */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import type { TransactionCoordinator } from '../coordinator/coordinator.ts';
import { transaction } from '../coordinator/default.ts';
import { ConfigurationError, TransactionStateError, list, suppressedBy, toError } from '../coordinator/errors.ts';
import type { TransactionManager } from '../coordinator/manager.ts';
import { unrepeatable } from '../coordinator/run.ts';
import { isFinished } from '../coordinator/status.ts';
import type { Transaction } from '../coordinator/transaction.ts';
import type { RunOptions, TransactionOptions } from '../coordinator/types.ts';
import type { RequestOptions, Settings } from './options.ts';

/** Where a request is. */
export type RequestState = 'working' | 'deciding' | 'committed' | 'aborted' | 'failed';

/** How a request ended whose handler's response may leave. */
export type Ending = 'committed' | 'aborted';

/** What a response says about its transaction. */
export interface Answer {
  /** The HTTP status. */
  readonly status: number;
  /** The response header `x-tm`, where it has one. */
  readonly tm: string | undefined;
}

/** What is known of a request, by whoever has it from its framework. */
export interface RequestFacts<Q, S> {
  /** What is handed to the functions among the options. */
  readonly request: Q;
  /** The response as it is by now, for the veto. */
  readonly response: () => S;
  /** The same object for all middleware that serves this request. */
  readonly identity: object;
  readonly method: string;
  /** Without the query, which may hold what isn't to be written down. */
  readonly path: string;
  /** Aborted when the client goes away. */
  readonly signal?: AbortSignal | undefined;
  /** Asked after an attempt: whether it has left the request's body as it was. */
  readonly mayRepeat: () => boolean;
}

const mayFollow: Readonly<Record<RequestState, readonly RequestState[]>> = {
  working: ['deciding', 'failed', 'working'],
  deciding: ['committed', 'aborted', 'failed', 'working'],
  committed: [],
  aborted: [],
  failed: [],
};

/** One call of the handler, as its asynchronous chain carries it. */
interface Call {
  readonly of: object;
  /** True once its transaction is lost and another response is on its way: what it still says goes nowhere. */
  isOver: boolean;
}
const calls = new AsyncLocalStorage<Call>();

/** By request, so that no second middleware begins another. Shared by all copies of this package. */
const SHARED = Symbol.for('unanimous.requests.1');
const store = globalThis as { [SHARED]?: WeakMap<object, RequestTransaction<never, never>> };
const requests = (store[SHARED] ??= new WeakMap());

/** The asynchronous context of the calling code. Much cheaper than a snapshot of it, which Node 20 makes by AsyncResource.bind. */
export function here(): AsyncResource {
  return new AsyncResource('unanimous request', { requireManualDestroy: true });
}

/** Tells `run` to abort, and this file that nothing has gone wrong. */
class Aborted extends Error {}

/** The transaction of one request. */
export class RequestTransaction<Q, S> {
  /** What it was begun with. */
  readonly settings: Settings<Q, S>;
  readonly #facts: RequestFacts<Q, S>;
  readonly #manager: TransactionCoordinator | TransactionManager;
  readonly #begin: TransactionOptions;
  #state: RequestState = 'working';
  #call: Call | undefined = undefined;
  #inside: AsyncResource | undefined = undefined;
  #error: { readonly thrown: unknown } | undefined = undefined;

  /** @throws What the hooks `manager` and `begin` throw. */
  constructor(settings: Settings<Q, S>, facts: RequestFacts<Q, S>) {
    this.settings = settings;
    this.#facts = facts;
    this.#manager = managerOf(settings, facts.request);
    this.#begin = beginOf(settings, facts);
    requests.set(facts.identity, this as unknown as RequestTransaction<never, never>);
  }

  get state(): RequestState {
    return this.#state;
  }

  /** Whether the handler's response, or an error's, was decided on. */
  get isSettled(): boolean {
    return mayFollow[this.#state].length === 0;
  }

  /** Calls `fn` in the asynchronous context of the transaction. */
  inside<R>(fn: () => R): R {
    return this.#inside === undefined ? fn() : this.#inside.runInAsyncScope(fn);
  }

  /** True in whatever a call of the handler has started whose transaction is lost: what it says must not be sent. */
  get isStale(): boolean {
    const call = calls.getStore();
    return call !== undefined && call.isOver && call.of === this;
  }

  /** The handler threw, and an error handler makes a response of it: that of an aborted transaction (zope 163). */
  threw(thrown: unknown): void {
    if (this.#state === 'working') this.#error ??= { thrown };
  }

  /**
   * Begins, calls `work`, decides by the answer, and commits or aborts; again while the error is transient and attempts are left.
   *
   * @returns how it ended, where the handler's response may leave.
   * @throws What `work`, the commit or the abort threw, the transaction being over: the error's response is to leave.
   */
  async perform(work: (txn: Transaction) => Promise<Answer>): Promise<Ending> {
    const { attempts, backoff } = this.settings;
    const options: RunOptions = { ...this.#begin, attempts, ...(backoff === undefined ? {} : { backoff }) };
    const body = (txn: Transaction): Promise<void> => this.#attempt(txn, work);
    const manager = this.#manager;
    try {
      // A context of its own, also where the server was started inside of one.
      await ('context' in manager ? manager.context(() => manager.run(body, options)) : manager.run(body, options));
      return this.#end('committed');
    } catch (thrown) {
      if (thrown instanceof Aborted) {
        const [failure] = suppressedBy(thrown);
        if (failure === undefined) return this.#end('aborted');
        this.#fail();
        throw toError(failure);
      }
      this.#fail();
      throw thrown;
    }
  }

  async #attempt(txn: Transaction, work: (txn: Transaction) => Promise<Answer>): Promise<void> {
    if (this.#call !== undefined) this.#call.isOver = true;
    const call: Call = { of: this, isOver: false };
    this.#call = call;
    this.#error = undefined;
    this.#move('working');
    try {
      await calls.run(call, async () => {
        this.#inside = here();
        await this.#annotate(txn);
        const answer = await work(txn);
        if (call.isOver) return;
        this.#move('deciding');
        await this.#decide(txn, answer);
      });
    } finally {
      if (this.settings.attempts > 1 && !this.#facts.mayRepeat()) unrepeatable.add(txn);
    }
  }

  async #annotate(txn: Transaction): Promise<void> {
    const { annotateUser } = this.settings;
    if (annotateUser === undefined || txn.user !== '' || isFinished(txn.status)) return;
    const user = await annotateUser(this.#facts.request);
    if (typeof user === 'string' && user !== '' && !isFinished(txn.status)) txn.user = user;
  }

  /** Returns to commit, throws {@link Aborted} to abort. */
  async #decide(txn: Transaction, answer: Answer): Promise<void> {
    // The handler may have ended it by itself.
    if (isFinished(txn.status)) return;
    await this.#annotate(txn);
    // Doomed on purpose: the response is what the handler wants to say (zope 161). Doomed by an error that was caught: one that says
    // that all is well would be a lie, so the commit is left to fail.
    if (txn.isDoomed() && (txn.doomReason === undefined || this.#error !== undefined || answer.status >= 400)) {
      throw new Aborted();
    }
    if (!txn.isDoomed() && (await this.#isVetoed(txn, answer))) throw new Aborted();
  }

  async #isVetoed(txn: Transaction, { status, tm }: Answer): Promise<boolean> {
    const { commitVeto } = this.settings;
    const hasThrown = this.#error !== undefined;
    if (commitVeto === false) return hasThrown;
    if (commitVeto !== undefined) {
      return commitVeto(this.#facts.request, this.#facts.response(), txn, this.#error?.thrown);
    }
    if (tm !== undefined) return tm.trim().toLowerCase() !== 'commit';
    return hasThrown || status >= 400;
  }

  #end(ending: Ending): Ending {
    this.#move(ending);
    return ending;
  }

  #fail(): void {
    if (this.#call !== undefined) this.#call.isOver = true;
    this.#move('failed');
  }

  #move(to: RequestState): void {
    if (!mayFollow[this.#state].includes(to)) {
      throw new TransactionStateError(`the transaction of a request can't go from '${this.#state}' to '${to}'`);
    }
    this.#state = to;
  }
}

/**
 * Whether the request has its transaction already, from a middleware that is mounted outside of this one: then this one takes part, and
 * adds nothing.
 *
 * @throws ConfigurationError where this one asks for what the other can't give: another coordinator, or another way to begin.
 */
export function takesPart<Q, S>(settings: Settings<Q, S>, identity: object): boolean {
  const outer = requests.get(identity);
  if (outer === undefined) return false;
  refuseOther(outer, settings);
  return true;
}

/** The transaction of a request; undefined where it has none. */
export function requestTransaction(identity: object): RequestTransaction<never, never> | undefined {
  return requests.get(identity);
}

/** Options that hold for the whole request, so that a second middleware can't have others. */
const OF_THE_REQUEST = ['isolation', 'readOnly', 'deferrable', 'timeoutMs', 'coordinator', 'manager', 'begin'] as const;

function refuseOther<Q, S>(outer: RequestTransaction<never, never>, inner: Settings<Q, S>): void {
  const had = outer.settings as RequestOptions<unknown, unknown>;
  const wanted = inner as RequestOptions<unknown, unknown>;
  const others = OF_THE_REQUEST.filter((name) => wanted[name] !== undefined && wanted[name] !== had[name]);
  if (others.length === 0) return;
  throw new ConfigurationError(
    `a request has one transaction, and this one's was begun by the middleware outside of this one, which doesn't have the same ${list(others)}: ` +
      'mount one of them only, or let the inner one take part by giving it none of these options',
  );
}

function managerOf<Q, S>(settings: Settings<Q, S>, request: Q): TransactionCoordinator | TransactionManager {
  return settings.manager === undefined ? (settings.coordinator ?? transaction) : settings.manager(request);
}

function beginOf<Q, S>(
  settings: Settings<Q, S>,
  { request, method, path, signal }: RequestFacts<Q, S>,
): TransactionOptions {
  const { isolation, readOnly, deferrable, timeoutMs, begin, note } = settings;
  const own = begin?.(request);
  const signals = [signal, own?.signal].filter((each) => each !== undefined);
  return {
    isolation,
    readOnly,
    deferrable,
    timeoutMs,
    note: note === false ? '' : (note?.(request) ?? `${method} ${path}`),
    ...own,
    signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0],
  };
}
