// The memory store as a subject of the conformance suite, in each of its roles.
import { type DataManager, MemoryStore, transaction, TransientError } from 'unanimous';
import { type Capabilities, type ConformanceSubject, type Failure, type Fault, faulty } from 'unanimous/testing';

export type Role = 'volatile' | 'recoverable' | 'last-resource';
export type Store = MemoryStore;

/** What never fails in memory is made to fail: before the call, or so that the call is made, and its answer lost. */
export function withInjectedFailures(role: Role): ConformanceSubject<Store> {
  const fail = (phase: Fault['phase'], after: boolean): Failure<Store> => {
    return (store, txn) => void faulty(txn.joined(store), { phase, after, times: 1 });
  };
  const subject = memorySubject(role);
  let failsToRollBack = false;
  return {
    ...subject,
    write(store, value) {
      const txn = transaction.enlist();
      const isFirst = txn.joined(store) === undefined;
      store.set(value, true);
      const manager = txn.joined(store)!;
      if (isFirst) manager.savepoint = failing(manager.savepoint!.bind(manager), () => failsToRollBack);
    },
    failures: {
      savepoint: fail('savepoint', true),
      rollback: () => {
        failsToRollBack = true;
        return () => {
          failsToRollBack = false;
        };
      },
      tpcBegin: fail('tpcBegin', true),
      commit: fail('commit', true),
      // Where the vote is the commit it must not have happened.
      tpcVote: fail('tpcVote', role === 'volatile'),
      tpcFinish: fail('tpcFinish', role === 'volatile'),
      tpcAbort: fail('tpcAbort', true),
      abort: fail('abort', true),
    },
  };
}

type MakeSavepoint = NonNullable<DataManager['savepoint']>;

function failing(make: MakeSavepoint, fails: () => boolean): MakeSavepoint {
  return async (txn) => {
    const made = await make(txn);
    return {
      rollback() {
        if (fails()) throw new Error('the rollback was made to fail');
        return made.rollback();
      },
    };
  };
}

const nothingToHandOver = 'changes are in memory from the start: there is nothing that could fail';

export function capabilitiesOf(role: Role): Capabilities {
  return {
    savepoints: true,
    readOnlyVote: true,
    lastResource: role === 'last-resource',
    onePhase: role === 'recoverable',
    recoverable: role === 'recoverable',
    readsOwnWrites: true,
  };
}

/** Another transaction changes what the current one has read. */
async function interfere(store: Store): Promise<void> {
  store.get('contended');
  await transaction.run(() => store.set('contended', Symbol('another')), { propagation: 'requires-new' });
}

export function memorySubject(role: Role, open = (): Store => new MemoryStore({ role })): ConformanceSubject<Store> {
  return {
    capabilities: capabilitiesOf(role),
    open,
    close: () => undefined,
    write: (store, value) => store.set(value, true),
    read: (store) => store.entries().keys(),
    stored: (store) => [...store.committed.keys()].filter((key) => key !== 'contended'),
    held: async (store) => (await store.listPrepared()).length,
    failures: {
      work: () => {
        throw new Error('a value that can not be made');
      },
      savepoint: nothingToHandOver,
      rollback: nothingToHandOver,
      tpcBegin: nothingToHandOver,
      commit: nothingToHandOver,
      tpcVote: interfere,
      tpcFinish: 'everything that can fail is done for the vote',
      tpcAbort: nothingToHandOver,
      abort: nothingToHandOver,
    },
    conflict: interfere,
    errors: { transient: [new TransientError('changed')], permanent: [new TypeError('no function')] },
    recovery:
      role === 'recoverable'
        ? { resource: (store) => store, crash: () => undefined, foreign: 'a store has no branches but its own' }
        : undefined,
  };
}
