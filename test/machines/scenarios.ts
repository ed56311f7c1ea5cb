// The partitions that are tried: at each point of a commit, from each database or all of them, one way or both.
import type { BankName } from '../soak/setting.ts';
import type { Point } from './messages.ts';
import type { Partition } from './partitions.ts';

const POINTS: readonly Point[] = ['before prepare', 'all prepared', 'decided'];
const SETS: readonly (readonly BankName[])[] = [['a'], ['b'], ['c'], ['a', 'b'], ['a', 'b', 'c']];

function partition(
  at: Point,
  from: readonly BankName[],
  loses: Partition['loses'],
  until: Partition['until'],
  more: Pick<Partition, 'paused' | 'othersFrom'> = {},
): Partition {
  const how = more.paused === true ? ' paused' : more.othersFrom !== undefined ? ' halved' : '';
  // Short enough for a ledger, with the banks of a transfer behind it.
  return { name: `${at} ${from.join('')} ${loses}${how}`, at, from, loses, until, ...more };
}

const all: readonly BankName[] = ['a', 'b', 'c'];

/** Those that `npm test` has. */
export const FEW: readonly Partition[] = [
  partition('before prepare', ['b'], 'replies', 'told'),
  partition('all prepared', ['a'], 'replies', 'told'),
  partition('decided', ['b', 'c'], 'all', 'told'),
  partition('all prepared', all, 'all', 'taken over'),
];

/** All of them, in batches that run at once. */
export const ALL: readonly (readonly Partition[])[] = [
  ...POINTS.flatMap((at) =>
    (['all', 'requests', 'replies'] as const).map((loses) => SETS.map((from) => partition(at, from, loses, 'told'))),
  ),
  POINTS.map((at) => partition(at, all, 'flapping', 'told')),
  // Before PREPARE nothing of it is left to be ended by others: the server has not noticed yet.
  [
    partition('all prepared', all, 'all', 'taken over'),
    partition('all prepared', all, 'all', 'taken over', { paused: true }),
    partition('decided', all, 'all', 'taken over'),
    partition('decided', all, 'all', 'taken over', { paused: true }),
    partition('before prepare', all, 'all', 'taken over', { paused: true }),
  ],
  [partition('all prepared', all, 'all', 'taken over', { othersFrom: ['c'] })],
  [partition('decided', all, 'all', 'taken over', { othersFrom: ['b'] })],
];
