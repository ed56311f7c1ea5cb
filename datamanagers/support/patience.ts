/** Waiting for something that may never answer. */

/** Waits for one thing at a time: for a bounded time, and only while it is wanted. */
export class Patience {
  #giveUp: ((reason: Error) => void) | undefined = undefined;

  /**
   * Answers as `work` does; rejects with what `late` makes after `timeoutMs` milliseconds, and with the reason of {@link cancel}.
   * What `work` answers after that is nobody's.
   */
  async wait<T>(work: PromiseLike<T>, timeoutMs: number, late: () => Error): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const ended = new Promise<never>((_, reject) => {
      this.#giveUp = reject;
      timer = setTimeout(() => reject(late()), timeoutMs);
    });
    try {
      return await Promise.race([work, ended]);
    } finally {
      clearTimeout(timer);
      this.#giveUp = undefined;
    }
  }

  /** Ends the wait under way, if there is one. */
  cancel(reason: Error): void {
    this.#giveUp?.(reason);
  }
}
