// What it stores, and when.
import { transaction } from 'unanimous';
import { type Mutant, fail, makeSo, never, nothing, storeNow } from '../mutant.ts';

export const committing: readonly Mutant[] = [
  {
    name: 'its yes is not kept',
    caught: [
      'commit: nothing is stored before it, and all afterwards',
      'commit: nothing is stored while others vote, and all when the last one finishes',
      'commit: one transaction after another',
      'others: where another one in front fails to finish, this one finishes all the same',
      'others: where another one behind fails to finish, this one finishes all the same',
    ],
    breaks: (manager) => (manager.tpcFinish = nothing),
  },
  {
    name: 'what is written is stored at once',
    caught: ['commit: nothing is stored before it, and all afterwards', 'abort: a doomed transaction stores nothing'],
    changes: ({ write }) => ({
      async write(store, value) {
        await write(store, value);
        await storeNow(store, value);
      },
    }),
  },
  {
    name: 'its vote stores everything',
    caught: [
      'commit: nothing is stored while others vote, and all when the last one finishes',
      'two phases: its vote stores nothing, with or without others',
    ],
    breaks(manager, store, txn) {
      manager.tpcVote = () => makeSo(manager, store, txn);
    },
  },
  {
    name: 'it hands over too much: its commit stores everything',
    caught: [
      'commit: nothing is stored while others vote, and all when the last one finishes',
      'abort: abort and tpcAbort may come after commit, twice and one after the other',
    ],
    breaks(manager, store, txn) {
      manager.commit = () => makeSo(manager, store, txn);
    },
  },
  {
    name: 'it is finished some time after tpcFinish',
    caught: ['commit: nothing is stored before it, and all afterwards'],
    breaks(manager) {
      const finish = manager.tpcFinish.bind(manager);
      manager.tpcFinish = (txn) => void setImmediate(() => manager.changes.ended ?? finish(txn));
    },
  },
  {
    name: 'it never answers tpcVote',
    caught: ['commit: nothing is stored before it, and all afterwards'],
    breaks: (manager) => (manager.tpcVote = never),
  },
  {
    name: 'it fails to finish',
    caught: ['commit: nothing is stored before it, and all afterwards'],
    breaks: (manager) => (manager.tpcFinish = fail),
  },
  {
    name: 'of what is written at the same time only the first is kept',
    caught: [
      'commit: work that is under way when the commit begins is stored where both succeed, and else not',
      'commit: work that was begun at the same time is stored with the rest',
      'concurrency: of many transactions at once those are stored that commit',
    ],
    changes({ write }) {
      let busy = false;
      return {
        async write(store, value) {
          if (!busy) void write(store, value);
          busy = true;
          await Promise.resolve();
          busy = false;
        },
      };
    },
  },
  {
    name: 'work that comes late succeeds, and is lost',
    caught: ['commit: work that is under way when the commit begins is stored where both succeed, and else not'],
    changes: ({ write, read }) => ({
      async write(store, value) {
        await read!(store);
        await Promise.resolve();
        try {
          await write(store, value);
        } catch {
          // Whoever asked for it is told nothing.
        }
      },
    }),
  },
  {
    name: 'work while others vote succeeds, and is lost',
    caught: ['late: work while others vote is refused, and what was there before is stored'],
    changes: ({ write }) => ({
      write: (store, value) => (transaction.current?.status === 'committing' ? undefined : write(store, value)),
    }),
  },
  {
    name: 'a transaction sees nothing of its own',
    caught: [
      'commit: a transaction sees what it has written',
      'savepoints: after a rollback the transaction sees what it saw before',
    ],
    changes: () => ({ read: (store) => (store.get('joins'), store.committed.keys()) }),
  },
];
