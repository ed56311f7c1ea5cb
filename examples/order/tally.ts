// What is counted while orders are placed.
import { InDoubtError } from 'unanimous';
import { isIntended } from './mishaps.ts';

export class Tally {
  /** All five, or all but the mail. */
  done = 0;
  aborted = 0;
  /** Mails of which an error has said that they were not sent. */
  unsent = 0;
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
      if (error instanceof InDoubtError) {
        this.done++;
        this.unsent++;
      } else this.aborted++;
      return error as Error;
    }
  }
}
