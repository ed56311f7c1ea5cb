/**
 * The only door to the clock, to randomness and to timers. Everything else in `coordinator/` is a pure machine, so
 * that a simulator can own time by replacing this object's functions.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/** A pending timer; only {@link Environment.clearTimer} looks inside. */
export type Timer = unknown;

export interface Environment {
  /** Milliseconds of a monotonic clock; only differences mean anything. */
  now(): number;
  /** A number in [0, 1), for jitter. */
  random(): number;
  /** `bytes` random bytes as lower-case hexadecimal, for identities. */
  randomHex(bytes: number): string;
  /** What this process is called by default: its host and its number. */
  processName(): string;
  /** Calls `callback` once after `delayMs`. An unreferenced timer does not keep the process alive. */
  setTimer(callback: () => void, delayMs: number, referenced: boolean): Timer;
  clearTimer(timer: Timer): void;
}

export const environment: Environment = {
  now: () => performance.now(),
  random: () => Math.random(),
  randomHex: (bytes) => randomBytes(bytes).toString('hex'),
  processName: () => `${hostname()}:${process.pid}`,
  setTimer(callback, delayMs, referenced) {
    const timer = setTimeout(callback, delayMs);
    if (!referenced) timer.unref();
    return timer;
  },
  clearTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
};
