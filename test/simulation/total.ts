// What several worlds have come to together.
import { createHash } from 'node:crypto';
import { Situations } from './situations.ts';
import type { Result } from './world.ts';

export class Total {
  worlds = 0;
  steps = 0;
  transactions = 0;
  committed = 0;
  faults = 0;
  longestHealingMs = 0;
  readonly situations = new Situations();
  readonly #peaks = new Map<string, number>();
  readonly #trace = createHash('sha256');

  add({ steps, transactions, committed, faults, healedMs, situations, peaks, trace }: Result): void {
    this.worlds++;
    this.steps += steps;
    this.transactions += transactions;
    this.committed += committed;
    this.faults += faults;
    this.longestHealingMs = Math.max(this.longestHealingMs, healedMs);
    for (const [situation, times] of situations) this.situations.occurred(situation, times);
    for (const [name, count] of Object.entries(peaks)) {
      this.#peaks.set(name, Math.max(this.#peaks.get(name) ?? 0, count));
    }
    this.#trace.update(trace);
  }

  /** Of all worlds, in their order. */
  get trace(): string {
    return this.#trace.copy().digest('hex').slice(0, 16);
  }

  get peaksInWords(): string {
    return [...this.#peaks].map(([name, count]) => `${count} ${name}`).join(', ');
  }
}
