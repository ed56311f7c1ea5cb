/** How it joins, its place among the others, and that it is what it says. */
import type { DataManager } from '../../../coordinator/types.ts';
import { describe } from '../../../coordinator/errors.ts';
import { isThenable } from '../../../coordinator/thenable.ts';
import { ConformanceError, RULES } from '../rules.ts';
import { type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';

export const joiningChecks: readonly Check[] = [
  {
    name: 'joining: the first work joins it, before anything is awaited',
    run: (trial) =>
      trial.transaction(async (txn) => {
        demand(trial.joined(txn).length === 0, RULES.join, 'a transaction in which nothing was done had been joined');
        const work = trial.within('the work one', () => trial.subject.write(trial.resource, 'one'));
        const joined = trial.joined(txn).length;
        await work;
        demand(joined > 0, RULES.join, 'when the work was begun the transaction had not been joined');
        await trial.commit(txn);
        await trial.expectStored(RULES.finish, 'after the commit', 'one');
      }),
  },
  {
    name: 'joining: every transaction has data managers of its own',
    async run(trial) {
      const first = await joinedIn(trial, 'one');
      const second = await joinedIn(trial, 'two');
      demand(
        !first.some((manager) => second.includes(manager)),
        RULES.onePerTransaction,
        'the data manager of an earlier transaction has joined a second one',
      );
    },
  },
  {
    name: 'joining: the sort key is a string, the same whenever it is asked for and in every transaction',
    async run(trial) {
      const keys = (managers: readonly DataManager[]): string[] => managers.map(sortKeyOf);
      const first = await joinedIn(trial, 'one');
      const second = await joinedIn(trial, 'two');
      for (const key of keys(first)) {
        demand(typeof key === 'string', RULES.sortKey, `a sort key must be a string; it was ${typeof key}`);
      }
      demand(
        keys(first).join('\n') === keys(first).join('\n') && keys(first).join('\n') === keys(second).join('\n'),
        RULES.sortKey,
        `the sort key must stay the same; it was ${keys(first).join()}, then ${keys(second).join()}`,
      );
    },
  },
  {
    name: 'joining: what it can do is what it is said to be able to do',
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        for (const manager of trial.joined(txn)) checkCapabilities(trial, manager);
      }),
  },
  {
    name: 'joining: outside of a transaction no work is done',
    async run(trial) {
      const error = await errorOf(() => trial.outside(() => trial.write('one')));
      demand(
        isRefusal(error),
        RULES.closed,
        `work outside of a transaction must be refused with NoTransaction; it ${outcomeOf(error)}`,
      );
      await trial.expectStored(RULES.closed, 'after work outside of a transaction');
    },
  },
];

function sortKeyOf({ sortKey }: DataManager): string {
  return typeof sortKey === 'function' ? sortKey() : sortKey;
}

/** The data managers of a transaction that commits a value. */
async function joinedIn(trial: Trial, value: string): Promise<readonly DataManager[]> {
  let joined: readonly DataManager[] = [];
  await trial.transaction(async (txn) => {
    await trial.write(value);
    joined = trial.joined(txn);
    await trial.commit(txn);
  });
  return joined;
}

function checkCapabilities({ subject: { capabilities } }: Trial, manager: DataManager): void {
  const agree = (what: string, is: boolean, said: boolean): void =>
    demand(is === said, RULES.declared, `${what} was said to be ${String(said)}, and is ${String(is)}`);
  agree('that it can make savepoints', typeof manager.savepoint === 'function', capabilities.savepoints);
  agree('lastResource', manager.lastResource === true, capabilities.lastResource);
  agree('onePhase', manager.onePhase === true, capabilities.onePhase);
  // One that can't prepare may have it for its name.
  const { recoverable, lastResource } = manager;
  agree('that it is recoverable', recoverable !== undefined && lastResource !== true, capabilities.recoverable);
  demand(
    recoverable === undefined || (typeof recoverable.name === 'string' && recoverable.name !== ''),
    RULES.name,
    `what is recoverable must have a name; it was ${describe(recoverable?.name)}`,
  );
  const { changed } = manager;
  demand(
    changed === undefined || changed,
    RULES.changed,
    'something was written, and the data manager says that nothing has changed',
  );
  demand(
    changed === true || !(capabilities.onePhase || capabilities.recoverable || capabilities.lastResource),
    RULES.changed,
    'a resource that commits in one phase, or prepares durably, must say whether it has changes; `changed` was undefined',
  );
  demand(
    typeof manager.hold === 'function' || !capabilities.recoverable,
    RULES.hold,
    'what is recoverable must have `hold`: else it is undone where the last resource may have committed',
  );
}

/** What was thrown or rejected with; undefined where nothing was. */
export async function errorOf(action: () => unknown): Promise<unknown> {
  try {
    const answer = action();
    if (isThenable(answer)) await answer;
    return undefined;
  } catch (error) {
    if (error instanceof ConformanceError) throw error;
    return error ?? new Error('undefined was thrown');
  }
}

/** True for NoTransaction and TransactionClosed, of whichever copy of the package. */
export function isRefusal(error: unknown): boolean {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return code === 'ERR_TXN_CLOSED' || code === 'ERR_TXN_NO_TRANSACTION';
}

export function outcomeOf(error: unknown): string {
  return error === undefined
    ? 'was accepted'
    : `failed with ${error instanceof Error ? `${error.name}: ${error.message}` : describe(error)}`;
}
