/** The pool of a session for a library to use: inside of a transaction it hands out that, outside of any it is the plain one. */
import { AsyncResource } from 'node:async_hooks';
import { outside } from '../../coordinator/context.ts';
import type { Enlisting } from '../sql/enlistment.ts';
import { EnlistedConnection } from './client.ts';
import { EnlistedCommand } from './command.ts';
import { controlIn } from './control.ts';
import { type MysqlCallback, type MysqlCorePool, type MysqlQueryOptions, corePoolOf } from './driver.ts';
import { posingAs } from './posing.ts';
import { sendable, textOf } from './sendable.ts';

type AnyFunction = (...args: unknown[]) => unknown;

type Taken = (error: Error | null, connection?: unknown) => void;

type MysqlTaken = Parameters<MysqlCorePool['getConnection']>[0];

/**
 * The same pool in the eyes of a library, `instanceof` included, but for what hands out or uses a connection. It isn't the library's to
 * end, so that `end` does nothing.
 */
export function enlistingPool<P extends object>(session: Enlisting, pool: P): P {
  const core = corePoolOf(pool)!;
  const enlisting = enlistingCore(session, core);
  // A pool of promises does all by the pool of callbacks that it is made of.
  return (core as unknown) === pool ? (enlisting as unknown as P) : posingAs(pool, { pool: enlisting });
}

function enlistingCore(session: Enlisting, plain: MysqlCorePool): MysqlCorePool {
  const use = (method: 'query' | 'execute', args: unknown[]): unknown => {
    try {
      const branch = session.enlisted();
      if (branch === undefined) {
        const given = args.map(bound);
        return outside(() => plain[method](...given));
      }
      refuseControl(session.name, method, args[0] as string | MysqlQueryOptions);
      return new EnlistedConnection(session, plain, branch.txn)[method](...(args as [string]));
    } catch (error) {
      return refuse(error as Error, args);
    }
  };
  return posingAs(plain, {
    getConnection: (taken: Taken) => getConnection(session, plain, taken),
    query: (...args: unknown[]) => use('query', args),
    execute: (...args: unknown[]) => use('execute', args),
    releaseConnection: (connection: unknown) =>
      connection instanceof EnlistedConnection ? connection.release() : plain.releaseConnection(connection),
    end: (callback?: Taken) => process.nextTick(() => callback?.(null)),
  });
}

/** @throws TransactionStateError for a statement that begins or ends a transaction: on a connection that nobody has it comes to nothing. */
function refuseControl(name: string, method: string, sql: string | MysqlQueryOptions): void {
  const control = controlIn(textOf(name, method, sql));
  if (control !== undefined && control.kind !== 'set transaction') sendable(name, method, sql);
}

function getConnection(session: Enlisting, plain: MysqlCorePool, taken: Taken): void {
  let connection: EnlistedConnection | undefined;
  let refusal: Error | null = null;
  try {
    const branch = session.enlisted();
    if (branch === undefined) {
      const given = bound(taken) as MysqlTaken;
      return outside(() => plain.getConnection(given));
    }
    connection = new EnlistedConnection(session, plain, branch.txn);
  } catch (error) {
    refusal = error as Error;
  }
  process.nextTick(() => taken(refusal, connection));
  return undefined;
}

/** The plain pool calls from the context of whoever gives a connection back, or has opened it, which is no business of who gets it. */
function bound(arg: unknown): unknown {
  return typeof arg === 'function' ? AsyncResource.bind(arg as AnyFunction) : arg;
}

/** A refusal, to the callback among the arguments or by an event. */
function refuse(reason: Error, args: readonly unknown[]): EnlistedCommand {
  const done = args.find((each) => typeof each === 'function') as MysqlCallback | undefined;
  const command = new EnlistedCommand('');
  if (done === undefined) command.pour(Promise.reject(reason));
  else command.answer(Promise.reject(reason), done);
  return command;
}
