/** Runs recovery now and then, for as long as its coordinator is open. Keeps no process alive. */
import { outside } from './context.ts';
import { environment, type Timer } from './environment.ts';
import { toError } from './errors.ts';
import { LONGEST_TIMER_MS } from './options.ts';
import type { Recovery, RecoveryReport } from './recovery.ts';

/** At what rate errors that come again are reported, in milliseconds. */
const REPEAT_MS = 60_000;

export interface RecoveryLoopOptions {
  /** Mean time between two passes, in milliseconds. */
  readonly everyMs: number;
  readonly report: (error: Error) => void;
  readonly onPass: ((report: RecoveryReport) => void) | undefined;
}

export class RecoveryLoop {
  readonly #recovery: Recovery;
  readonly #options: RecoveryLoopOptions;
  readonly #reported = new Map<string, number>();
  #timer: Timer = undefined;
  #running: Promise<void> | undefined = undefined;
  #stopped = false;

  constructor(recovery: Recovery, options: RecoveryLoopOptions) {
    this.#recovery = recovery;
    this.#options = options;
  }

  start(): void {
    this.#schedule(0);
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = outside(() => environment.setTimer(() => void this.#turn(), delayMs, false));
  }

  async #turn(): Promise<void> {
    this.#running = this.#pass();
    await this.#running;
    this.#running = undefined;
    // Half of the time is random, so that processes that were started together don't stay together.
    this.#schedule(Math.min(this.#options.everyMs * (0.5 + environment.random()), LONGEST_TIMER_MS));
  }

  async #pass(): Promise<void> {
    try {
      const report = await this.#recovery.pass();
      this.#options.onPass?.(report);
      for (const { resource, error } of report.failures) this.#reportOnce(resource, error);
    } catch (thrown) {
      this.#reportOnce('the decision store', toError(thrown));
    }
  }

  /** An unreachable server fails every few seconds: once a minute is enough to know. */
  #reportOnce(resource: string, error: Error): void {
    const key = `${resource}: ${error.message}`;
    const now = environment.now();
    if (now < (this.#reported.get(key) ?? -Infinity) + REPEAT_MS) return;
    if (this.#reported.size > 100) this.#reported.clear();
    this.#reported.set(key, now);
    this.#options.report(error);
  }

  /** No pass begins any more; resolves when the one that runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#recovery.stop();
    if (this.#timer !== undefined) environment.clearTimer(this.#timer);
    await this.#running;
  }
}
