/**
 * Whose turn it is in a sandbox. Transactions that would have connections of their own share one there, where they are savepoints: so one
 * works at a time, and one that was begun inside of another is in front of it until it ends.
 */
import { ConcurrentUseError, TransactionClosed } from '../../../coordinator/errors.ts';

/** The place of a transaction, or of a statement that is in none. */
export class Place {
  /** That of the code which has begun it. */
  readonly parent: Place | undefined;
  readonly #what: () => string;
  /** How many of its statements are under way. */
  busy = 0;
  /** How many savepoints keep it in. */
  held = 0;
  /** Why nothing more can be done in it: it was undone with the one behind it. */
  lost: Error | undefined = undefined;

  constructor(what: () => string, parent: Place | undefined) {
    this.#what = what;
    this.parent = parent;
  }

  /** What errors call it. */
  get what(): string {
    return this.#what();
  }

  /** Whether it was begun inside of `other`, directly or not. */
  isInside(other: Place): boolean {
    for (let at = this.parent; at !== undefined; at = at.parent) if (at === other) return true;
    return false;
  }
}

export class Places {
  /** Each was begun inside of the one before. */
  readonly #open: Place[] = [];
  #waiting: (() => void)[] = [];

  get #front(): Place | undefined {
    return this.#open.at(-1);
  }

  /**
   * Comes to the front: at once where nobody is there, or who is there has begun it and does nothing meanwhile; else when that is so.
   * @throws ConcurrentUseError when one that is in front stays there for `limitMs` milliseconds, and what `cancelled` rejects with.
   */
  async enter(place: Place, limitMs: number, cancelled?: () => Promise<never>): Promise<void> {
    const take = (): boolean => {
      const front = this.#front;
      if (front !== undefined && front !== place && !(place.isInside(front) && front.busy === 0)) return false;
      place.held++;
      if (front !== place) this.#open.push(place);
      return true;
    };
    if (!take()) await this.#wait(place, take, limitMs, cancelled);
  }

  /** Works in a place that has been entered, when it is at the front. @throws as {@link enter} does. */
  async work<T>(place: Place, limitMs: number, work: () => Promise<T>): Promise<T> {
    const take = (): boolean => {
      if (place.lost !== undefined) throw place.lost;
      if (this.#front !== place) return false;
      place.busy++;
      return true;
    };
    if (!take()) await this.#wait(place, take, limitMs);
    try {
      return await work();
    } finally {
      place.busy--;
      this.#wake();
    }
  }

  /** One savepoint less keeps it in; without any, it leaves. */
  leave(place: Place): void {
    place.held--;
    if (place.held > 0) return;
    const index = this.#open.indexOf(place);
    if (index >= 0) this.#open.splice(index, 1);
    this.#wake();
  }

  /** What is in front of a place is undone with it, and can do nothing more. */
  revokeInFrontOf(place: Place): void {
    const index = this.#open.indexOf(place);
    if (index < 0) return;
    for (const lost of this.#open.splice(index + 1)) {
      lost.lost = new TransactionClosed(
        `what is begun inside of a transaction shares its connection in a sandbox, and must end before it; ${place.what} was rolled back before the end of ${lost.what}, which is undone with it`,
        { phase: 'work' },
      );
    }
    this.#wake();
  }

  /** All look again, in the order in which they came. */
  #wake(): void {
    for (const look of this.#waiting.splice(0)) look();
  }

  async #wait(place: Place, take: () => boolean, limitMs: number, cancelled?: () => Promise<never>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const watch = (front: Place | undefined): void => {
        timer = setTimeout(() => {
          // Where another one is in front by now, nothing is stuck.
          if (this.#front === front) reject(this.#tooLong(place, limitMs));
          else watch(this.#front);
        }, limitMs);
      };
      watch(this.#front);
    });
    const ends = cancelled === undefined ? [late] : [late, cancelled()];
    try {
      do {
        await Promise.race([new Promise<void>((resolve) => this.#waiting.push(resolve)), ...ends]);
      } while (!take());
    } finally {
      clearTimeout(timer);
    }
  }

  #tooLong(place: Place, limitMs: number): ConcurrentUseError {
    return new ConcurrentUseError(
      `in a sandbox all transactions share a connection, so that one works at a time; ${place.what} has waited ${limitMs} ms (acquireTimeoutMs) for ${this.#front?.what ?? 'its turn'}: ` +
        'end that first, or test without a sandbox what needs several at once',
      { phase: 'work' },
    );
  }
}
