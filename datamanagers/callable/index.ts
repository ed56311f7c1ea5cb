/** Functions that take part in a transaction; exported by `unanimous` itself. */
export {
  CallableDataManager,
  type CallableDataManagerOptions,
  type CallableOptions,
  type Callables,
  type TransactionCallable,
} from './data-manager.ts';
export { onAbort, onFinish, onVote, type CallableJoinOptions } from './functions.ts';
