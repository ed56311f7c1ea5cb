/** A transactional map in memory, and its data manager: the one to read before writing another. */
export { MemoryDecisionLog, MemoryDecisionStore } from './decision-log.ts';
export { MemoryStore, type MemoryStoreOptions } from './store.ts';
