// Table 5: what becomes more.
import { onPostgres } from '../postgres/table.ts';
import type { Comparison } from '../throughput/table.ts';
import type { Series } from './series.ts';

export const databases: Series = {
  script: 'databases',
  title: 'µs of a commit',
  sizeOf: 'databases',
  sizes: [1, 2, 4, 8],
  ways: {
    serial: 'two-phase by hand, serial',
    atOnce: 'two-phase by hand, phases at once',
    fullDecided: 'two-phase by hand, with the decision written down',
    lastResource: 'last resource by hand',
    lastResourceDecided: 'last resource by hand, with the decision written down',
    oursFull: 'commit(), the decision log elsewhere',
    oursLastResource: 'commit(), the decision log in the first',
  },
  databases: 8,
  sliceMs: 150,
};

export const statements: Series = {
  script: 'statements',
  title: 'µs of a transaction',
  sizeOf: 'statements',
  sizes: [1, 2, 5, 10, 20, 50, 100],
  ways: { byHand: 'hand-written pg', byHandNamed: 'hand-written pg, named statements', byRun: 'run()' },
  databases: 1,
  sliceMs: 120,
};

export const savepoints: Series = {
  script: 'statements',
  title: 'µs of a transaction with one UPDATE, and one more behind each savepoint',
  sizeOf: 'savepoints',
  sizes: [0, 1, 4, 16],
  ways: { savepointsByHand: 'hand-written pg', savepointsByRun: 'run()' },
  databases: 1,
  sliceMs: 120,
};

export const open: Series = {
  script: 'open',
  title: 'µs of CPU of a transaction without a database',
  sizeOf: 'transactions open at once',
  sizes: [1, 10, 100, 1_000, 10_000],
  ways: {
    waits: 'no transaction: functions that wait',
    runsJoined: 'run(), a data manager that does nothing',
    beginsJoined: 'begin(), commit(), a data manager that does nothing',
    runs: 'run(), all write to one memory store',
    begins: 'begin(), commit(), all write to one memory store',
  },
  databases: 0,
  sliceMs: 60,
};

export const contexts: Series = {
  script: 'open',
  title: 'µs of CPU of a transaction over a memory store',
  sizeOf: 'other contexts',
  sizes: [1, 10, 100, 1_000, 10_000],
  ways: { contexts: 'begin(), commit()' },
  databases: 0,
  sliceMs: 60,
};

export const heap: Series = {
  script: 'heap',
  title: 'bytes of heap of a transaction on PostgreSQL',
  sizeOf: 'transactions open at once',
  sizes: [50, 200],
  ways: { byHand: 'hand-written pg', byRun: 'run()' },
  databases: 1,
  sliceMs: 0,
};

/** More clients than connections. */
export const clients: Comparison = {
  folder: onPostgres.folder,
  table: 5,
  title: 'one PostgreSQL, 16 connections',
  baseline: onPostgres.baseline,
  clients: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  rounds: 7,
  workloads: {
    write: { title: 'SELECT by key, UPDATE by key', entries: [{ title: 'run()', name: 'byRun' }] },
  },
};
