/** Awaiting only what has to be awaited: a step that answers synchronously costs no tick. */
import type { Awaitable } from './types.ts';

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/**
 * Starts what is only sent once somebody waits for it, as the queries of many libraries are: in the context of this call rather than
 * in that of whoever awaits it. Any other value is returned as it is.
 */
export function started<T>(value: T): T {
  if (!isThenable(value) || value instanceof Promise) return value;
  return new Promise((resolve, reject) => void value.then(resolve, reject)) as T;
}

/**
 * Calls `step` on each item in order, the next one only when the one before has answered. Items that are appended meanwhile
 * are visited too. Returns a promise only where a step did.
 */
export function inOrder<T, C>(
  items: readonly T[],
  context: C,
  step: (item: T, context: C) => unknown,
): Awaitable<void> {
  for (let index = 0; index < items.length; index++) {
    const answer = step(items[index]!, context);
    if (isThenable(answer)) return continueInOrder(answer, items, index + 1, context, step);
  }
  return undefined;
}

async function continueInOrder<T, C>(
  pending: PromiseLike<unknown>,
  items: readonly T[],
  from: number,
  context: C,
  step: (item: T, context: C) => unknown,
): Promise<void> {
  await pending;
  for (let index = from; index < items.length; index++) {
    const answer = step(items[index]!, context);
    if (isThenable(answer)) await answer;
  }
}
