/** Work that comes too late is refused, and never stored by itself. */
import { RULES } from '../rules.ts';
import { type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';
import { errorOf, isRefusal, outcomeOf } from './joining.ts';

export const lateChecks: readonly Check[] = [
  {
    name: 'late: work after the commit is refused',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        await trial.commit(txn);
        await expectClosed(trial, 'after the commit');
        await trial.expectStored(RULES.closed, 'after late work', 'one');
      }),
  },
  {
    name: 'late: work after the abort is refused',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        await trial.abort(txn);
        await expectClosed(trial, 'after the abort');
        await trial.expectStored(RULES.closed, 'after late work');
      }),
  },
  {
    name: 'late: work while others vote is refused, and what was there before is stored',
    run: (trial) =>
      trial.transaction(async (txn) => {
        const late = trial.look('while others vote', async () => {
          const error = await errorOf(() => trial.write('late'));
          const code = (error as { code?: unknown } | undefined)?.code;
          demand(
            isRefusal(error) || code === 'ERR_TXN_STATE',
            RULES.closed,
            `work while others vote must be refused with TransactionClosed; it ${outcomeOf(error)}`,
          );
        });
        trial.other(txn, 'in front', { does: { tpcVote: late } });
        await trial.write('one');
        await trial.commit(txn);
        await trial.expectStored(RULES.handOver, 'after work while others voted', 'one');
      }),
  },
];

async function expectClosed(trial: Trial, when: string): Promise<void> {
  const error = await errorOf(() => trial.write('late'));
  demand(isRefusal(error), RULES.closed, `work ${when} must be refused with TransactionClosed; it ${outcomeOf(error)}`);
}
