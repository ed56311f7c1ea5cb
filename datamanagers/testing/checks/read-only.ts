/** The read-only vote: where nothing was changed, and only there. */
import { RULES } from '../rules.ts';
import { type AnySubject, demand } from '../trial.ts';
import type { Check } from './check.ts';

const skip = ({ read }: AnySubject): string | undefined =>
  read === undefined ? 'the subject has no read(): it is never used without being changed' : undefined;

export const readOnlyChecks: readonly Check[] = [
  {
    name: 'read-only: what has changed something never votes read-only',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        const calls = trial.watch(txn);
        await trial.commit(txn);
        const votes = calls.filter(({ phase }) => phase === 'tpcVote');
        demand(votes.length > 0, RULES.vote, 'nobody was asked to vote');
        for (const { answer } of votes) {
          demand(
            answer === undefined || answer === 'commit',
            RULES.released,
            `something was written, and the vote was ${String(answer)}`,
          );
        }
      }),
  },
  {
    name: 'read-only: what has changed nothing votes read-only, has given everything back by then, and is not called again',
    appliesTo: ({ readOnlyVote }) => readOnlyVote,
    skip,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.read();
        const calls = trial.watch(txn);
        const released = trial.look('after a read-only vote', () =>
          trial.expectNothingHeld('after a read-only vote, while others finish,', RULES.released),
        );
        const joined = trial.joined(txn);
        const unchanged = trial.look('after its commit()', async () => {
          const says = joined.some(({ changed }) => changed === true);
          demand(!says, RULES.changed, 'nothing was changed, and the data manager says that something has');
        });
        trial.other(txn, 'behind', { changed: true, does: { commit: unchanged, tpcFinish: released } });
        await trial.commit(txn);
        const index = calls.findIndex(({ phase }) => phase === 'tpcVote');
        demand(index >= 0, RULES.released, 'what was only read has not joined, or was not asked to vote');
        const { answer } = calls[index]!;
        demand(answer === 'read-only', RULES.released, `nothing was changed, and the vote was ${String(answer)}`);
      }),
  },
  {
    name: 'read-only: what has changed nothing and voted so is left alone when another one says no',
    appliesTo: ({ readOnlyVote }) => readOnlyVote,
    skip,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.read();
        const sayNo = (): never => {
          throw new Error('another one says no');
        };
        trial.other(txn, 'behind', { changed: true, does: { tpcVote: sayNo } });
        await trial.failingCommit(txn, RULES.released, 'where another one says no');
        await trial.expectNothingHeld('after a read-only vote and the no of another one', RULES.released);
      }),
  },
  {
    name: 'read-only: a transaction that has only read can be committed and aborted, and holds nothing afterwards',
    skip,
    async run(trial) {
      for (const end of ['commit', 'abort'] as const) {
        await trial.transaction(async (txn) => {
          await trial.read();
          await trial[end](txn);
          await trial.expectStored(RULES.released, 'after a transaction that has only read');
          await trial.expectNothingHeld('after a transaction that has only read');
        });
      }
    },
  },
];
