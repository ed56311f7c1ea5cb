/** Several transactions at once, and trying again. */
import { RULES } from '../rules.ts';
import { demand } from '../trial.ts';
import type { Check } from './check.ts';

const COUNT = 6;

export const concurrencyChecks: readonly Check[] = [
  {
    name: 'concurrency: of two transactions at once neither sees the other, and one ends without the other',
    run: (trial) =>
      trial.transaction(async (outer) => {
        await trial.write('one');
        await trial.transaction(async (inner) => {
          await trial.write('two');
          if (trial.subject.read !== undefined) {
            const seen = await trial.read();
            demand(
              seen?.includes('one') !== true,
              RULES.onePerTransaction,
              'a transaction saw what another one had not committed',
            );
          }
          await trial.abort(inner);
        });
        await trial.expectStored(RULES.onePerTransaction, 'after the abort of one of two transactions');
        await trial.transaction(async (inner) => {
          await trial.write('three');
          await trial.commit(inner);
        });
        await trial.expectStored(RULES.onePerTransaction, 'after the commit of one of two transactions', 'three');
        await trial.commit(outer);
        await trial.expectStored(RULES.onePerTransaction, 'after the commit of both transactions', 'one', 'three');
      }),
  },
  {
    name: 'concurrency: of many transactions at once those are stored that commit',
    async run(trial) {
      const numbers = Array.from({ length: COUNT }, (_, index) => index);
      const committed = await Promise.allSettled(
        numbers.map((number) =>
          trial.transaction(async (txn) => {
            await trial.write(`first${number}`);
            await trial.write(`second${number}`);
            await (number % 2 === 0 ? trial.commit(txn) : trial.abort(txn));
          }),
        ),
      );
      for (const each of committed) if (each.status === 'rejected') throw each.reason;
      const expected = numbers.flatMap((number) => (number % 2 === 0 ? [`first${number}`, `second${number}`] : []));
      await trial.expectStored(RULES.onePerTransaction, 'after many transactions at once', ...expected);
    },
  },
  {
    name: 'retry: a conflict with somebody else fails the transaction, which succeeds when it is tried again',
    skip: ({ conflict }) =>
      conflict === undefined
        ? 'the subject does not say how a conflict comes about'
        : typeof conflict === 'string'
          ? conflict
          : undefined,
    async run(trial) {
      const conflict = trial.subject.conflict as (resource: unknown) => unknown;
      const before = await trial.stored();
      let attempts = 0;
      await trial.within('run()', () =>
        trial.coordinator.run(
          async () => {
            attempts++;
            await trial.write('one');
            if (attempts === 1) await trial.within('conflict()', () => conflict(trial.resource));
          },
          { attempts: 2, propagation: 'requires-new', backoff: false },
        ),
      );
      demand(attempts === 2, RULES.shouldRetry, `a conflict must fail the first attempt; ${attempts} was enough`);
      const stored = await trial.stored();
      const ours = stored.filter((value) => value === 'one').length;
      demand(
        before.length === 0 && ours === 1,
        RULES.shouldRetry,
        `the second attempt must be stored once; it was ${ours} times`,
      );
    },
  },
  {
    name: 'retry: errors that may pass are told from those that will not',
    skip: ({ errors }) => (errors === undefined ? 'the subject names no errors' : undefined),
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        const { transient, permanent } = trial.subject.errors!;
        for (const error of transient) {
          demand(
            txn.isRetryableError(error),
            RULES.shouldRetry,
            `${error.name}: ${error.message} may pass, and is not tried again`,
          );
        }
        for (const error of [...permanent, new Error('no error of this resource')]) {
          demand(
            !txn.isRetryableError(error),
            RULES.shouldRetry,
            `${error.name}: ${error.message} will not pass, and is tried again`,
          );
        }
      }),
  },
];
