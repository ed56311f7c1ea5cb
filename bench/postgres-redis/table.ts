// Table 4: PostgreSQL and Redis, against PostgreSQL alone.
import type { Comparison } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

export const onPostgresAndRedis: Comparison<ContenderName, Workload> = {
  folder: 'postgres-redis',
  table: 4,
  title: 'PostgreSQL and Redis',
  baseline: { title: 'PostgreSQL alone by hand', name: 'alone' },
  workloads: {
    update: {
      title: 'UPDATE by key, SET by key',
      entries: [
        { title: 'PostgreSQL alone, run()', name: 'byRunAlone' },
        { title: 'COMMIT, then EXEC by hand (unsafe)', name: 'unsafe' },
        { title: 'by hand with an outbox', name: 'outbox' },
        { title: 'run()', name: 'byRun' },
        { title: 'run(), the other build', name: 'byRun', other: true },
      ],
    },
  },
};
