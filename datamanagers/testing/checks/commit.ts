/** What is stored, and when: nothing before all have voted, everything afterwards. */
import { RULES } from '../rules.ts';
import { type Place, type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';

export const commitChecks: readonly Check[] = [
  {
    name: 'commit: nothing is stored before it, and all afterwards',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one', 'two');
        await trial.expectStored(RULES.finish, 'before the commit');
        await trial.commit(txn);
        await trial.expectStored(RULES.finish, 'after the commit', 'one', 'two');
        await trial.expectNothingHeld('after a commit');
      }),
  },
  {
    name: 'commit: nothing is stored while others vote, and all when the last one finishes',
    async run(trial) {
      await amongOthers(trial, 'one', undefined, []);
      await amongOthers(trial, 'two', true, ['one']);
    },
  },
  {
    name: 'commit: one transaction after another',
    async run(trial) {
      for (const value of ['one', 'two', 'three']) {
        await trial.transaction(async (txn) => {
          await trial.write(value);
          await trial.commit(txn);
        });
      }
      await trial.expectStored(RULES.onePerTransaction, 'after three transactions', 'one', 'two', 'three');
    },
  },
  {
    name: 'commit: work that was begun at the same time is stored with the rest',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await Promise.all(['one', 'two', 'three'].map((value) => trial.write(value)));
        await trial.commit(txn);
        await trial.expectStored(RULES.handOver, 'after the commit', 'one', 'two', 'three');
      }),
  },
  {
    name: 'commit: work that is under way when the commit begins is stored where both succeed, and else not',
    run: (trial) =>
      trial.transaction(async (txn) => {
        const values = ['one', 'two', 'three'];
        const work = Promise.allSettled(values.map((value) => trial.write(value)));
        const error = await trial.tryCommit(txn);
        const done = (await work).map(({ status }) => status === 'fulfilled');
        const stored = error === undefined ? values.filter((_, index) => done[index]) : [];
        await trial.expectStored(
          RULES.handOver,
          `after ${textOf(done)} and a commit that ${error === undefined ? 'succeeded' : 'failed'}`,
          ...stored,
        );
      }),
  },
  {
    name: 'commit: a transaction sees what it has written',
    appliesTo: ({ readsOwnWrites }) => readsOwnWrites,
    skip: ({ read }) => (read === undefined ? 'the subject has no read()' : undefined),
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        await expectSeen(trial, 'in the transaction that has written it', 'one');
        await trial.write('two');
        await expectSeen(trial, 'in the transaction that has written them', 'one', 'two');
        await trial.commit(txn);
      }),
  },
];

function textOf(done: readonly boolean[]): string {
  return `${done.filter(Boolean).length} of ${done.length} pieces of work that succeeded`;
}

/** Commits a value beside two others, which look at what is stored while they are called. */
async function amongOthers(trial: Trial, value: string, changed: true | undefined, before: string[]): Promise<void> {
  const kind = changed === true ? 'that prepare' : 'that can not prepare';
  await trial.transaction(async (txn) => {
    const join = (place: Place): void => {
      const sees = (phase: string, ...stored: string[]): (() => Promise<void>) =>
        trial.look(`in ${phase} of one ${place}, of two ${kind}`, () =>
          trial.expectStored(RULES.finish, `in ${phase} of another one ${place}`, ...stored),
        );
      const looks = {
        tpcBegin: sees('tpcBegin', ...before),
        commit: sees('commit', ...before),
        tpcVote: sees('tpcVote', ...before),
      };
      const finish = place === 'behind' ? { tpcFinish: sees('tpcFinish', ...before, value) } : {};
      trial.other(txn, place, { does: { ...looks, ...finish }, changed });
    };
    join('in front');
    await trial.write(value);
    join('behind');
    await trial.commit(txn);
  });
}

/** Checks what the transaction itself sees, where that can be told. */
export async function expectSeen(trial: Trial, when: string, ...values: readonly string[]): Promise<void> {
  const seen = await trial.read();
  demand(
    seen === undefined || seen.join() === values.toSorted().join(),
    RULES.declared,
    `${when} ${values.join(', ')} must be seen; it was ${seen?.join(', ') || 'nothing'}`,
  );
}
