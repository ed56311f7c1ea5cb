/** Asking again and again, for what must be found out or done although a server can't be reached now. */
import { HeuristicError, toError } from '../../coordinator/errors.ts';

const PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

/**
 * Calls `ask` with the time that is left, in milliseconds, until it answers something else than undefined or the time is up, in
 * which case `undefined`. A rejection counts as no answer, but for a HeuristicError.
 *
 * @throws The last rejection, where it came last.
 */
export async function persist<T>(
  timeoutMs: number,
  ask: (leftMs: number) => Promise<T | undefined>,
): Promise<T | undefined> {
  const end = performance.now() + timeoutMs;
  let pauseMs = PAUSE_MS;
  let lastError: Error | undefined;
  for (;;) {
    const leftMs = end - performance.now();
    if (leftMs <= 0) {
      if (lastError !== undefined) throw lastError;
      return undefined;
    }
    try {
      const answer = await ask(leftMs);
      if (answer !== undefined) return answer;
      lastError = undefined;
    } catch (error) {
      if (error instanceof HeuristicError) throw error;
      lastError = toError(error);
    }
    const waitMs = Math.min(pauseMs, Math.max(end - performance.now(), 0));
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}
