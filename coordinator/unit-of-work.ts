/** The unit-of-work and repository style: one object for a service, which carries its repositories and nothing of a request. */
import type { TransactionCoordinator } from './coordinator.ts';
import { transaction } from './default.ts';
import { ConfigurationError, describe } from './errors.ts';
import type { Savepoint } from './savepoint.ts';
import type { Transaction } from './transaction.ts';
import { type TransactionalOptions, checkTransactional } from './transactional.ts';
import type { Awaitable, CoordinatorRunOptions, TransactionOptions } from './types.ts';

/**
 * A unit of work whose subclass has the repositories:
 *
 *     class Shop extends UnitOfWork {
 *       readonly orders = new Orders(session);
 *       readonly stock = new Stock(session);
 *     }
 *     const shop = new Shop();
 *     await shop.run(async ({ orders, stock }) => { … });
 *
 * Made once and shared by all requests: which transaction a repository works in, its session finds out by the asynchronous context, so
 * there is nothing in it that a second request could overwrite.
 */
export class UnitOfWork {
  readonly #coordinator: TransactionCoordinator;
  readonly #options: CoordinatorRunOptions;

  /**
   * @param options what {@link run} has by default; `attempts` is 1, because the work may have effects of its own.
   * @throws ConfigurationError for unknown or impossible options.
   */
  constructor(options: TransactionalOptions = {}) {
    checkTransactional('new UnitOfWork()', options);
    const { coordinator = transaction, ...own } = options;
    this.#coordinator = coordinator;
    this.#options = { attempts: 1, ...own };
  }

  /** The transaction of this context, or undefined. */
  get transaction(): Transaction | undefined {
    return this.#coordinator.current;
  }

  /**
   * Calls `work` with this object in a transaction: commits when it returns, aborts when it throws; takes part where one is active
   * already.
   *
   * @returns what `work` returns.
   * @throws as {@link TransactionCoordinator.run} does.
   */
  run<T>(work: (uow: this, txn: Transaction) => Awaitable<T>, options: CoordinatorRunOptions = {}): Promise<T> {
    if (typeof work !== 'function') {
      return Promise.reject(new ConfigurationError(`run() takes a function, not ${describe(work)}`));
    }
    const all = { ...this.#options, ...options } as CoordinatorRunOptions & { propagation?: 'required' };
    return this.#coordinator.run((txn) => work(this, txn), all);
  }

  /**
   * Begins a transaction in this context; `await using txn = await uow.begin()` aborts it on leaving the block unless it was committed.
   * @throws as {@link TransactionCoordinator.begin} does.
   */
  begin(options?: TransactionOptions): Promise<Transaction> {
    return this.#coordinator.begin(options);
  }

  /** Commits the transaction of this context; see {@link Transaction.commit}. */
  commit(): Promise<void> {
    return this.#coordinator.commit();
  }

  /** Aborts the transaction of this context; see {@link Transaction.abort}. */
  abort(): Promise<void> {
    return this.#coordinator.abort();
  }

  /** Makes a savepoint; see {@link Transaction.savepoint}. */
  savepoint(): Promise<Savepoint> {
    return this.#coordinator.savepoint();
  }
}
