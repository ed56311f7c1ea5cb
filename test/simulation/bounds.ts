// How much of something may be under way at once. Everything else that could pile up is bounded by what pass.ts checks; messages wait for as long
// as whoever they are for can't be reached, and nothing but the disk of the decision store bounds them.
import type { Process } from './process.ts';
import { LOOPS } from './surroundings.ts';

/** Targets of messages. */
const TARGETS = 2;
/** How many branches of a resource recovery ends at once. */
const RECOVERY_AT_ONCE = 8;

/** What is counted, and how much of it one process may have at any moment. */
export const BOUNDS = {
  /**
   * Those of the lease, of the next pass and of the batch of decisions to delete; for each loop one that waits before it tries again or asks
   * for a decision again, and while messages are delivered (by each loop, and by recovery) one for each target that keeps the claim.
   */
  timers: 3 + LOOPS * (1 + TARGETS) + TARGETS,
  /** One for each transaction under way: what isn't given up would add up, as in a pool that runs dry. */
  connections: LOOPS,
  /** Of a database: one for each transaction under way; those that recovery ends at once, and its list. */
  calls: LOOPS + RECOVERY_AT_ONCE + 1,
  /**
   * Of the database of the decision store as well: a decision, or the messages that each transaction delivers (deleting them, keeping the claim);
   * the same of recovery, which asks one thing at a time besides; the lease; the batch of decisions to delete.
   */
  callsOfTheStore: LOOPS + RECOVERY_AT_ONCE + 1 + (LOOPS + 1) * (1 + 2 * TARGETS) + 2,
} as const;

export type Peaks = { -readonly [Name in keyof typeof BOUNDS]: number };

/** The most that there has been of each. */
export class Watermarks {
  readonly peaks: Peaks = { timers: 0, connections: 0, calls: 0, callsOfTheStore: 0 };

  /** Looks at a process after a step. @returns what is above its bound; undefined where nothing is. */
  look(process: Process): string | undefined {
    let breach = this.#saw('timers', process.timers.size);
    for (const session of process.sessions) {
      breach ??= this.#saw('connections', session.connections);
      const { database } = session;
      const calls = process.calls.get(database.server.name) ?? 0;
      breach ??= this.#saw(database === process.store.database ? 'callsOfTheStore' : 'calls', calls);
    }
    return breach === undefined ? undefined : `too many: ${process.name} has ${breach}`;
  }

  #saw(name: keyof Peaks, count: number): string | undefined {
    if (count <= this.peaks[name]) return undefined;
    this.peaks[name] = count;
    return count > BOUNDS[name] ? `${count} ${name}` : undefined;
  }
}
