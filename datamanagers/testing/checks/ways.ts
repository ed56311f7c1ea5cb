/** The way that a commit takes: one phase where it is alone, two where others have changes, last where it can't prepare. */
import type { CommitWay } from '../../../coordinator/types.ts';
import { type ContractRule, RULES } from '../rules.ts';
import { type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';

export const wayChecks: readonly Check[] = [
  {
    name: 'one phase: where nothing else has changes its vote is its commit, after all other votes',
    appliesTo: ({ onePhase }) => onePhase,
    async run(trial) {
      await commitsBy(trial, 'one-phase', RULES.onePhase, 'one', undefined);
      await commitsBy(trial, 'one-phase', RULES.onePhase, 'two', false);
    },
  },
  {
    name: 'one phase: where something else has changes it prepares, and its vote stores nothing',
    appliesTo: ({ onePhase }) => onePhase,
    run: (trial) => prepares(trial, RULES.onePhase),
  },
  {
    name: 'two phases: its vote stores nothing, with or without others',
    appliesTo: ({ onePhase, lastResource }) => !onePhase && !lastResource,
    async run(trial) {
      await prepares(trial, RULES.finish);
      await trial.transaction(async (txn) => {
        await trial.write('alone');
        await trial.commit(txn);
        const way = txn.outcome?.way;
        demand(
          way === 'two-phase',
          RULES.finish,
          `what has changes and can not commit by its vote commits in two phases; the way was ${way}`,
        );
      });
    },
  },
  {
    name: 'last resource: it votes after all others, and its vote is its commit',
    appliesTo: ({ lastResource }) => lastResource,
    async run(trial) {
      await commitsBy(trial, 'one-phase', RULES.lastResource, 'one', undefined);
      await commitsBy(trial, 'last-resource', RULES.lastResource, 'two', true);
    },
  },
  {
    name: 'last resource: a second one is refused, and nothing is stored',
    appliesTo: ({ lastResource }) => lastResource,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        trial.other(txn, 'behind', { lastResource: true, changed: true });
        const error = await trial.failingCommit(txn, RULES.oneLastResource, 'with two last resources');
        const { code } = error as { code?: unknown };
        demand(
          code === 'ERR_TXN_TOO_MANY_LAST_RESOURCES',
          RULES.oneLastResource,
          `two last resources with changes must be refused; the commit failed with ${error.name}: ${error.message}`,
        );
        await trial.expectStored(RULES.oneLastResource, 'after a commit with two last resources');
        await trial.expectNothingHeld('after a commit with two last resources');
      }),
  },
  {
    name: 'last resource: one that has changed nothing stands in nobody’s way',
    appliesTo: ({ lastResource, readOnlyVote }) => lastResource && readOnlyVote,
    skip: ({ read }) => (read === undefined ? 'the subject has no read()' : undefined),
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.read();
        trial.other(txn, 'behind', { lastResource: true, changed: true });
        await trial.commit(txn);
      }),
  },
];

/** Commits a value by the vote: another one behind, whose `changed` is given, votes before it and finishes after it. */
async function commitsBy(
  trial: Trial,
  way: CommitWay,
  rule: ContractRule,
  value: string,
  changed: boolean | undefined,
): Promise<void> {
  const before = await trial.stored();
  await trial.transaction(async (txn) => {
    await trial.write(value);
    const sees = (phase: string, stored: readonly string[]): (() => Promise<void>) =>
      trial.look(`in ${phase} of another one`, () => trial.expectStored(rule, `in ${phase} of another one`, ...stored));
    const unchanged = changed === false ? ({ vote: 'read-only' } as const) : {};
    trial.other(txn, 'behind', {
      changed,
      ...unchanged,
      does: {
        tpcVote: sees('tpcVote', before),
        ...(changed === false ? {} : { tpcFinish: sees('tpcFinish', [...before, value]) }),
      },
    });
    await trial.commit(txn);
    demand(txn.outcome?.way === way, rule, `the commit must go the way '${way}'; it went '${txn.outcome?.way}'`);
  });
  await trial.expectStored(rule, 'after the commit', ...before, value);
}

/** Commits a value in two phases: another one behind, which has changes, votes after it. */
async function prepares(trial: Trial, rule: ContractRule): Promise<void> {
  await trial.transaction(async (txn) => {
    await trial.write('prepared');
    const tpcVote = trial.look('after its vote', () => trial.expectStored(rule, 'after its vote'));
    trial.other(txn, 'behind', { changed: true, does: { tpcVote } });
    await trial.commit(txn);
    const way = txn.outcome?.way;
    demand(way === 'two-phase', rule, `the commit must go the way 'two-phase'; it went '${way}'`);
    await trial.expectStored(rule, 'after the commit', 'prepared');
  });
}
