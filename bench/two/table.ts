// Table 4: two databases.
import type { Comparison, Entry } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

const entries: readonly Entry<ContenderName>[] = [
  { title: 'two-phase by hand, serial', name: 'serial' },
  { title: 'two-phase by hand, phases at once', name: 'atOnce' },
  { title: 'last resource by hand', name: 'lastResource' },
  { title: 'run()', name: 'byRun' },
  { title: 'run(), the first with twoPhase: false', name: 'byRunLastResource' },
  { title: 'run(), the other build', name: 'byRun', other: true },
];

/** `kinds` says which two. */
export function onTwo(kinds: string): Comparison<ContenderName, Workload> {
  return {
    folder: 'two',
    table: 4,
    title: kinds,
    baseline: { title: 'two plain COMMITs by hand (unsafe)', name: 'sequential' },
    workloads: { update: { title: 'UPDATE by key in each', entries } },
  };
}
