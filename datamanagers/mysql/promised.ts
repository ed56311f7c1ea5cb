/** A connection with promises. */
import type { MysqlCorePool } from './driver.ts';

/** What a pool of promises has. */
interface PromisePool {
  getConnection(): unknown;
}

type MakePromised = (this: object, implementation: unknown) => PromisePool;

type Start = (resolve: (value: { Promise: unknown }) => void) => void;

/**
 * What `promise()` of a connection of the pool returns, for any that has the methods of one. The driver makes it where its pool of
 * promises hands out a connection, which is at once where a promise is.
 */
export function promised(pool: MysqlCorePool, connection: object, implementation: unknown = Promise): unknown {
  let made: { Promise: unknown } | undefined;
  function AtOnce(start: Start): void {
    start((value) => (made = value));
  }
  const one = { getConnection: (give: (error: null, given: object) => void) => give(null, connection) };
  (pool as unknown as { promise: MakePromised }).promise.call(one, AtOnce).getConnection();
  made!.Promise = implementation;
  return made;
}
