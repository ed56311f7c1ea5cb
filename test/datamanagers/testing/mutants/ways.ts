// One phase, last resources and the read-only vote.
import { type Mutant } from '../mutant.ts';

export const ways: readonly Mutant[] = [
  {
    name: 'alone it commits in two phases, although it says one',
    caught: [
      'commit: nothing is stored while others vote, and all when the last one finishes',
      'one phase: where nothing else has changes its vote is its commit, after all other votes',
    ],
    role: 'recoverable',
    breaks(manager, store, txn) {
      manager.tpcVote = () => store.promise(txn.id, manager.changes);
    },
  },
  {
    name: 'it commits by its vote where others have changes too',
    caught: ['one phase: where something else has changes it prepares, and its vote stores nothing'],
    role: 'recoverable',
    breaks(manager, store) {
      const vote = manager.tpcVote.bind(manager);
      manager.tpcVote = async (txn) => {
        const answer = await vote(txn);
        store.finish(txn.id);
        return answer;
      };
    },
  },
  {
    name: 'a last resource commits only in tpcFinish',
    caught: ['last resource: it votes after all others, and its vote is its commit'],
    role: 'last-resource',
    breaks(manager, store) {
      manager.tpcVote = (txn) => store.promise(txn.id, manager.changes);
    },
  },
  {
    name: 'a last resource hides that it is one when a commit begins',
    caught: ['last resource: a second one is refused, and nothing is stored'],
    role: 'last-resource',
    breaks(manager) {
      manager.tpcBegin = () => void Object.assign(manager, { lastResource: false });
    },
  },
  {
    name: 'a last resource always says that it has changes',
    caught: ['last resource: one that has changed nothing stands in nobody’s way'],
    role: 'last-resource',
    breaks: (manager) => Object.defineProperty(manager, 'changed', { value: true }),
  },
  {
    name: 'it votes read-only with changes',
    caught: ['read-only: what has changed something never votes read-only'],
    breaks: (manager) => (manager.tpcVote = () => 'read-only'),
  },
  {
    name: 'it never votes read-only',
    caught: [
      'read-only: what has changed nothing votes read-only, has given everything back by then, and is not called again',
    ],
    breaks(manager) {
      const vote = manager.tpcVote.bind(manager);
      manager.tpcVote = async (txn) => void (await vote(txn));
    },
  },
  {
    name: 'it holds something after a read-only vote',
    caught: [
      'read-only: what has changed nothing votes read-only, has given everything back by then, and is not called again',
    ],
    breaks(manager, store) {
      const vote = manager.tpcVote.bind(manager);
      manager.tpcVote = (txn) => {
        store.promise(txn.id, manager.changes);
        return manager.changes.isEmpty ? 'read-only' : vote(txn);
      };
    },
  },
  {
    name: 'a transaction that only reads holds something for ever',
    caught: [
      'read-only: a transaction that has only read can be committed and aborted, and holds nothing afterwards',
      'read-only: what has changed nothing and voted so is left alone when another one says no',
    ],
    changes({ read, held }) {
      let reads = 0;
      return { read: (store) => (reads++, read!(store)), held: async (store) => reads + Number(await held!(store)) };
    },
  },
];
