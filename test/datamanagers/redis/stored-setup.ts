// A bank in PostgreSQL and a Redis, for test files: what a transaction of both writes to Redis is stored with the bank's decision.
import { Redis } from 'ioredis';
import { TransactionCoordinator, register, type StoredMessage } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';
import { postgres } from '../../support/servers.ts';
import { type Test, assert } from '../../support/suite.ts';
import { Database } from '../pg/setup.ts';
import { Store } from './setup.ts';

/** Is in what applies stored writes, and in nothing else but a question for it. */
export const TOKEN = 'unanimous:token:';

export interface BankOptions {
  /** How long one of the two waits for the end of something, in milliseconds. */
  readonly endTimeoutMs: number;
  /** How long the decision log does. */
  readonly logTimeoutMs?: number;
  readonly onError?: (error: Error) => void;
}

export class StoredWrites {
  readonly coordinator: TransactionCoordinator;
  readonly db: Database;
  readonly store: Store;
  readonly #log: PgDecisionLog;

  private constructor(coordinator: TransactionCoordinator, db: Database, store: Store, log: PgDecisionLog) {
    this.coordinator = coordinator;
    this.db = db;
    this.store = store;
    this.#log = log;
  }

  /** Opens both for the tests of a file, and looks after each that nothing is left behind. */
  static async open(test: Test, { endTimeoutMs, logTimeoutMs, onError }: BankOptions): Promise<StoredWrites> {
    const coordinator = new TransactionCoordinator(onError === undefined ? {} : { onError });
    const options = { register: { coordinator }, endTimeoutMs };
    const db = await Database.open(await postgres(), { name: 'bank', ...options });
    const store = await Store.open({ name: 'cache', ...options });
    const log = new PgDecisionLog(db.session, logTimeoutMs === undefined ? {} : { timeoutMs: logTimeoutMs });
    coordinator.configure({ decisionLog: log });
    test.after.each(async () => {
      store.proxy.onClientData = undefined;
      store.proxy.onServerData = undefined;
      await db.assertClean();
      await store.assertClean();
    });
    test.after(async () => {
      await coordinator.close();
      await store.close();
      await db.close();
    });
    return new StoredWrites(coordinator, db, store, log);
  }

  /** The bank's part of a transaction. */
  debit(): Promise<unknown> {
    return this.db.session.query('update accounts set balance = balance - 10 where id = 1');
  }

  /** What is stored last, as whoever else claims it would be handed it. */
  async stored(): Promise<StoredMessage> {
    const message = (await this.#log.outbox.list(10)).at(-1);
    assert.ok(message !== undefined);
    return message;
  }

  /** Recovers until nothing is left to deliver. */
  async recovered(): Promise<void> {
    await assert.eventually(
      async () => {
        await this.coordinator.recover();
        assert.equal(await this.#log.outbox.list(10), []);
      },
      20_000,
      200,
    );
  }

  /** Calls `work` with another process's session, which doesn't go by the proxy. */
  async elsewhere(work: (session: RedisSession) => Promise<unknown>): Promise<void> {
    const client = new Redis(this.store.server.port, { lazyConnect: true });
    const session = register(new RedisSession(client, { name: 'cache' }), {
      coordinator: new TransactionCoordinator(),
    });
    await work(session);
    await session.close();
  }
}
