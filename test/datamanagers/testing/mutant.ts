// What a mutant is: a memory store that breaks the contract in one way, as a subject of the conformance suite.
import {
  type DataManager,
  type DataManagerSavepoint,
  type MemoryStore,
  type Transaction,
  transaction,
} from 'unanimous';
import type { ConformanceSubject } from 'unanimous/testing';
import type { MemoryChanges } from '../../../datamanagers/memory/changes.ts';
import { memorySubject, type Role, withInjectedFailures } from '../memory/subject.ts';

export type Subject = ConformanceSubject<MemoryStore>;

/** A data manager of the store: every method of it can be replaced. */
export type Victim = { -readonly [K in keyof DataManager]-?: Required<DataManager>[K] } & {
  changes: MemoryChanges<string, unknown>;
};

export interface Mutant {
  /** What is wrong with it. */
  readonly name: string;
  /** The checks that find it; others may too. */
  readonly caught: readonly string[];
  readonly role?: Role;
  /** Begins with a subject into which failures are injected. */
  readonly injects?: boolean;
  /** Breaks a data manager when it joins. */
  readonly breaks?: (manager: Victim, store: MemoryStore, txn: Transaction) => void;
  /** Breaks what the subject does. */
  readonly changes?: (subject: Subject) => Partial<Subject>;
}

/** Long enough for what is done in memory, and short for what is to be noticed by its never happening. */
const timeoutMs = 100;

export function subjectOf(mutant: Mutant): Subject {
  const role = mutant.role ?? 'volatile';
  const intact = mutant.injects === true ? withInjectedFailures(role) : memorySubject(role);
  const breaking = <A extends unknown[], T>(use: (store: MemoryStore, ...args: A) => T) => {
    return (store: MemoryStore, ...args: A): T => {
      const txn = transaction.current;
      const before = txn?.joined(store);
      const result = use(store, ...args);
      const joined = txn?.joined(store);
      if (joined !== undefined && joined !== before) mutant.breaks?.(joined as Victim, store, txn!);
      return result;
    };
  };
  const subject: Subject = { ...intact, timeoutMs, write: breaking(intact.write), read: breaking(intact.read!) };
  return { ...subject, ...mutant.changes?.(subject) };
}

/** Makes so what the transaction has done until now, whatever it is at. */
export function makeSo({ changes }: Victim, store: MemoryStore, txn: Transaction): void {
  const id = `${txn.id} too early`;
  store.promise(id, changes);
  store.finish(id);
}

/** Stores a value at once, in a transaction of its own. */
export function storeNow(store: MemoryStore, value: string): Promise<void> {
  return transaction.run(() => store.set(value, true), { propagation: 'requires-new' });
}

/** Deletes everything at once, in a transaction of its own. */
export function emptyNow(store: MemoryStore): Promise<void> {
  return transaction.run(() => [...store.committed.keys()].forEach((key) => store.delete(key)), {
    propagation: 'requires-new',
  });
}

/** Changes what its savepoints do. */
export function withSavepoints(manager: Victim, change: (made: DataManagerSavepoint) => DataManagerSavepoint): void {
  const original = manager.savepoint.bind(manager);
  manager.savepoint = (txn) => change(original(txn) as DataManagerSavepoint);
}

export const nothing = (): void => undefined;
export const never = (): Promise<never> => new Promise(() => undefined);
export const fail = (): never => {
  throw new Error('broken');
};
