// Moments of a commit at which a test has something done.
import type { Transaction } from 'unanimous';
import { RecordingDataManager } from 'unanimous/testing';

/** Places among the data managers for {@link at}. Redis votes behind all of them, whatever its sort key. */
export const places = { first: '!', beforeDatabases: '~sq', behindDatabases: '~~a', last: '~~~' } as const;
export type Place = keyof typeof places;

/** Has something done at a moment of the commit: in that phase, when it comes to that place among the data managers. */
export function at(
  txn: Transaction,
  phase: 'commit' | 'tpcVote' | 'tpcFinish',
  where: Place,
  act: () => unknown,
): void {
  txn.join(new RecordingDataManager({ name: `at ${phase}`, sortKey: places[where], does: { [phase]: act } }));
}
