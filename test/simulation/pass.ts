// What a pass of recovery must have done that has reached everybody. That keeps the queues bounded: whatever is left over (branches of the dead,
// decisions that all have followed, tombstones of the dead) outlives no such pass, so that what there is of it at any moment is what has come
// since the last one, however long the world has gone on.
import type { RecoveryReport } from 'unanimous';
import { incarnationOf } from '../../coordinator/decisions.ts';
import type { Process } from './process.ts';
import type { Surroundings } from './surroundings.ts';

/** @param sinceMs when the pass before it was over: it has begun later. */
export function checkPass(process: Process, report: RecoveryReport, sinceMs: number, around: Surroundings): void {
  const { store, sessions } = process;
  if (report.failures.length > 0 || sessions.some(({ isListed }) => !isListed)) return;
  around.situations.occurred('a pass of recovery reached everybody, and left nothing that it should not');
  const isDead = (gid: string): boolean => (store.fencedMs.get(incarnationOf(gid)) ?? Infinity) < sinceMs;
  const left = new Set(report.left.map(({ gid }) => gid));
  const doubtful = new Set(process.doubtful);
  const complain = (what: string): void => void around.breaches.push(`left over: ${process.name} has left ${what}`);
  for (const { name, prepared } of around.databases) {
    for (const { gid, preparedMs } of prepared.values()) {
      if (!gid.startsWith(`sim:${store.id}:`)) {
        around.situations.occurred('a pass of recovery looked over the branches of another decision store');
      } else if (isDead(gid) && preparedMs < sinceMs && !left.has(gid)) complain(`${gid} at ${name}`);
    }
  }
  for (const { gid, outcome, writtenMs } of store.decisions.values()) {
    if (writtenMs >= sinceMs || left.has(gid) || around.databases.some(({ prepared }) => prepared.has(gid))) continue;
    const isOver = (process.overMs.get(gid) ?? Infinity) < sinceMs && !doubtful.has(gid);
    if (isDead(gid) || (isOver && outcome === 'committed')) complain(`the ${outcome} of ${gid}`);
  }
}
