/** Its own failures, phase by phase: nothing of the transaction is stored, and nothing is held. */
import type { InDoubtError } from '../../../coordinator/errors.ts';
import type { Transaction } from '../../../coordinator/transaction.ts';
import { RULES } from '../rules.ts';
import type { Failure, FailingPhase } from '../subject.ts';
import { PLACES, type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';
import { errorOf } from './joining.ts';
import { endPrepared } from './recovery.ts';

const BEFORE_THE_DECISION = ['tpcBegin', 'commit', 'tpcVote'] as const;

export const failureChecks: readonly Check[] = [
  check('work', 'work that fails leaves nothing, or all the rest, and holds nothing', async (trial) => {
    await trial.transaction(async (txn) => {
      await trial.write('one');
      await failingWork(trial, txn);
      await trial.abort(txn);
      await trial.expectStored(RULES.abort, 'after work that failed, and an abort,');
      await trial.expectNothingHeld('after work that failed, and an abort,');
    });
    await trial.transaction(async (txn) => {
      await trial.write('two');
      await failingWork(trial, txn);
      // Nobody heard of the error: then the commit must say so, or store what did succeed.
      const error = await trial.tryCommit(txn);
      const rest = error === undefined ? ['two'] : [];
      await trial.expectStored(
        RULES.handOver,
        `after work that failed unheard, and a commit that ${error === undefined ? 'succeeded' : 'failed'},`,
        ...rest,
      );
    });
  }),
  ...BEFORE_THE_DECISION.map((phase) =>
    check(phase, `failing in ${phase} it says no: nothing is stored and nothing is held`, async (trial) => {
      await failsBeforeTheDecision(trial, phase, 'one', false);
      await failsBeforeTheDecision(trial, phase, 'two', true);
    }),
  ),
  check('tpcFinish', 'failing to finish it leaves the others to finish, and the transaction in doubt', failsToFinish),
  check('tpcAbort', 'failing to be undone by tpcAbort it stores nothing', async (trial) => {
    await trial.transaction(async (txn) => {
      await trial.write('one');
      const no = new Error('another one says no');
      const sayNo = (): never => {
        throw no;
      };
      trial.other(txn, 'behind', { changed: true, does: { tpcVote: sayNo } });
      const heal = await provoke(trial, 'tpcAbort', txn);
      const error = await trial.failingCommit(txn, RULES.tpcAbort, 'where another one says no');
      demand(error === no, RULES.tpcAbort, `the error of the one that says no must be thrown; it was ${error.message}`);
      await trial.tryAbort(txn);
      await heal();
    });
    await endPrepared(trial, 'rollbackPrepared');
    await trial.expectStored(RULES.tpcAbort, 'after a tpcAbort that failed');
    await trial.expectNothingHeld('after a tpcAbort that failed');
  }),
  check('abort', 'failing to be undone by abort it stores nothing and holds nothing', async (trial) => {
    await trial.transaction(async (txn) => {
      await trial.write('one');
      const heal = await provoke(trial, 'abort', txn);
      await trial.tryAbort(txn);
      await heal();
    });
    await trial.expectStored(RULES.abort, 'after an abort that failed');
    await trial.expectNothingHeld('after an abort that failed');
  }),
  check(
    'savepoint',
    'failing to make a savepoint it fails the transaction, which stores nothing and holds nothing',
    (trial) => failsAtSavepoint(trial, 'savepoint'),
  ),
  check('rollback', 'failing to roll back it fails the transaction, which stores nothing and holds nothing', (trial) =>
    failsAtSavepoint(trial, 'rollback'),
  ),
];

function check(phase: FailingPhase, name: string, run: (trial: Trial) => Promise<void>): Check {
  const ofSavepoints = phase === 'savepoint' || phase === 'rollback';
  return {
    name: `failures: ${name}`,
    appliesTo: ({ savepoints, lastResource }) =>
      ofSavepoints ? savepoints : phase === 'tpcFinish' ? !lastResource : true,
    skip({ failures }) {
      const failure = failures?.[phase];
      if (typeof failure === 'function') return undefined;
      return failure ?? `the subject does not say how ${phase} can be made to fail`;
    },
    run,
  };
}

/** Has the subject make a phase fail; returns what ends that. */
async function provoke(trial: Trial, phase: FailingPhase, txn: Transaction): Promise<() => Promise<void>> {
  const failure = trial.subject.failures![phase] as Exclude<Failure<unknown>, string>;
  const heal = await trial.within(`the failure of ${phase}`, () => failure(trial.resource, txn));
  return async () => {
    if (typeof heal === 'function') await trial.within(`what ends the failure of ${phase}`, heal);
  };
}

async function failingWork(trial: Trial, txn: Transaction): Promise<void> {
  const error = await errorOf(() => provoke(trial, 'work', txn));
  demand(error !== undefined, RULES.declared, 'failures.work must do work that fails; it succeeded');
}

/** Throws where the phase didn't fail: then nothing was checked. */
function demandFailed(calls: ReturnType<Trial['watch']>, phase: FailingPhase): void {
  demand(
    calls.some((call) => call.phase === phase && call.error !== undefined),
    RULES.declared,
    `failures.${phase} must make ${phase} fail; it was called ${calls.filter((call) => call.phase === phase).length} times and did not`,
  );
}

async function failsBeforeTheDecision(
  trial: Trial,
  phase: (typeof BEFORE_THE_DECISION)[number],
  value: string,
  amongOthers: boolean,
): Promise<void> {
  await trial.transaction(async (txn) => {
    const log: string[] = [];
    if (amongOthers)
      for (const place of ['in front', 'behind'] as const) trial.other(txn, place, { changed: true, log });
    await trial.write(value);
    const heal = await provoke(trial, phase, txn);
    const calls = trial.watch(txn);
    await trial.failingCommit(txn, RULES.vote, `where ${phase} fails`);
    demandFailed(calls, phase);
    demand(
      txn.status === 'commit failed',
      RULES.vote,
      `after a no a transaction has failed; this one is ${txn.status}`,
    );
    demand(
      !log.some((call) => call.endsWith('.tpcFinish')),
      RULES.vote,
      `another one was told to finish where ${phase} failed`,
    );
    await trial.tryAbort(txn);
    await heal();
  });
  await trial.expectStored(RULES.vote, `after ${phase} has failed`);
  await trial.expectNothingHeld(`after ${phase} has failed`);
}

async function failsToFinish(trial: Trial): Promise<void> {
  await trial.transaction(async (txn) => {
    const log: string[] = [];
    for (const place of ['in front', 'behind'] as const) trial.other(txn, place, { changed: true, log });
    await trial.write('one');
    const heal = await provoke(trial, 'tpcFinish', txn);
    const calls = trial.watch(txn);
    const error = await trial.failingCommit(txn, RULES.mustFinish, 'where tpcFinish fails');
    demandFailed(calls, 'tpcFinish');
    const { finished } = error as InDoubtError;
    demand(
      Array.isArray(finished) && Object.values(PLACES).every((other) => finished.includes(other)),
      RULES.decided,
      `the others must have finished; the error is ${error.name}: ${error.message}`,
    );
    demand(
      !calls.some(({ phase }) => phase === 'abort' || phase === 'tpcAbort'),
      RULES.decided,
      'it was undone after it had voted yes',
    );
    await heal();
  });
  if (trial.subject.capabilities.recoverable) {
    await endPrepared(trial, 'commitPrepared');
    await trial.expectStored(RULES.mustFinish, 'after a tpcFinish that failed, and commitPrepared,', 'one');
  }
  await trial.expectNothingHeld('after tpcFinish has failed');
}

async function failsAtSavepoint(trial: Trial, phase: 'savepoint' | 'rollback'): Promise<void> {
  await trial.transaction(async (txn) => {
    await trial.write('one');
    // What the savepoint will be rolled back by is known once it is made; a failure to make it, once that is provoked.
    let calls = trial.watch(txn);
    const savepoint = phase === 'rollback' ? await txn.savepoint() : undefined;
    if (savepoint !== undefined) await trial.write('two');
    const heal = await provoke(trial, phase, txn);
    if (phase === 'savepoint') calls = trial.watch(txn);
    const error = await errorOf(() =>
      trial.within(`${phase}()`, () => (savepoint === undefined ? txn.savepoint() : savepoint.rollback())),
    );
    demandFailed(calls, phase);
    demand(error !== undefined, RULES.savepoint, `the error of ${phase} must be thrown`);
    await trial.failingCommit(txn, RULES.savepoint, `where ${phase} has failed`);
    await trial.tryAbort(txn);
    await heal();
  });
  await trial.expectStored(RULES.abort, `after ${phase} has failed`);
  await trial.expectNothingHeld(`after ${phase} has failed`);
}
