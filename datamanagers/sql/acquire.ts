/** Waiting for a connection, for a bounded time. */
import { AcquireTimeoutError } from '../../coordinator/errors.ts';
import { watch } from './watch.ts';

export interface Acquisition<T, C> {
  /** Asks the pool. */
  readonly connect: () => Promise<T>;
  /** Makes of it what is wanted. */
  readonly use: (connection: T) => C;
  /** The error of a pool that has none in other words, where there are better ones. */
  readonly explain?: (error: Error) => Error;
  /** Gives back what comes too late. */
  readonly discard: (late: T) => void;
  /** Rejects when nobody waits any more; undefined where that can't be. */
  readonly cancelled: Promise<never> | undefined;
  readonly timeoutMs: number;
  readonly resource: string;
  /** What the pool says of itself, for the error. */
  readonly describePool: () => string;
}

/** @throws AcquireTimeoutError when the pool has none within `timeoutMs`; what comes later goes back to it. */
export function acquire<T, C>({
  connect,
  use,
  explain,
  discard,
  cancelled,
  timeoutMs,
  resource,
  describePool,
}: Acquisition<T, C>): Promise<C> {
  return new Promise<C>((resolve, reject) => {
    let isOver = false;
    const giveUp = (error: Error): void => {
      if (isOver) return;
      isOver = true;
      inTime();
      reject(error);
    };
    const inTime = watch(timeoutMs, () =>
      giveUp(
        new AcquireTimeoutError(
          `a connection must be free within acquireTimeoutMs; '${resource}' had none for ${timeoutMs} ms (${describePool()}): ` +
            `others hold them all, or this transaction waits for one that its own outer transaction holds`,
          { resource, phase: 'work' },
        ),
      ),
    );
    cancelled?.catch(giveUp);
    const failed = (error: Error): void => giveUp(explain === undefined ? error : explain(error));
    connect().then((connection) => {
      if (isOver) return discard(connection);
      isOver = true;
      inTime();
      return resolve(use(connection));
    }, failed);
  });
}
