/** Calls that are made for a bounded time, and written down. */
import { toError } from '../../coordinator/errors.ts';
import { isThenable } from '../../coordinator/thenable.ts';
import type { DataManager } from '../../coordinator/types.ts';
import { type DataManagerPhase, intercept } from './intercept.ts';
import { ConformanceError, RULES } from './rules.ts';

/** A call of a data manager. */
export interface Call {
  readonly phase: DataManagerPhase;
  answer?: unknown;
  error?: unknown;
}

/** Writes down every call of a data manager, and how it ended. */
export function listenTo(manager: DataManager, calls: Call[]): void {
  intercept(manager, (phase, proceed) => {
    const call: Call = { phase };
    calls.push(call);
    return listen(call, proceed);
  });
}

/** Makes a call and writes down how it ended. */
function listen(call: Call, proceed: () => unknown): unknown {
  const failed = (error: unknown): never => {
    call.error = error;
    throw error;
  };
  const answered = (answer: unknown): unknown => (call.answer = answer);
  let answer: unknown;
  try {
    answer = proceed();
  } catch (error) {
    return failed(error);
  }
  return isThenable(answer) ? answer.then(answered, failed) : answered(answer);
}

/** What it rejects with; what shows that a rule is broken is thrown. */
export async function failureOf(action: Promise<unknown>): Promise<Error | undefined> {
  try {
    await action;
    return undefined;
  } catch (error) {
    if (error instanceof ConformanceError) throw error;
    return toError(error);
  }
}

/** Rejects where `action` has not answered in time. */
export async function within<T>(timeoutMs: number, what: string, action: () => T): Promise<Awaited<T>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new ConformanceError(RULES.settled, `${what} was not answered within ${timeoutMs} ms`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([action(), late]);
  } finally {
    clearTimeout(timer);
  }
}
