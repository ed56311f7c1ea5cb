// How it joins, and what it says of itself.
import { transaction } from 'unanimous';
import { type Mutant, type Victim, storeNow } from '../mutant.ts';

export const joining: readonly Mutant[] = [
  {
    name: 'it joins only after a tick',
    caught: ['joining: the first work joins it, before anything is awaited'],
    changes: ({ write }) => ({
      async write(store, value) {
        await Promise.resolve();
        await write(store, value);
      },
    }),
  },
  {
    name: 'one data manager joins every transaction',
    caught: ['joining: every transaction has data managers of its own'],
    changes: ({ write }) => {
      let only: Victim | undefined;
      return {
        write(store, value) {
          const txn = transaction.enlist();
          if (only === undefined) void write(store, value);
          only ??= txn.joined(store) as Victim;
          txn.join(only);
          only.changes.set(value, true);
        },
      };
    },
  },
  {
    name: 'its sort key is another one each time',
    caught: ['joining: the sort key is a string, the same whenever it is asked for and in every transaction'],
    breaks: (manager, _, txn) => (manager.sortKey = txn.id),
  },
  {
    name: 'it can make no savepoints, and is said to',
    caught: ['joining: what it can do is what it is said to be able to do'],
    breaks: (manager) => Object.assign(manager, { savepoint: undefined }),
  },
  {
    name: 'it is recoverable, and can not hold what is prepared',
    caught: ['joining: what it can do is what it is said to be able to do'],
    role: 'recoverable',
    breaks: (manager) => Object.assign(manager, { hold: undefined }),
  },
  {
    name: 'it says that nothing has changed',
    caught: [
      'joining: what it can do is what it is said to be able to do',
      'one phase: where nothing else has changes its vote is its commit, after all other votes',
    ],
    role: 'recoverable',
    breaks: (manager) => Object.defineProperty(manager, 'changed', { value: false }),
  },
  {
    name: 'without a transaction it stores at once',
    caught: [
      'joining: outside of a transaction no work is done',
      'late: work after the abort is refused',
      'late: work after the commit is refused',
    ],
    changes: ({ write }) => ({
      write: (store, value) => (transaction.current === undefined ? storeNow(store, value) : write(store, value)),
    }),
  },
];
