/** Being undone: at any time, more than once, with nothing to do. */
import type { Transaction } from '../../../coordinator/transaction.ts';
import type { DataManager } from '../../../coordinator/types.ts';
import { ConformanceError, RULES } from '../rules.ts';
import type { Trial } from '../trial.ts';
import type { Check } from './check.ts';

type Undo = 'abort' | 'tpcAbort';

/** Each first and last, once and twice. */
const SEQUENCES: readonly (readonly Undo[])[] = [
  ['abort', 'abort', 'tpcAbort', 'tpcAbort'],
  ['tpcAbort', 'tpcAbort', 'abort', 'abort'],
];

/** Until when the data manager was called before it is undone. */
const STAGES = ['tpcBegin', 'commit', 'tpcVote'] as const;

export const abortChecks: readonly Check[] = [
  {
    name: 'abort: nothing is stored, and nothing is held',
    async run(trial) {
      await trial.transaction(async (txn) => {
        await trial.write('one', 'two');
        await trial.abort(txn);
        await trial.expectStored(RULES.abort, 'after an abort');
        await trial.expectNothingHeld('after an abort');
      });
      await commitOne(trial, 'three', 'after an aborted transaction, in the next one,');
    },
  },
  {
    name: 'abort: work that is under way when it is aborted leaves nothing',
    async run(trial) {
      await trial.transaction(async (txn) => {
        await trial.write('one');
        const work = Promise.allSettled(['two', 'three', 'four'].map((value) => trial.write(value)));
        await trial.abort(txn);
        await work;
        await trial.expectStored(RULES.abort, 'after an abort while work was under way');
        await trial.expectNothingHeld('after an abort while work was under way');
      });
      await commitOne(trial, 'five', 'after an aborted transaction, in the next one,');
    },
  },
  {
    name: 'abort: a doomed transaction stores nothing',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        txn.doom();
        await trial.write('two');
        await trial.failingCommit(txn, RULES.abort, 'in a doomed transaction');
        await trial.abort(txn);
        await trial.expectStored(RULES.abort, 'after the abort of a doomed transaction');
      }),
  },
  {
    name: 'abort: abort and tpcAbort may come before tpcBegin, twice and one after the other',
    async run(trial) {
      for (const [index, sequence] of SEQUENCES.entries()) {
        await trial.transaction(async (txn) => {
          await trial.write(`value${index}`);
          await undo(trial, txn, trial.joined(txn), sequence, 'before tpcBegin');
          await trial.abort(txn);
          await trial.expectStored(RULES.abort, `after ${sequence.join(', ')} before tpcBegin`);
        });
      }
    },
  },
  ...STAGES.map((stage): Check => ({
    name: `abort: abort and tpcAbort may come after ${stage}, twice and one after the other`,
    async run(trial) {
      for (const [index, sequence] of SEQUENCES.entries()) await undoneAfter(trial, stage, sequence, `value${index}`);
    },
  })),
  {
    name: 'abort: abort and tpcAbort after tpcFinish, and after an abort, change nothing',
    async run(trial) {
      await trial.transaction(async (txn) => {
        await trial.write('one');
        const joined = trial.joined(txn);
        await trial.commit(txn);
        for (const sequence of SEQUENCES) await undo(trial, txn, joined, sequence, 'after tpcFinish');
        await trial.expectStored(RULES.idempotent, 'after a commit, and calls of abort and tpcAbort,', 'one');
      });
      await trial.transaction(async (txn) => {
        await trial.write('two');
        const joined = trial.joined(txn);
        await trial.abort(txn);
        for (const sequence of SEQUENCES) await undo(trial, txn, joined, sequence, 'after an abort');
        await trial.expectStored(RULES.idempotent, 'after an abort, and more calls of abort and tpcAbort,', 'one');
      });
    },
  },
  {
    name: 'abort: a late abort of one transaction leaves the next one alone',
    async run(trial) {
      let late: (() => Promise<void>) | undefined;
      await trial.transaction(async (txn) => {
        await trial.write('one');
        const joined = trial.joined(txn);
        await trial.abort(txn);
        late = () => undo(trial, txn, joined, SEQUENCES[0]!, 'while another transaction is at work');
      });
      await trial.transaction(async (txn) => {
        await trial.write('two');
        await late!();
        await trial.commit(txn);
      });
      await trial.expectStored(RULES.onePerTransaction, 'after the commit of another transaction', 'two');
    },
  },
  {
    name: 'abort: what joined after a savepoint is aborted by its rollback, and may join again',
    async run(trial) {
      await trial.transaction(async (txn) => {
        const savepoint = await txn.savepoint();
        await trial.write('one');
        await trial.must(RULES.rejoin, 'rollback()', () => savepoint.rollback());
        await trial.expectNothingHeld('after the rollback to a savepoint that is older than the join', RULES.abort);
        await trial.write('two');
        await trial.must(RULES.rejoin, 'a second rollback()', () => savepoint.rollback());
        await trial.write('three');
        await trial.commit(txn);
      });
      await trial.expectStored(RULES.rejoin, 'after work, its rollback, and work again', 'three');
    },
  },
  {
    name: 'abort: cancelled by a deadline, it can be aborted and stores nothing',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        const joined = trial.joined(txn);
        for (const manager of joined) {
          try {
            manager.cancel?.(new Error('the deadline has passed'));
          } catch (error) {
            throw new ConformanceError(RULES.cancel, 'cancel() threw', error);
          }
        }
        await trial.abort(txn);
        await trial.expectStored(RULES.abort, 'after the abort of a transaction that was cancelled');
      }),
  },
];

