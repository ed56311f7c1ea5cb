/** What a write of a transaction returns: it has no answer yet. */
import type { RedisCommand } from './driver.ts';

/**
 * A command that is kept until the transaction commits. It is no promise: awaiting it gives it back at once. Its answer is to be had
 * by {@link result}, once the transaction is over.
 */
export class Buffered<T> {
  readonly #command: RedisCommand;

  /** @internal */
  constructor(command: RedisCommand) {
    this.#command = command;
  }

  /**
   * The command's answer when the transaction has committed; rejects when it hasn't. Not to be awaited inside of the transaction, which
   * would wait for itself. Where nobody asks for it, its rejection is nobody's.
   */
  get result(): Promise<T> {
    return this.#command.promise as Promise<T>;
  }
}
