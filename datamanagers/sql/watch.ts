/**
 * Watches that answers come in time. Every commit is watched and hardly one is late, so all share one timer rather than having
 * one each.
 */
import { outside } from '../../coordinator/context.ts';

interface Watched {
  readonly dueMs: number;
  readonly onLate: () => void;
}

const watched = new Set<Watched>();
let timer: NodeJS.Timeout | undefined;
let timerDueMs = Infinity;

/** Calls `onLate` once unless the returned function was called within `withinMs` milliseconds. Keeps no process alive. */
export function watch(withinMs: number, onLate: () => void): () => void {
  const entry: Watched = { dueMs: performance.now() + withinMs, onLate };
  watched.add(entry);
  if (entry.dueMs < timerDueMs) arm(entry.dueMs);
  return () => watched.delete(entry);
}

function arm(dueMs: number): void {
  clearTimeout(timer);
  timerDueMs = dueMs;
  // Outside of the context: the timer serves every transaction, and must keep none of them.
  timer = outside(() => setTimeout(check, Math.max(1, Math.ceil(dueMs - performance.now()))));
  timer.unref();
}

function check(): void {
  const nowMs = performance.now();
  let nextMs = Infinity;
  timerDueMs = Infinity;
  for (const entry of watched) {
    if (entry.dueMs <= nowMs) {
      watched.delete(entry);
      entry.onLate();
    } else nextMs = Math.min(nextMs, entry.dueMs);
  }
  if (nextMs < timerDueMs) arm(nextMs);
}
