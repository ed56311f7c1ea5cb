// Deadlines that pass when a program says so. Time is the program's own, by the door to the clock.
import { environment } from '../../../coordinator/environment.ts';
import type { DeadlineKind } from './program.ts';

/** More than anything else waits for, in milliseconds; each deadline has another one, by which its timer is known. */
const FIRST_MS = 1_000_000;

/** A deadline of one run. */
export interface PlayedDeadline {
  readonly options: { readonly signal?: AbortSignal; readonly timeoutMs?: number };
  /** Lets it pass, where anybody still watches it. */
  readonly pass: () => void;
}

export class Clock {
  readonly #timers = new Map<number, () => void>();
  #lastMs = FIRST_MS;

  deadline(kind: DeadlineKind | undefined): PlayedDeadline {
    if (kind === undefined) return { options: {}, pass: () => undefined };
    if (kind === 'time') {
      const timeoutMs = ++this.#lastMs;
      return { options: { timeoutMs }, pass: () => this.#timers.get(timeoutMs)?.() };
    }
    const controller = new AbortController();
    if (kind === 'aborted') controller.abort();
    return { options: { signal: controller.signal }, pass: () => controller.abort() };
  }

  /** Does `work` while deadlines pass only where they are told to. */
  async whileStopped(work: () => Promise<void>): Promise<void> {
    const { setTimer, clearTimer } = environment;
    environment.setTimer = (callback, delayMs, referenced) => {
      if (delayMs < FIRST_MS) return setTimer(callback, delayMs, referenced);
      this.#timers.set(delayMs, () => {
        this.#timers.delete(delayMs);
        callback();
      });
      return delayMs;
    };
    environment.clearTimer = (timer) => {
      if (typeof timer === 'number') this.#timers.delete(timer);
      else clearTimer(timer);
    };
    try {
      await work();
      if (this.#timers.size > 0) throw new Error('a deadline is still watched, though all is over');
    } finally {
      Object.assign(environment, { setTimer, clearTimer });
    }
  }
}
