// What its savepoints do.
import { type Mutant, fail, nothing, withSavepoints } from '../mutant.ts';

export const savepoints: readonly Mutant[] = [
  {
    name: 'the rollback of its savepoint does nothing',
    caught: [
      'savepoints: the rollback undoes what came after it, and nothing else',
      'savepoints: everything since it was first used can be rolled back, where it was only read before',
    ],
    breaks: (manager) => withSavepoints(manager, () => ({ rollback: nothing })),
  },
  {
    name: 'its savepoint can be rolled back once',
    caught: ['savepoints: the rollback may be repeated, with and without work in between'],
    breaks: (manager) =>
      withSavepoints(manager, (made) => {
        let calls = 0;
        return { rollback: () => (++calls > 1 ? undefined : made.rollback()) };
      }),
  },
  {
    name: 'the rollback of its savepoint undoes everything',
    caught: ['savepoints: the rollback undoes what came after it, and nothing else'],
    breaks: (manager) => withSavepoints(manager, () => ({ rollback: () => manager.changes.returnTo(new Map()) })),
  },
  {
    name: 'it loses its changes when it makes a savepoint',
    caught: ['savepoints: one that is not rolled back changes nothing'],
    breaks: (manager) =>
      withSavepoints(manager, (made) => {
        manager.changes.returnTo(new Map());
        return made;
      }),
  },
  {
    name: 'every savepoint of it is rolled back to the first one',
    caught: ['savepoints: an inner one is rolled back without the outer one'],
    breaks(manager) {
      const { soFar } = manager.changes;
      let first: typeof soFar | undefined;
      withSavepoints(manager, () => {
        first ??= manager.changes.soFar;
        return { rollback: () => manager.changes.returnTo(first!) };
      });
    },
  },
  {
    name: 'every savepoint of it is rolled back to the latest one',
    caught: ['savepoints: an outer one takes the inner ones along, rolled back or not'],
    breaks(manager) {
      let latest: typeof manager.changes.soFar | undefined;
      withSavepoints(manager, () => {
        latest = manager.changes.soFar;
        return { rollback: () => manager.changes.returnTo(latest!) };
      });
    },
  },
  {
    name: 'savepoints of it that are of one state can be rolled back once in all',
    caught: ['savepoints: several of one state, the older of which is rolled back after the newer'],
    breaks(manager) {
      const rolledBack = new Set<string>();
      withSavepoints(manager, (made) => {
        const state = [...manager.changes.soFar.keys()].join();
        rolledBack.delete(state);
        return {
          rollback() {
            if (rolledBack.has(state)) fail();
            rolledBack.add(state);
            return made.rollback();
          },
        };
      });
    },
  },
  {
    name: 'after a rollback a transaction still sees what was rolled back',
    caught: [
      'savepoints: after a rollback the transaction sees what it saw before',
      'concurrency: of two transactions at once neither sees the other, and one ends without the other',
    ],
    changes({ read }) {
      const seen = new Set<string>();
      return {
        async read(store) {
          for (const value of (await read!(store))!) seen.add(value);
          return seen;
        },
      };
    },
  },
  {
    name: 'it can make savepoints, and is said to make none',
    caught: [
      'joining: what it can do is what it is said to be able to do',
      'savepoints: it has none, so one is refused, and nothing is stored or held afterwards',
    ],
    changes: ({ capabilities }) => ({ capabilities: { ...capabilities, savepoints: false } }),
  },
  {
    name: 'it is said to make no savepoints, and fails where one is made all the same',
    caught: ['savepoints: it has none, so an optimistic one leaves it alone'],
    changes: ({ capabilities }) => ({ capabilities: { ...capabilities, savepoints: false } }),
    breaks: (manager) => (manager.savepoint = fail),
  },
];
