// Two databases, the enlisting pool of a session on the first, and what a library does with it.
import type { Pool, PoolConnection } from 'mysql2/promise';
import type { Pool as CallbackPool } from 'mysql2';
import { type Test, assert } from '../../support/suite.ts';
import { Database, type Server, warnings } from './setup.ts';

export const attempts = { attempts: 1 };

/** Whatever takes statements as a pool or a connection of mysql2/promise does. */
export type Asks = Pick<PoolConnection, 'query' | 'execute'>;

export class Library {
  readonly db: Database;
  readonly second: Database;
  readonly pool: Pool;
  /** The one with callbacks. */
  readonly core: CallbackPool;

  private constructor(db: Database, second: Database) {
    this.db = db;
    this.second = second;
    this.pool = db.session.pool() as Pool;
    this.core = this.pool.pool;
  }

  /** Opens both for the tests of a file, and looks after each that nothing is left behind. */
  static async open(server: Server, test: Test): Promise<Library> {
    const options = { name: 'pool', acquireTimeoutMs: 300, endTimeoutMs: 1_000, pool: { multipleStatements: true } };
    const db = await Database.open(server, options);
    const second = await Database.open(server, { name: 'second' });
    test.after(() => Promise.all([db.close(), second.close()]));
    test.after.each(async () => {
      for (const each of [db, second]) {
        each.proxy.onClientData = undefined;
        each.proxy.onServerData = undefined;
        await each.assertClean();
        await each.reset();
      }
      assert.equal(warnings.splice(0), []);
    });
    return new Library(db, second);
  }

  /** Inserts an account by the pool, or by a connection of it. */
  insert(id: number, target: Asks = this.pool): Promise<unknown> {
    return target.execute('insert into accounts values (?, 0)', [id]);
  }

  /** As a library does: takes a connection, begins, and ends as the function does. */
  async transaction<T>(work: (connection: PoolConnection) => Promise<T>): Promise<T> {
    const connection = await this.pool.getConnection();
    try {
      await connection.beginTransaction();
      const value = await work(connection);
      await connection.commit();
      return value;
    } catch (error) {
      await connection.rollback();
      throw error;
    } finally {
      connection.release();
    }
  }
}
