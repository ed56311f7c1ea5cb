// What becomes of its own failures, and of what is prepared.
import { type Mutant, type Victim, fail, makeSo } from '../mutant.ts';

export const failing: readonly Mutant[] = [
  {
    name: 'work that fails takes along what was done before',
    caught: ['failures: work that fails leaves nothing, or all the rest, and holds nothing'],
    changes: ({ failures }) => ({
      failures: {
        ...failures,
        work(store, txn) {
          (txn.joined(store) as Victim).changes.returnTo(new Map());
          return fail();
        },
      },
    }),
  },
  {
    name: 'where one of its own phases fails, its abort stores everything',
    caught: [
      'failures: failing in commit it says no: nothing is stored and nothing is held',
      'failures: failing in tpcBegin it says no: nothing is stored and nothing is held',
      'failures: failing to be undone by abort it stores nothing and holds nothing',
      'failures: failing to be undone by tpcAbort it stores nothing',
      'failures: failing to make a savepoint it fails the transaction, which stores nothing and holds nothing',
      'failures: failing to roll back it fails the transaction, which stores nothing and holds nothing',
    ],
    injects: true,
    breaks(manager, store, txn) {
      manager.abort = () => makeSo(manager, store, txn);
      manager.tpcAbort = () => makeSo(manager, store, txn);
    },
  },
  {
    name: 'where it fails to finish, what is prepared is gone',
    caught: ['failures: failing to finish it leaves the others to finish, and the transaction in doubt'],
    role: 'recoverable',
    changes: ({ failures }) => ({
      failures: {
        ...failures,
        tpcFinish(store, txn) {
          const manager = txn.joined(store) as Victim;
          manager.tpcFinish = () => {
            store.forget(txn.id);
            fail();
          };
        },
      },
    }),
  },
  {
    name: 'a conflict is not noticed',
    caught: [
      'failures: failing in tpcVote it says no: nothing is stored and nothing is held',
      'retry: a conflict with somebody else fails the transaction, which succeeds when it is tried again',
    ],
    breaks: (manager) => (manager.changes.isStale = () => false),
  },
  {
    name: 'it would have every error tried again',
    caught: ['retry: errors that may pass are told from those that will not'],
    breaks: (manager) => (manager.shouldRetry = () => true),
  },
  {
    name: 'what is prepared is not listed',
    caught: [
      'recovery: a branch is listed from its vote to its end, by the transaction’s id and the name of the resource',
    ],
    role: 'recoverable',
    changes: ({ open }) => ({ open: async () => Object.assign(await open(), { listPrepared: async () => [] }) }),
  },
  {
    name: 'it does not hold what is prepared',
    caught: [
      'recovery: where it is not known whether the last resource has committed, it stays prepared and gives back all else',
    ],
    role: 'recoverable',
    breaks: (manager, store) => (manager.hold = (txn) => store.forget(txn.id)),
  },
  {
    name: 'a crash takes along what is prepared',
    caught: [
      'recovery: after a crash commitPrepared ends what was prepared, and does nothing when it comes again',
      'recovery: after a crash rollbackPrepared ends what was prepared, and does nothing when it comes again',
    ],
    role: 'recoverable',
    changes: ({ recovery }) => ({
      recovery: {
        ...recovery!,
        async crash(store) {
          for (const { gid } of await store.listPrepared()) store.forget(gid);
        },
      },
    }),
  },
  {
    name: 'commitPrepared throws where nothing is prepared',
    caught: [
      'recovery: to end what is not prepared does nothing',
      'recovery: after a crash commitPrepared ends what was prepared, and does nothing when it comes again',
    ],
    role: 'recoverable',
    changes: ({ open }) => ({
      async open() {
        const store = await open();
        const { commitPrepared } = store;
        store.commitPrepared = async (xid) => {
          if ((await store.listPrepared()).length === 0) fail();
          await commitPrepared.call(store, xid);
        };
        return store;
      },
    }),
  },
  {
    name: 'rollbackPrepared commits',
    caught: [
      'recovery: after a crash rollbackPrepared ends what was prepared, and does nothing when it comes again',
      'recovery: what was rolled back can be written again',
    ],
    role: 'recoverable',
    changes: ({ open }) => ({
      async open() {
        const store = await open();
        return Object.assign(store, { rollbackPrepared: store.commitPrepared.bind(store) });
      },
    }),
  },
  {
    name: 'what somebody else has prepared is listed',
    caught: ['recovery: what somebody else has prepared is not listed'],
    role: 'recoverable',
    changes: ({ recovery, open }) => ({
      async open() {
        const store = await open();
        const { listPrepared } = store;
        let foreign: { gid: string; branch: string }[] = [];
        store.listPrepared = async () => [...foreign, ...(await listPrepared.call(store))];
        return Object.assign(store, { setForeign: (xids: typeof foreign) => (foreign = xids) });
      },
      recovery: {
        ...recovery!,
        foreign(store) {
          const { setForeign } = store as typeof store & { setForeign(xids: unknown[]): void };
          setForeign([{ gid: 'foreign', branch: 'another' }]);
          return async () => setForeign([]);
        },
      },
    }),
  },
];
