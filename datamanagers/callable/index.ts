/** Functions that take part in a transaction; exported by `unanimous` itself. */
export {
  CallableDataManager,
  type CallableDataManagerOptions,
  type CallableOptions,
  type Callables,
  type TransactionCallable,
} from './data-manager.ts';
export { onAbort, onCommit, onFinish, onVote, type CallableJoinOptions, type CommitHookOptions } from './functions.ts';
export {
  outboxed,
  type OutboxedDelivery,
  type OutboxedFunction,
  type OutboxedHandler,
  type OutboxedOptions,
} from './outboxed.ts';
