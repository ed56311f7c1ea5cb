/**
 * What happens to transactions, told to whoever listens (`node:diagnostics_channel`). Nothing is measured or made where nobody does.
 */
import { type Channel, channel } from 'node:diagnostics_channel';
import { environment } from './environment.ts';
import { toError } from './errors.ts';
import type { RecoveryReport } from './recovery.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type { CommitWay, DataManager, Vote } from './types.ts';
import type { TransactionWarning } from './watch.ts';

/** What every event of a transaction has. */
export interface TransactionEvent {
  /** The transaction. */
  readonly transaction: Transaction;
}

/** What a step of one resource was. */
export interface ResourceEvent extends TransactionEvent {
  /** The name of the resource. */
  readonly resource: string;
  /** How long it took, in milliseconds. */
  readonly durationMs: number;
  /** Why it failed; absent where it didn't. */
  readonly error?: Error;
}

/** A transaction is over. */
export interface EndEvent extends TransactionEvent {
  /** From its beginning, in milliseconds; absent where nobody listened then, and it has no coordinator. */
  readonly durationMs?: number;
}

/** The events, by the last part of their channel's name: `unanimous:begin`, and so on. */
export interface TransactionEvents {
  /** A transaction has begun. */
  readonly begin: TransactionEvent;
  /** A resource has joined. */
  readonly join: TransactionEvent & { readonly resource: string };
  /** A resource has voted: yes, that it has nothing to commit, or no (`error`). */
  readonly vote: ResourceEvent & { readonly vote?: Vote };
  /** The decision to commit was written down, or was not (`error`). */
  readonly decide: TransactionEvent & {
    readonly way: CommitWay | undefined;
    readonly durationMs: number;
    readonly error?: Error;
  };
  /** A resource has made it so, or has failed to; recovery goes on with it then. */
  readonly finish: ResourceEvent;
  /** A transaction has committed. */
  readonly commit: EndEvent;
  /** A transaction was rolled back; `error` says why, where it was by a failed commit. */
  readonly abort: EndEvent & { readonly error?: Error };
  /** The outcome of a transaction isn't known everywhere. */
  readonly 'in-doubt': EndEvent & { readonly error: Error };
  /** An attempt has failed with a transient error, and another one follows. */
  readonly retry: TransactionEvent & { readonly attempt: number; readonly error: Error };
  /** A transaction takes too long, or nobody works in it any more; only with the option `watch`. */
  readonly warning: TransactionWarning;
  /** A pass of recovery is over; `error` where the decision store could not be reached. */
  readonly recovery: { readonly durationMs: number; readonly report?: RecoveryReport; readonly error?: Error };
}

/** The name of an event. */
export type TransactionEventName = keyof TransactionEvents;

/** Listeners for {@link observe}. */
export type TransactionListeners = {
  readonly [N in TransactionEventName]?: ((event: TransactionEvents[N]) => void) | undefined;
};

const NAMES: readonly TransactionEventName[] = [
  'begin',
  'join',
  'vote',
  'decide',
  'finish',
  'commit',
  'abort',
  'in-doubt',
  'retry',
  'warning',
  'recovery',
];

type Channels = { readonly [N in TransactionEventName]: Channel<object, TransactionEvents[N]> };

/** @internal */
export const events: Channels = Object.fromEntries(
  NAMES.map((name) => [name, channel(`unanimous:${name}`)]),
) as unknown as Channels;

/**
 * Calls listeners for what happens to the transactions of this process, whichever coordinator has them. The same as subscribing to the
 * channels `unanimous:begin`, `unanimous:join` and so on with `node:diagnostics_channel`, with types. A listener is called
 * synchronously, and must not throw: Node.js makes an uncaught exception of that.
 *
 * @returns the function that ends it.
 */
export function observe(listeners: TransactionListeners): () => void {
  const subscribed = NAMES.flatMap((name) => {
    const listener = listeners[name];
    if (listener === undefined) return [];
    const receive = (event: unknown): void => (listener as (event: unknown) => void)(event);
    events[name].subscribe(receive);
    return [(): unknown => events[name].unsubscribe(receive)];
  });
  return () => {
    for (const unsubscribe of subscribed) unsubscribe();
  };
}

/** @internal Whether anybody wants to know how long transactions take. */
export function isEndObserved(): boolean {
  return events.commit.hasSubscribers || events.abort.hasSubscribers || events['in-doubt'].hasSubscribers;
}

/** @internal Tells how a transaction has ended. */
export function publishEnd(name: 'commit' | 'abort' | 'in-doubt', transaction: Transaction, error?: Error): void {
  const { startedMs } = transaction;
  events[name].publish({
    transaction,
    ...(startedMs === undefined ? {} : { durationMs: environment.now() - startedMs }),
    ...(error === undefined ? {} : { error }),
  });
}

/** @internal Calls a step of a data manager, and tells what came of it. */
export function observed(name: 'vote' | 'finish', transaction: Transaction, manager: DataManager): unknown {
  // Asked before: afterwards it may have left.
  const resource = transaction.nameOf(manager);
  const startMs = environment.now();
  const tell = (answer: unknown, error?: Error): void =>
    events[name].publish({
      transaction,
      resource,
      durationMs: environment.now() - startMs,
      ...(name === 'vote' && error === undefined ? { vote: answer === 'read-only' ? 'read-only' : 'commit' } : {}),
      ...(error === undefined ? {} : { error }),
    });
  return watched(() => (name === 'vote' ? manager.tpcVote(transaction) : manager.tpcFinish(transaction)), tell);
}

/** @internal Tells what came of a step, when it is over. */
export function watched<T>(step: () => T, tell: (answer: unknown, error?: Error) => void): T {
  let answer: T;
  try {
    answer = step();
  } catch (thrown) {
    tell(undefined, toError(thrown));
    throw thrown;
  }
  if (!isThenable(answer)) {
    tell(answer);
    return answer;
  }
  return answer.then(
    (value) => {
      tell(value);
      return value;
    },
    (thrown: unknown) => {
      tell(undefined, toError(thrown));
      throw thrown;
    },
  ) as T;
}
