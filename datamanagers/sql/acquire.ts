/** Waiting for a connection, for a bounded time. */
import { AcquireTimeoutError } from '../../coordinator/errors.ts';

export interface Acquisition<T> {
  /** Asks the pool. */
  readonly connect: () => Promise<T>;
  /** Gives back what comes too late. */
  readonly discard: (late: T) => void;
  /** Rejects when nobody waits any more. */
  readonly cancelled: Promise<never>;
  readonly timeoutMs: number;
  readonly resource: string;
  /** What the pool says of itself, for the error. */
  readonly describePool: () => string;
}

/** @throws AcquireTimeoutError when the pool has none within `timeoutMs`; what comes later goes back to it. */
export async function acquire<T>({
  connect,
  discard,
  cancelled,
  timeoutMs,
  resource,
  describePool,
}: Acquisition<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new AcquireTimeoutError(
          `a connection must be free within acquireTimeoutMs; '${resource}' had none for ${timeoutMs} ms (${describePool()}): ` +
            `others hold them all, or this transaction waits for one that its own outer transaction holds`,
          { resource, phase: 'work' },
        ),
      );
    }, timeoutMs);
  });
  let waiting = true;
  const connected = connect();
  try {
    return await Promise.race([connected, tooLate, cancelled]);
  } catch (error) {
    waiting = false;
    throw error;
  } finally {
    clearTimeout(timer);
    if (!waiting) connected.then(discard, () => undefined);
  }
}
