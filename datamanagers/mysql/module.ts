/** The module `mysql2` for libraries that take no pool, but make their own connections or pools by what the module exports. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import type { Enlisting } from '../sql/enlistment.ts';
import { ContextualConnection } from './contextual.ts';
import type { MysqlCallback, MysqlCorePool, MysqlQueryOptions } from './driver.ts';
import { posingAs } from './posing.ts';
import { promised } from './promised.ts';
import { type MysqlModule, type MysqlParts, Wishes } from './wishes.ts';

interface Asks {
  query(options: MysqlQueryOptions, callback?: MysqlCallback): unknown;
  execute(options: MysqlQueryOptions, callback?: MysqlCallback): unknown;
}

type Promising = { promise(): unknown };

/**
 * The same module but for what makes connections and pools. Whatever they are asked to connect to, it is the session's database.
 * @throws ConfigurationError when it isn't the module `mysql2`.
 */
export function driverModule<M extends MysqlModule>(
  module: M,
  session: Enlisting,
  plain: MysqlCorePool,
  enlisting: MysqlCorePool,
): M {
  const { name } = session;
  const { createPool, createConnection, Connection, ConnectionConfig } = (module ?? {}) as Partial<MysqlParts>;
  for (const each of [createPool, createConnection, Connection, ConnectionConfig]) {
    if (typeof each === 'function') continue;
    throw new ConfigurationError(`driver() takes the module mysql2, not ${describe(module)}`, { resource: name });
  }
  const wishes = (options: unknown): Wishes =>
    new Wishes(name, module, plain, typeof options === 'object' && options !== null ? (options as never) : {});
  const connect = (options: unknown): Promising =>
    wanted(new ContextualConnection(session, plain), wishes(options), plain);
  const pool = (options: unknown): Promising => wantedPool(enlisting, wishes(options));
  const own = {
    createConnection: connect,
    connect,
    createPool: pool,
    createConnectionPromise: async (options: unknown) => connect(options).promise(),
    createPoolPromise: (options: unknown) => pool(options).promise(),
    createPoolCluster: () => refuseCluster(name),
    createPoolClusterPromise: () => refuseCluster(name),
  };
  // Where it is imported as a namespace, libraries look for the same under its default.
  return 'default' in module ? { ...module, ...own, default: { ...module, ...own } } : { ...module, ...own };
}

function refuseCluster(name: string): never {
  throw new ConfigurationError(
    `driver() has the database of its session, '${name}', and no other; createPoolCluster() would connect past it: make a session for each server`,
    { resource: name },
  );
}

function wantedPool(pool: MysqlCorePool, wishes: Wishes): MysqlCorePool & Promising {
  return posingAs(pool as MysqlCorePool & Promising, {
    ...asking(pool, wishes),
    getConnection: (taken: (error: Error | null, connection?: unknown) => void) =>
      pool.getConnection((error, connection) => {
        if (error) taken(error);
        else taken(null, wanted(connection, wishes, pool));
      }),
  });
}

/** A connection whose statements are as the library wants them. */
function wanted<C extends object>(connection: C, wishes: Wishes, pool: MysqlCorePool): C & Promising {
  const own = {
    ...asking(connection as unknown as Asks, wishes),
    promise: (implementation?: unknown) => promised(pool, posing, implementation),
  };
  const posing: C & Promising = posingAs(connection as C & Promising, own, connection);
  return posing;
}

function asking(target: Asks, wishes: Wishes): Record<keyof Asks, (...args: unknown[]) => unknown> {
  return {
    query: (...args) => target.query(...wishes.query(...args)),
    execute: (...args) => target.execute(...wishes.execute(...args)),
  };
}
