/** The pool of a session for a library to use: inside of a transaction it hands out that, outside of any it is the plain one. */
import type { Enlisting } from '../sql/enlistment.ts';
import { EnlistedClient } from './client.ts';
import type { PgPool, PgPoolClient } from './driver.ts';
import { type Callback, answer, runQuery, targetOn } from './query.ts';

type Connected = (error: Error | undefined, client: PgPoolClient | undefined, release: PgPoolClient['release']) => void;

type AnyFunction = (...args: never[]) => unknown;

/**
 * The same pool in the eyes of a library, `instanceof` included, but for `connect`, `query` and `end`. It isn't the library's to end, so
 * that `end` does nothing.
 */
export function enlistingPool<P extends PgPool>(session: Enlisting, pool: P): P {
  const plain = pool as P & { query: AnyFunction };
  const own: Record<string | symbol, AnyFunction> = {
    connect: (callback?: Connected) => connect(session, pool, callback),
    query(...args: never[]): unknown {
      try {
        const branch = session.enlisted();
        if (branch === undefined) return plain.query(...args);
        return runQuery(
          targetOn(session.name, () => branch),
          ...(args as unknown as [never, never, never]),
        );
      } catch (error) {
        return refuse(error as Error, args);
      }
    },
    end: (callback?: () => void) => answer(Promise.resolve(), callback),
  };
  return new Proxy(pool, { get: (target, key) => own[key] ?? (Reflect.get(target, key) as unknown) });
}

/** Hands out a connection, by a promise or a callback as `pg` does. */
function connect(session: Enlisting, pool: PgPool, callback: Connected | undefined): unknown {
  let taken: Promise<EnlistedClient>;
  try {
    const branch = session.enlisted();
    if (branch === undefined) return (pool.connect as (callback?: Connected) => unknown)(callback);
    taken = Promise.resolve(new EnlistedClient(session, pool, branch.txn));
  } catch (error) {
    taken = Promise.reject(error);
  }
  if (callback === undefined) return taken;
  taken.then(
    (client) => callback(undefined, client, client.release),
    (error: Error) => callback(error, undefined, () => undefined),
  );
  return undefined;
}

/** A refusal, by a promise or to the callback among the arguments. */
function refuse(reason: Error, args: readonly unknown[]): unknown {
  const told = args.find((each) => typeof each === 'function') as Callback<unknown> | undefined;
  return answer(Promise.reject(reason), told);
}
