// What is counted while orders are placed.
import { isIntended } from './mishaps.ts';

export class Tally {
  /** Placed, by what their callers were told: all five, at once or a moment later. */
  done = 0;
  aborted = 0;
  /** What the coordinator could throw to nobody, such as a mail that was refused. */
  reported = 0;
  /** Errors, and results, that nobody intended. */
  readonly unexpected: unknown[] = [];

  get total(): number {
    return this.done + this.aborted;
  }

  /** Counts an order by what its caller was told; answers with the error. */
  async count(placing: Promise<void>): Promise<Error | undefined> {
    try {
      await placing;
      this.done++;
      return undefined;
    } catch (error) {
      if (!isIntended(error)) this.unexpected.push(error);
      this.aborted++;
      return error as Error;
    }
  }
}
