/** Warnings of transactions that take too long, or that nobody works in any more, with the place where they began. */
import { fileURLToPath } from 'node:url';
import { environment, type Timer } from './environment.ts';
import { events } from './events.ts';
import { type Rules, aBoolean, aDelay, aFunction, checkOptions, type Rule } from './options.ts';
import { reportWarning } from './report.ts';
import type { Transaction } from './transaction.ts';

/** Which transactions are warned of. */
export interface WatchOptions {
  /** Warns of a transaction that is open for longer, in milliseconds; default 10,000. */
  longMs?: number | undefined;
  /**
   * Warns of a transaction in which no statement runs, for longer, in milliseconds; default 5,000. It holds its connection and its locks
   * while it waits for something else.
   */
  idleMs?: number | undefined;
  /** Whether the stack is kept where each transaction begins, at some microseconds each; default true. */
  stack?: boolean | undefined;
  /** Told of each, once for each transaction and kind; default a process warning. */
  onWarning?: ((warning: TransactionWarning) => void) | undefined;
}

/** A transaction that somebody should look at. */
export interface TransactionWarning {
  /** Open for too long, or idle for too long. */
  readonly kind: 'long' | 'idle';
  /** The transaction; still open. */
  readonly transaction: Transaction;
  /** For how long it has been open, in milliseconds. */
  readonly ageMs: number;
  /** For how long nothing has run in it, in milliseconds; 0 while something runs. */
  readonly idleMs: number;
  /** Where it began: the stack of the code that called begin or run; absent where the stack isn't kept. */
  readonly began?: string;
  /** All of it in words. */
  readonly message: string;
}

const DEFAULT_LONG_MS = 10_000;
const DEFAULT_IDLE_MS = 5_000;
const SHORTEST_PERIOD_MS = 10;
const LONGEST_PERIOD_MS = 1_000;
const FRAMES = 30;

const watchRules: Rules<WatchOptions> = { longMs: aDelay, idleMs: aDelay, stack: aBoolean, onWarning: aFunction };

/** The option, or false. */
export const watchRule: Rule = {
  requires: 'false, or an object with the options longMs, idleMs, stack, onWarning',
  accepts: (value) => {
    if (value !== false) checkOptions('watch', value, watchRules);
    return true;
  },
};

/** What is known of an open transaction. */
interface Activity {
  lastMs: number;
  running: number;
  readonly holder: { stack?: string };
  readonly warned: Set<TransactionWarning['kind']>;
}

export class Watch {
  readonly #longMs: number;
  readonly #idleMs: number;
  readonly #keepsStack: boolean;
  readonly #tell: (warning: TransactionWarning) => void;
  readonly #open: () => Iterable<Transaction>;
  readonly #activities = new WeakMap<Transaction, Activity>();
  #timer: Timer = undefined;

  constructor(options: WatchOptions, open: () => Iterable<Transaction>) {
    this.#longMs = options.longMs ?? DEFAULT_LONG_MS;
    this.#idleMs = options.idleMs ?? DEFAULT_IDLE_MS;
    this.#keepsStack = options.stack ?? true;
    this.#tell = options.onWarning ?? (({ message }) => reportWarning(message, 'TransactionWarning'));
    this.#open = open;
  }

  /** A transaction has begun, in the code that calls this. */
  began(txn: Transaction): void {
    const holder: Activity['holder'] = {};
    if (this.#keepsStack) {
      const limit = Error.stackTraceLimit;
      Error.stackTraceLimit = FRAMES;
      Error.captureStackTrace(holder);
      Error.stackTraceLimit = limit;
    }
    this.#activities.set(txn, { lastMs: environment.now(), running: 0, holder, warned: new Set() });
    this.#schedule();
  }

  /** Something runs in it from now on. */
  working(txn: Transaction): void {
    const activity = this.#activities.get(txn);
    if (activity !== undefined) activity.running++;
  }

  /** What was begun with {@link working} is over. */
  worked(txn: Transaction): void {
    const activity = this.#activities.get(txn);
    if (activity === undefined) return;
    activity.running--;
    activity.lastMs = environment.now();
  }

  /** For how long nothing has run in it, in milliseconds. */
  idleMsOf(txn: Transaction): number {
    const activity = this.#activities.get(txn);
    return activity === undefined || activity.running > 0 ? 0 : environment.now() - activity.lastMs;
  }

  /** Where it began. */
  beganOf(txn: Transaction): string | undefined {
    const stack = this.#activities.get(txn)?.holder.stack;
    return stack === undefined ? undefined : withoutOwnFrames(stack);
  }

  #schedule(): void {
    if (this.#timer !== undefined) return;
    const periodMs = Math.min(
      Math.max(Math.min(this.#longMs, this.#idleMs) / 4, SHORTEST_PERIOD_MS),
      LONGEST_PERIOD_MS,
    );
    this.#timer = environment.setTimer(() => this.#look(), periodMs, false);
  }

  #look(): void {
    this.#timer = undefined;
    const now = environment.now();
    let isAnyOpen = false;
    for (const txn of this.#open()) {
      isAnyOpen = true;
      const ageMs = now - txn.startedMs!;
      if (ageMs > this.#longMs) this.#warn('long', txn, ageMs);
      else if (this.idleMsOf(txn) > this.#idleMs) this.#warn('idle', txn, ageMs);
    }
    if (isAnyOpen) this.#schedule();
  }

  #warn(kind: TransactionWarning['kind'], transaction: Transaction, ageMs: number): void {
    const activity = this.#activities.get(transaction);
    if (activity === undefined || activity.warned.has(kind)) return;
    activity.warned.add(kind);
    const idleMs = this.idleMsOf(transaction);
    const began = this.beganOf(transaction);
    const what =
      kind === 'long'
        ? `a transaction should be over within ${this.#longMs} ms; this one has been open for ${Math.round(ageMs)} ms`
        : `a transaction should not wait for anything but its databases for longer than ${this.#idleMs} ms; in this one nothing has run for ${Math.round(idleMs)} ms`;
    const note = transaction.description === '' ? '' : `, ${transaction.description.replaceAll('\n', ', ')}`;
    const message =
      `${what} (${transaction.id}${note}); meanwhile it keeps its connections and locks` +
      (began === undefined ? '' : `; it began at:\n${began}`);
    const warning: TransactionWarning = {
      kind,
      transaction,
      ageMs,
      idleMs,
      message,
      ...(began === undefined ? {} : { began }),
    };
    if (events.warning.hasSubscribers) events.warning.publish(warning);
    this.#tell(warning);
  }

  /** Looks no more. */
  stop(): void {
    if (this.#timer !== undefined) environment.clearTimer(this.#timer);
    this.#timer = undefined;
  }
}

const OWN_FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** The frames of whoever called the coordinator. */
function withoutOwnFrames(stack: string): string {
  const frames = stack.split('\n').slice(1);
  const others = frames.filter((frame) => !frame.includes(OWN_FOLDER) && !frame.includes('node:'));
  return (others.length === 0 ? frames : others).join('\n');
}
