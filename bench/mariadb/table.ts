// Table 2: one MariaDB.
import type { Comparison } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

export const onMariadb: Comparison<ContenderName, Workload> = {
  folder: 'mariadb',
  table: 2,
  title: 'one MariaDB',
  baseline: { title: 'hand-written mysql2', name: 'handWritten' },
  workloads: {
    write: {
      title: 'SELECT by key, UPDATE by key',
      entries: [
        { title: 'hand-written mysql2, execute()', name: 'handWrittenExecute' },
        { title: 'XA by hand', name: 'xaByHand' },
        { title: 'XA by hand, its end in one flight', name: 'xaByHandInOneFlight' },
        { title: 'XA by hand, execute()', name: 'xaByHandExecute' },
        { title: 'run()', name: 'byRun' },
        { title: 'begin(), commit()', name: 'byBegin' },
        { title: 'run(), execute()', name: 'byRunExecute' },
        { title: 'run(), twoPhase: false', name: 'byRunPlain' },
        { title: 'begin(), commit(), twoPhase: false', name: 'byBeginPlain' },
        { title: 'run(), twoPhase: false, execute()', name: 'byRunPlainExecute' },
        { title: 'Kysely, text', name: 'kyselyText' },
        { title: 'Kysely, builder', name: 'kyselyBuilder' },
        { title: 'Drizzle, text', name: 'drizzleText' },
        { title: 'Drizzle, builder', name: 'drizzleBuilder' },
        { title: 'Knex, text', name: 'knexText' },
        { title: 'Knex, builder', name: 'knexBuilder' },
        { title: 'run(), the other build', name: 'byRun', other: true },
      ],
    },
  },
};
