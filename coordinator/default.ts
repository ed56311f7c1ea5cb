/** The process-wide coordinator. */
import { TransactionCoordinator } from './coordinator.ts';

/** Shared by all copies of this package in a process whose store has this shape; another shape takes another number. */
const SHARED = Symbol.for('unanimous.transaction.1');

const store = globalThis as { [SHARED]?: TransactionCoordinator };

/** The process-wide default coordinator: one, however many copies of the package a process has loaded. */
export const transaction: TransactionCoordinator = (store[SHARED] ??= new TransactionCoordinator());
