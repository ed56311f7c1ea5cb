// Table 2: one Redis.
import type { Comparison, Entry } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

const withToken: Entry<ContenderName> = { title: 'hand-written ioredis, with a token', name: 'handWrittenToken' };

const ours: readonly Entry<ContenderName>[] = [
  { title: 'run()', name: 'byRun' },
  { title: 'begin(), commit()', name: 'byBegin' },
  { title: 'run(), tokenTtlMs: false', name: 'byRunNoToken' },
  { title: 'run(), the other build', name: 'byRun', other: true },
];

export const onRedis: Comparison<ContenderName, Workload> = {
  folder: 'redis',
  table: 2,
  title: 'one Redis',
  baseline: { title: 'hand-written ioredis', name: 'handWritten' },
  workloads: {
    watch: {
      title: 'WATCH and GET, then SET in MULTI',
      entries: [withToken, { title: 'by hand, WATCH and GET in one flight', name: 'inOneFlight' }, ...ours],
    },
    blind: { title: 'two SETs in MULTI', entries: [withToken, ...ours] },
  },
};
