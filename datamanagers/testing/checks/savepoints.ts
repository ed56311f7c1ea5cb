/** Savepoints: their rollback undoes what came after them, and nothing else. */
import type { Savepoint } from '../../../coordinator/savepoint.ts';
import { RULES } from '../rules.ts';
import type { Capabilities } from '../subject.ts';
import { type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';
import { expectSeen } from './commit.ts';

const appliesTo = ({ savepoints }: Capabilities): boolean => savepoints;
const MANY = 20;

/** A check that commits what `work` leaves and expects exactly `values` to be stored. */
function leaves(name: string, values: readonly string[], work: (trial: Trial, make: Make) => Promise<void>): Check {
  return {
    name: `savepoints: ${name}`,
    appliesTo,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await work(trial, async () => {
          const savepoint = await trial.must(RULES.savepoint, 'savepoint()', () => txn.savepoint());
          return () => rollBack(trial, savepoint);
        });
        await trial.expectStored(RULES.finish, 'before the commit');
        await trial.commit(txn);
        await trial.expectStored(RULES.savepoint, 'after the commit', ...values);
        await trial.expectNothingHeld('after a commit with savepoints');
      }),
  };
}

/** Makes a savepoint and returns its rollback. */
type Make = () => Promise<() => Promise<void>>;

export const savepointChecks: readonly Check[] = [
  leaves('the rollback undoes what came after it, and nothing else', ['one', 'four'], async (trial, make) => {
    await trial.write('one');
    const rollback = await make();
    await trial.write('two', 'three');
    await rollback();
    await trial.write('four');
  }),
  leaves('the rollback may be repeated, with and without work in between', ['one', 'five'], async (trial, make) => {
    await trial.write('one');
    const rollback = await make();
    await rollback();
    await trial.write('two');
    await rollback();
    await rollback();
    await trial.write('three', 'four');
    await rollback();
    await trial.write('five');
  }),
  leaves('one that is not rolled back changes nothing', ['one', 'two', 'three'], async (trial, make) => {
    await trial.write('one');
    await make();
    await trial.write('two');
    await make();
    await trial.write('three');
  }),
  leaves('an inner one is rolled back without the outer one', ['one', 'two', 'four'], async (trial, make) => {
    await trial.write('one');
    await make();
    await trial.write('two');
    const inner = await make();
    await trial.write('three');
    await inner();
    await trial.write('four');
  }),
  leaves('an outer one takes the inner ones along, rolled back or not', ['one', 'six'], async (trial, make) => {
    await trial.write('one');
    const outer = await make();
    await trial.write('two');
    const inner = await make();
    await trial.write('three');
    await inner();
    await trial.write('four');
    await make();
    await trial.write('five');
    await outer();
    await trial.write('six');
  }),
  leaves('several of one state, the older of which is rolled back after the newer', ['one'], async (trial, make) => {
    await trial.write('one');
    const older = await make();
    const newer = await make();
    await trial.write('two');
    await newer();
    await older();
  }),
  leaves(
    'everything since it was first used can be rolled back, where it was only read before',
    [],
    async (trial, make) => {
      if (trial.subject.read !== undefined) await trial.read();
      const rollback = await make();
      await trial.write('one', 'two');
      await rollback();
    },
  ),
  leaves('many of them', ['last'], async (trial, make) => {
    const first = await make();
    for (let index = 0; index < MANY; index++) {
      await trial.write(`value${index}`);
      const rollback = await make();
      await trial.write(`more${index}`);
      await rollback();
    }
    await first();
    await trial.write('last');
  }),
  {
    name: 'savepoints: after a rollback the transaction sees what it saw before',
    appliesTo: ({ savepoints, readsOwnWrites }) => savepoints && readsOwnWrites,
    skip: ({ read }) => (read === undefined ? 'the subject has no read()' : undefined),
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        const savepoint = await trial.must(RULES.savepoint, 'savepoint()', () => txn.savepoint());
        await trial.write('two');
        await expectSeen(trial, 'after a savepoint', 'one', 'two');
        await rollBack(trial, savepoint);
        await expectSeen(trial, 'after the rollback', 'one');
      }),
  },
  {
    name: 'savepoints: after a rollback an abort, and the no of another one, leave nothing',
    appliesTo,
    async run(trial) {
      for (const end of ['abort', 'commit'] as const) {
        await trial.transaction(async (txn) => {
          await trial.write('one');
          const savepoint = await trial.must(RULES.savepoint, 'savepoint()', () => txn.savepoint());
          await trial.write('two');
          await rollBack(trial, savepoint);
          await trial.write('three');
          if (end === 'abort') return await trial.abort(txn);
          const sayNo = (): never => {
            throw new Error('another one says no');
          };
          trial.other(txn, 'behind', { changed: true, does: { tpcVote: sayNo } });
          await trial.failingCommit(txn, RULES.tpcAbort, 'where another one says no');
        });
        await trial.expectStored(RULES.abort, 'after a rollback, and the end of the transaction,');
        await trial.expectNothingHeld('after a rollback, and the end of the transaction,');
      }
    },
  },
  {
    name: 'savepoints: it has none, so one is refused, and nothing is stored or held afterwards',
    appliesTo: ({ savepoints }) => !savepoints,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        const error = await trial
          .within('savepoint()', () => txn.savepoint())
          .then(
            () => undefined,
            (refusal: unknown) => refusal,
          );
        const code = (error as { code?: unknown } | undefined)?.code;
        demand(
          code === 'ERR_TXN_SAVEPOINTS_UNSUPPORTED',
          RULES.noSavepoint,
          'a savepoint was made without a method for it',
        );
        await trial.failingCommit(txn, RULES.noSavepoint, 'after a savepoint that was refused');
        await trial.expectStored(RULES.abort, 'after a savepoint that was refused');
        await trial.expectNothingHeld('after a savepoint that was refused');
      }),
  },
  {
    name: 'savepoints: it has none, so an optimistic one leaves it alone',
    appliesTo: ({ savepoints }) => !savepoints,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        await trial.must(RULES.noSavepoint, 'savepoint(true)', () => txn.savepoint(true));
        await trial.write('two');
        await trial.commit(txn);
        await trial.expectStored(RULES.finish, 'after the commit', 'one', 'two');
      }),
  },
];

function rollBack(trial: Trial, savepoint: Savepoint): Promise<void> {
  return trial.must(RULES.savepoint, 'rollback()', () => savepoint.rollback());
}
