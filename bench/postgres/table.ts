// Table 2: one PostgreSQL.
import type { Comparison, Entry } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

const byHand: readonly Entry<ContenderName>[] = [
  { title: 'hand-written pg, named statements', name: 'handWrittenNamed' },
  { title: 'the same protocol by hand', name: 'protocolByHand' },
  { title: 'the same protocol by hand, named statements', name: 'protocolByHandNamed' },
];

const ours: readonly Entry<ContenderName>[] = [
  { title: 'run()', name: 'byRun' },
  { title: 'run(), namesStatements: false', name: 'byRunUnnamed' },
];

const otherBuild: Entry<ContenderName> = { title: 'run(), the other build', name: 'byRun', other: true };

export const onPostgres: Comparison<ContenderName, Workload> = {
  folder: 'postgres',
  table: 2,
  title: 'one PostgreSQL',
  baseline: { title: 'hand-written pg', name: 'handWritten' },
  workloads: {
    write: {
      title: 'SELECT by key, UPDATE by key',
      entries: [
        ...byHand,
        ...ours,
        { title: 'begin(), commit()', name: 'byBegin' },
        { title: 'run(), statements named by the user', name: 'byRunNamed' },
        otherBuild,
      ],
    },
    read: {
      title: 'SELECT by key',
      entries: [
        ...byHand,
        ...ours,
        { title: 'run({ readOnly: true })', name: 'byRunReadOnly' },
        { title: 'autocommit, no transaction', name: 'autocommit' },
        otherBuild,
      ],
    },
  },
};
