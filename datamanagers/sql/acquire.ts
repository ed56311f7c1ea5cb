/** Waiting for a connection, for a bounded time. */
import { AcquireTimeoutError } from '../../coordinator/errors.ts';
import { watch } from './watch.ts';

export interface Acquisition<T> {
  /** Asks the pool. */
  readonly connect: () => Promise<T>;
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
export function acquire<T>({
  connect,
  discard,
  cancelled,
  timeoutMs,
  resource,
  describePool,
}: Acquisition<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
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
    connect().then((connection) => {
      if (isOver) return discard(connection);
      isOver = true;
      inTime();
      return resolve(connection);
    }, giveUp);
  });
}
