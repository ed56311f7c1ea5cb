/** Several commands at once: those that only read in one write, the others kept as they are in order. */
import { ConfigurationError, TransactionClosed, TransactionStateError, describe } from '../../coordinator/errors.ts';
import type { RedisBranch } from './branch.ts';
import type { RedisCommand } from './driver.ts';
import type { Prepared } from './maker.ts';

/** What a pipeline needs of its session. */
export interface PipelineSession {
  readonly name: string;
  /** Makes the command that a method is called for, and refuses what has no place in a transaction. */
  prepare(method: string, name: string, args: unknown[]): Prepared;
  /** The part of the session in the current transaction. */
  branch(): RedisBranch;
}

/** What became of a command: as ioredis answers it, but that a write is answered with what it returns elsewhere. */
export type PipelineResult = [error: Error | null, result: unknown];

type Callback = (error: Error | null, results?: PipelineResult[]) => void;

export class RedisPipeline {
  readonly #session: PipelineSession;
  /** Of the transaction that it was made in. */
  readonly #branch: RedisBranch;
  #collected: Prepared[] = [];
  #executed = false;

  constructor(session: PipelineSession) {
    this.#session = session;
    this.#branch = session.branch();
  }

  /** How many commands it has. */
  get length(): number {
    return this.#collected.length;
  }

  add(method: string, name: string, args: unknown[]): this {
    const prepared = this.#session.prepare(method, name, args);
    prepared.command.promise.catch(() => undefined);
    this.#collected.push(prepared);
    return this;
  }

  /** Adds commands that are given as `[name, ...args]`. @throws ConfigurationError for what is no command. */
  addBatch(commands: readonly (readonly unknown[])[]): this {
    const methods = Object.getPrototypeOf(this) as Record<string, (...args: unknown[]) => unknown>;
    for (const [method, ...args] of commands) {
      // Those of the class itself are no commands.
      if (typeof method !== 'string' || method === 'constructor' || !Object.hasOwn(methods, method)) {
        throw new ConfigurationError(
          `a pipeline takes commands, such as ['get', 'a key']; at '${this.#session.name}' one was ${describe(method)}`,
          { resource: this.#session.name },
        );
      }
      methods[method]!.apply(this, args);
    }
    return this;
  }

  /**
   * Sends what only reads and keeps what may write, in their order. Resolves with `[error, result]` for each when all reads are answered;
   * the result of a write is what the write returns elsewhere. Where a write can't be kept it rejects, and none of them is.
   */
  exec(callback?: Callback): Promise<PipelineResult[]> {
    const results = this.#exec();
    if (typeof callback === 'function') results.then((each) => callback(null, each), callback);
    return results;
  }

  async #exec(): Promise<PipelineResult[]> {
    if (this.#executed) {
      throw new TransactionStateError(`a pipeline is executed once; this one at '${this.#session.name}' was already`, {
        resource: this.#session.name,
      });
    }
    this.#executed = true;
    if (this.#session.branch() !== this.#branch) {
      throw new TransactionClosed(
        `a pipeline is executed in the transaction that it was made in; that of '${this.#session.name}' was made in another one`,
        { resource: this.#session.name },
      );
    }
    const kept = this.#keepWrites();
    const reads = this.#collected.filter(({ isRead }) => isRead).map(({ command }) => command);
    this.#branch.readAll(reads);
    const results: PipelineResult[] = [];
    for (const [index, { command }] of this.#collected.entries()) {
      results.push(kept.has(index) ? [null, kept.get(index)] : await resultOf(command));
    }
    return results;
  }

  #keepWrites(): Map<number, unknown> {
    const before = this.#branch.savepoint();
    const kept = new Map<number, unknown>();
    try {
      for (const [index, prepared] of this.#collected.entries()) {
        if (!prepared.isRead) kept.set(index, this.#branch.write(prepared));
      }
    } catch (error) {
      void before.rollback();
      throw error;
    }
    return kept;
  }
}

async function resultOf({ promise }: RedisCommand): Promise<PipelineResult> {
  try {
    return [null, await promise];
  } catch (error) {
    return [error as Error, undefined];
  }
}
