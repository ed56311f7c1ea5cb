// What its abort and its tpcAbort do.
import { transaction } from 'unanimous';
import { type Mutant, type Victim, emptyNow, fail, makeSo, never, nothing, storeNow } from '../mutant.ts';

export const undoing: readonly Mutant[] = [
  {
    name: 'its second abort throws',
    caught: [
      'abort: abort and tpcAbort may come before tpcBegin, twice and one after the other',
      'abort: abort and tpcAbort may come after tpcBegin, twice and one after the other',
      'others: the no of another one behind in tpcBegin leaves nothing stored and nothing held',
      'others: the no of another one in front in commit leaves nothing stored and nothing held',
    ],
    breaks(manager) {
      const abort = manager.abort.bind(manager);
      let calls = 0;
      manager.abort = (txn) => (++calls > 1 ? fail() : abort(txn));
    },
  },
  {
    name: 'its tpcAbort throws without tpcBegin',
    caught: [
      'abort: abort and tpcAbort may come before tpcBegin, twice and one after the other',
      'others: the no of another one in front in tpcBegin leaves nothing stored and nothing held',
    ],
    breaks(manager) {
      const { tpcBegin, tpcAbort } = manager;
      manager.tpcAbort = fail;
      manager.tpcBegin = (txn) => {
        manager.tpcAbort = tpcAbort;
        return tpcBegin.call(manager, txn);
      };
    },
  },
  {
    name: 'its abort stores everything',
    caught: [
      'abort: nothing is stored, and nothing is held',
      'abort: a doomed transaction stores nothing',
      'savepoints: after a rollback an abort, and the no of another one, leave nothing',
      'others: the no of another one behind in commit leaves nothing stored and nothing held',
      'others: the no of another one in front in tpcVote leaves nothing stored and nothing held',
    ],
    breaks(manager, store, txn) {
      manager.abort = () => makeSo(manager, store, txn);
    },
  },
  {
    name: 'its tpcAbort stores everything',
    caught: [
      'abort: abort and tpcAbort may come after tpcVote, twice and one after the other',
      'others: the no of another one behind in tpcVote leaves nothing stored and nothing held',
    ],
    breaks(manager, store, txn) {
      manager.tpcAbort = () => makeSo(manager, store, txn);
    },
  },
  {
    name: 'its abort never answers',
    caught: ['abort: nothing is stored, and nothing is held'],
    breaks: (manager) => (manager.abort = never),
  },
  {
    name: 'its tpcAbort gives nothing back',
    caught: [
      'others: the no of another one behind in tpcVote leaves nothing stored and nothing held',
      'others: the no of another one, which then fails to be undone, leaves nothing stored and nothing held',
      'others: where it is not known whether the last resource has committed, nothing is stored, and what is not held is undone',
    ],
    breaks: (manager) => (manager.tpcAbort = nothing),
  },
  {
    name: 'its abort after the finish undoes what is stored',
    caught: ['abort: abort and tpcAbort after tpcFinish, and after an abort, change nothing'],
    breaks(manager, store, txn) {
      const abort = manager.abort.bind(manager);
      manager.abort = () => (manager.changes.ended === 'committed' ? emptyNow(store) : abort(txn));
    },
  },
  {
    name: 'its abort undoes what any transaction does',
    caught: ['abort: a late abort of one transaction leaves the next one alone'],
    changes({ write }) {
      let latest: Victim | undefined;
      return {
        write(store, value) {
          const answer = write(store, value);
          latest = transaction.current?.joined(store) as Victim | undefined;
          const { abort } = latest!;
          latest!.abort = (txn) => {
            latest!.changes.returnTo(new Map());
            return abort.call(latest, txn);
          };
          return answer;
        },
      };
    },
  },
  {
    name: 'after its abort by a savepoint it goes on without joining again',
    caught: [
      'abort: what joined after a savepoint is aborted by its rollback, and may join again',
      'savepoints: many of them',
    ],
    changes({ write }) {
      const known = new WeakMap<object, Victim>();
      return {
        write(store, value) {
          const txn = transaction.enlist();
          const before = known.get(txn);
          if (before !== undefined) return before.changes.set(value, true);
          const answer = write(store, value);
          const joined = txn.joined(store) as Victim | undefined;
          if (joined !== undefined) known.set(txn, joined);
          return answer;
        },
      };
    },
  },
  {
    name: 'its cancel throws',
    caught: ['abort: cancelled by a deadline, it can be aborted and stores nothing'],
    breaks: (manager) => (manager.cancel = fail),
  },
  {
    name: 'work that is under way when it is aborted is stored afterwards',
    caught: ['abort: work that is under way when it is aborted leaves nothing'],
    changes: ({ write, read }) => ({
      async write(store, value) {
        await read!(store);
        await Promise.resolve();
        await (transaction.current === undefined ? storeNow(store, value) : write(store, value));
      },
    }),
  },
];