/** Calls the data managers as the coordinator never would; none may throw. */
async function undo(
  trial: Trial,
  txn: Transaction,
  managers: readonly DataManager[],
  sequence: readonly Undo[],
  when: string,
): Promise<void> {
  for (const [index, method] of sequence.entries()) {
    for (const manager of managers) {
      try {
        await trial.within(`${method}() ${when}`, () => manager[method](txn));
      } catch (error) {
        if (error instanceof ConformanceError) throw error;
        throw new ConformanceError(
          RULES.idempotent,
          `call ${index + 1} of ${sequence.join(', ')} ${when} threw`,
          error,
        );
      }
    }
  }
}

/** Undoes it from within a commit, after it was called in `stage`, which another one behind it then fails. */
async function undoneAfter(
  trial: Trial,
  stage: (typeof STAGES)[number],
  sequence: readonly Undo[],
  value: string,
): Promise<void> {
  await trial.transaction(async (txn) => {
    await trial.write(value);
    const joined = trial.joined(txn);
    const calls = trial.look(`after ${stage}`, () => undo(trial, txn, joined, sequence, `after ${stage}`));
    const no = new Error(`another one says no in ${stage}`);
    trial.other(txn, 'behind', {
      changed: true,
      does: {
        [stage]: async () => {
          await calls();
          throw no;
        },
      },
    });
    await trial.failingCommit(txn, RULES.tpcAbort, 'where another one says no');
    trial.demandClean(no, RULES.idempotent);
    await trial.expectStored(RULES.tpcAbort, `after ${sequence.join(', ')} after ${stage}`);
    await trial.expectNothingHeld(`after ${sequence.join(', ')} after ${stage}`);
    await undo(trial, txn, joined, sequence, 'after a failed commit');
    await trial.expectStored(RULES.onceMore, 'after a failed commit');
  });
}

/** Commits a value and expects it to be stored alone. */
export async function commitOne(trial: Trial, value: string, when: string): Promise<void> {
  await trial.transaction(async (txn) => {
    await trial.write(value);
    await trial.commit(txn);
  });
  await trial.expectStored(RULES.finish, `${when} a commit`, value);
}
