/** Tests whose transactions are rolled back: around a function, or between the hooks of a test runner. */
import { suppress } from '../../../coordinator/errors.ts';
import { checkOptions } from '../../../coordinator/options.ts';
import type { Awaitable } from '../../../coordinator/types.ts';
import { OpenSandbox, type SandboxOptions, sandboxRules } from './sandbox.ts';
import type { Withheld } from './withhold.ts';

/** A place for tests: what is committed in it is undone when it ends. See {@link rollbackPerTest}. */
export class TestSandbox {
  readonly #options: SandboxOptions;
  #open: OpenSandbox | undefined = undefined;
  #items: readonly Withheld[] = [];
  /** How many have tried to begin while it was open, and will end it as well. */
  #refused = 0;

  /** @internal Made by {@link rollbackPerTest}. */
  constructor(options: SandboxOptions) {
    this.#options = options;
  }

  /** Whether it is open. */
  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** What transactions that were committed in it would have sent or written elsewhere, oldest first; until it is opened again. */
  get withheld(): readonly Withheld[] {
    return this.#items;
  }

  /**
   * Opens it, for a before-each hook. From now on it holds for every transaction of the coordinator, in whatever context that begins.
   *
   * @throws TransactionStateError where it or another one is open, as when tests run at the same time, or a transaction is open.
   */
  async begin(): Promise<void> {
    if (this.#open !== undefined) this.#refused++;
    this.#enter();
  }

  #enter(): OpenSandbox {
    const open = OpenSandbox.enter(this.#options);
    this.#open = open;
    this.#items = open.items;
    return open;
  }

  /**
   * Rolls back whatever was committed in it, gives the connections back and closes it, for an after-each hook. Does nothing where it isn't
   * open; and where `begin` was refused because it was open, only the last `end` closes it, as nobody can tell whose is whose.
   *
   * @throws TransactionStateError where a transaction was left open, or something was undone that elsewhere would have stayed
   * ({@link SandboxOptions.allowLostCommits}); and what else went wrong. All was rolled back all the same.
   */
  async end(): Promise<void> {
    if (this.#refused > 0) this.#refused--;
    else if (this.#open !== undefined) await this.#close(this.#open);
  }

  async #close(open: OpenSandbox): Promise<void> {
    try {
      await open.leave();
    } finally {
      if (this.#open === open) this.#open = undefined;
    }
  }

  /**
   * Opens it, calls `fn`, and ends it. What `fn` has started is known by its context, so that a transaction which it begins later is
   * refused (`TransactionClosed`).
   *
   * @returns what `fn` returns.
   * @throws What `fn` threw, with what {@link end} throws as `suppressed`; as {@link begin} and {@link end} do.
   */
  async run<T>(fn: (sandbox: this) => Awaitable<T>): Promise<T> {
    const open = this.#enter();
    let value: T;
    try {
      value = await open.run(() => fn(this));
    } catch (thrown) {
      await this.#close(open).catch((failure: unknown) => {
        if (thrown instanceof Error) suppress(thrown, failure);
      });
      throw thrown;
    }
    await this.#close(open);
    return value;
  }
}

/**
 * Makes a sandbox for the hooks of a test runner: `begin` before each test, `end` after it. In between the code under test begins, commits
 * and aborts as ever, and nothing of it is stored: its transactions are savepoints, and what would be sent is only kept to be looked at.
 *
 * @throws ConfigurationError for unknown or impossible options.
 */
export function rollbackPerTest(options: SandboxOptions = {}): TestSandbox {
  checkOptions('rollbackPerTest()', options, sandboxRules);
  return new TestSandbox(options);
}

/**
 * Calls a test's function in a sandbox of its own, and rolls back whatever was committed in it. See {@link TestSandbox.run}.
 * @throws as that does, and ConfigurationError for unknown or impossible options.
 */
export async function rollback<T>(
  fn: (sandbox: TestSandbox) => Awaitable<T>,
  options: SandboxOptions = {},
): Promise<T> {
  checkOptions('rollback()', options, sandboxRules);
  return new TestSandbox(options).run(fn);
}
