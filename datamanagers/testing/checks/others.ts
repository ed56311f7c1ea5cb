/** Beside others: their no leaves nothing, their failing to finish changes nothing. */
import type { InDoubtError } from '../../../coordinator/errors.ts';
import { CommitOutcomeUnknownError } from '../../../coordinator/errors.ts';
import type { RecoverableResource } from '../../../coordinator/types.ts';
import type { RecordingOptions } from '../recording.ts';
import { RULES } from '../rules.ts';
import { PLACES, type Place, type Trial, demand } from '../trial.ts';
import { commitOne } from './abort.ts';
import type { Check } from './check.ts';

const places = Object.keys(PLACES) as Place[];
const phases = ['tpcBegin', 'commit', 'tpcVote'] as const;

export const othersChecks: readonly Check[] = [
  ...phases.flatMap((phase) =>
    places.map((place): Check => ({
      name: `others: the no of another one ${place} in ${phase} leaves nothing stored and nothing held`,
      async run(trial) {
        for (const [index, kind] of kindsAt(place).entries()) await saysNo(trial, phase, place, kind, `value${index}`);
        await commitOne(trial, 'three', 'after a failed commit, in the next transaction,');
      },
    })),
  ),
  {
    name: 'others: the no of another one, which then fails to be undone, leaves nothing stored and nothing held',
    async run(trial) {
      for (const place of places) {
        await trial.transaction(async (txn) => {
          const fail = (): never => {
            throw new Error(`another one fails ${place}`);
          };
          trial.other(txn, place, { changed: true, does: { tpcVote: fail, abort: fail, tpcAbort: fail } });
          await trial.write(`value${PLACES[place].length}`);
          await trial.failingCommit(txn, RULES.tpcAbort, 'where another one says no');
          await trial.expectStored(RULES.tpcAbort, 'after the no of another one, which failed to be undone,');
          await trial.expectNothingHeld('after the no of another one, which failed to be undone,');
          // It fails once more, when the transaction is aborted.
          await trial.tryAbort(txn);
        });
      }
    },
  },
  ...places.map((place): Check => ({
    name: `others: where another one ${place} fails to finish, this one finishes all the same`,
    async run(trial) {
      const kinds = kindsAt(place);
      for (const [index, kind] of kinds.entries()) await failsToFinish(trial, place, kind, `value${index}`);
      const values = kinds.map((_, index) => `value${index}`);
      await trial.expectStored(RULES.decided, 'after commits in which another one did not finish', ...values);
    },
  })),
  {
    name: 'others: where it is not known whether the last resource has committed, nothing is stored, and what is not held is undone',
    appliesTo: ({ recoverable, lastResource }) => !recoverable && !lastResource,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        const holds = trial.joined(txn).some((manager) => typeof manager.hold === 'function');
        trial.other(txn, 'behind', { lastResource: true, changed: true, does: { tpcVote: outcomeUnknown } });
        await trial.failingCommit(txn, RULES.hold, 'where the outcome is not known');
        await trial.expectStored(RULES.hold, 'after a commit whose outcome is not known');
        if (holds) trial.mayHold();
        else await trial.expectNothingHeld('after a commit whose outcome is not known');
      }),
  },
];

/** What another one can be: without a branch, with one, and with one that outlives it, which votes and finishes at once with its like. */
function kindsAt(place: Place): readonly RecordingOptions[] {
  const recoverable: RecoverableResource = {
    name: PLACES[place],
    listPrepared: () => Promise.resolve([]),
    commitPrepared: () => Promise.resolve(),
    rollbackPrepared: () => Promise.resolve(),
  };
  return [{}, { changed: true }, { changed: true, recoverable }];
}

/** What a last resource throws whose reply was lost. */
export function outcomeUnknown(): never {
  throw new CommitOutcomeUnknownError('the reply to the COMMIT of another one was lost');
}

async function saysNo(
  trial: Trial,
  phase: (typeof phases)[number],
  place: Place,
  kind: RecordingOptions,
  value: string,
): Promise<void> {
  await trial.transaction(async (txn) => {
    const no = new Error(`another one ${place} says no in ${phase}`);
    const sayNo = (): never => {
      throw no;
    };
    trial.other(txn, place, { ...kind, does: { [phase]: sayNo } });
    await trial.write(value);
    const error = await trial.failingCommit(txn, RULES.tpcAbort, `where another one ${place} says no in ${phase}`);
    demand(error === no, RULES.vote, `the error of the one that says no must be thrown; it was ${error.message}`);
    trial.demandClean(no, RULES.idempotent);
    await trial.expectStored(RULES.tpcAbort, `after the no of another one ${place} in ${phase}`);
    await trial.expectNothingHeld(`after the no of another one ${place} in ${phase}`);
  });
}

async function failsToFinish(trial: Trial, place: Place, kind: RecordingOptions, value: string): Promise<void> {
  await trial.transaction(async (txn) => {
    const fail = (): never => {
      throw new Error(`another one ${place} fails to finish`);
    };
    trial.other(txn, place, { ...kind, does: { tpcFinish: fail } });
    await trial.write(value);
    const error = await trial.failingCommit(txn, RULES.decided, 'where another one fails to finish');
    const { unfinished } = error as InDoubtError;
    demand(
      Array.isArray(unfinished) && unfinished.length === 1 && unfinished[0] === PLACES[place],
      RULES.decided,
      `only another one ${place} failed to finish; the commit failed with ${error.name}: ${error.message}`,
    );
    await trial.expectNothingHeld('after a commit in which another one failed to finish');
  });
}
