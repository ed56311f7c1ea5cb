// Table 4: two databases.
import type { Comparison, Entry } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

const entries: readonly Entry<ContenderName>[] = [
  { title: 'two-phase by hand, serial', name: 'serial' },
  { title: 'two-phase by hand, phases at once', name: 'atOnce' },
  { title: 'two-phase by hand, with the decision written down', name: 'fullDecided' },
  { title: 'last resource by hand', name: 'lastResource' },
  { title: 'last resource by hand, with the decision written down', name: 'lastResourceDecided' },
  { title: 'run(), the decision log elsewhere', name: 'byRunFull' },
  { title: 'run(), the decision log in the first', name: 'byRunLastResource' },
  { title: 'run(), the same, the other build', name: 'byRunLastResource', other: true },
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
