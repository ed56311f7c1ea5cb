// Tables 2 and 3: one PostgreSQL.
import type { Comparison, Entry } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './workload.ts';

const byHand: readonly Entry<ContenderName>[] = [
  { title: 'hand-written pg, named statements', name: 'handWrittenNamed' },
  { title: 'by hand, BEGIN with the first statement', name: 'protocolByHand' },
  { title: 'by hand, BEGIN with the first statement, named statements', name: 'protocolByHandNamed' },
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
  clients: [1, 16, 64],
  workloads: {
    write: {
      title: 'SELECT by key, UPDATE by key',
      entries: [
        ...byHand,
        { title: 'the same, with the id of the transaction', name: 'withIdByHandNamed' },
        { title: 'the same, each in AsyncLocalStorage.run()', name: 'withIdInContext' },
        { title: 'the same, without AsyncLocalStorage and names', name: 'withIdByHand' },
        { title: 'by hand, named, with the id, COMMIT in the flight of the UPDATE', name: 'commitBehindByHand' },
        ...ours,
        { title: 'begin(), commit()', name: 'byBegin' },
        { title: 'run(), statements named by the user', name: 'byRunNamed' },
        { title: 'run(), COMMIT behind the last statement', name: 'byRunCommitBehind' },
        otherBuild,
      ],
    },
  },
};

export const readOnly: Comparison<ContenderName, Workload> = {
  folder: 'postgres',
  table: 3,
  title: 'one PostgreSQL, read-only',
  baseline: { title: 'hand-written pg', name: 'handWritten' },
  workloads: {
    read: {
      title: 'SELECT by key',
      entries: [
        { title: 'hand-written pg, ROLLBACK in place of COMMIT', name: 'rolledBack' },
        ...byHand,
        { title: "by hand, named, ROLLBACK with the next one's BEGIN", name: 'handedOnByHand' },
        ...ours,
        { title: 'run({ readOnly: true })', name: 'byRunReadOnly' },
        { title: 'run({ readOnly: true }), namesStatements: false', name: 'byRunReadOnlyUnnamed' },
        { title: 'autocommit, no transaction', name: 'autocommit' },
        { title: 'autocommit, named statement', name: 'autocommitNamed' },
        otherBuild,
      ],
    },
  },
};
