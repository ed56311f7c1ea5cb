// Two databases, the enlisting pool of a session on the first, and what a library does with it.
import type pg from 'pg';
import type { Test } from '../../support/suite.ts';
import { Database } from './setup.ts';

export const attempts = { attempts: 1 };

/** Whatever takes statements as a pool or a client of pg does. */
export type Asks = Pick<pg.PoolClient, 'query'>;

export class Library {
  readonly db: Database;
  readonly second: Database;
  readonly pool: pg.Pool;

  private constructor(db: Database, second: Database) {
    this.db = db;
    this.second = second;
    this.pool = db.session.pool();
  }

  /** Opens both for the tests of a file, and looks after each that nothing is left behind. */
  static async open(server: Parameters<typeof Database.open>[0], test: Test): Promise<Library> {
    const db = await Database.open(server, { name: 'pool', acquireTimeoutMs: 300, endTimeoutMs: 1_000 });
    const second = await Database.open(server, { name: 'second' });
    test.after(() => Promise.all([db.close(), second.close()]));
    test.after.each(async () => {
      for (const each of [db, second]) {
        each.proxy.onClientData = undefined;
        each.proxy.onServerData = undefined;
        await each.assertClean();
        await each.reset();
      }
    });
    return new Library(db, second);
  }

  /** Inserts an account by the pool, or by a client of it. */
  insert(id: number, target: Asks = this.pool): Promise<unknown> {
    return target.query('insert into accounts values ($1, 0)', [id]);
  }

  /** As a library does: takes a client, begins, and ends as the function does. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    try {
      await client.query('BEGIN');
      const value = await work(client);
      await client.query('COMMIT');
      return value;
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  }
}
