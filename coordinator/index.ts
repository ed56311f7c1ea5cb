/** `unanimous`: the coordinator, its contracts and its errors. */
export { transaction } from './default.ts';
export { TransactionCoordinator, type CoordinatorOptions, type RecoveryOptions } from './coordinator.ts';
export type { RecoveryReport } from './recovery.ts';
export { TransactionManager, type ManagerOptions } from './manager.ts';
export type { Attempt } from './run.ts';
export { Transaction } from './transaction.ts';
export { Savepoint } from './savepoint.ts';
export type { Status } from './status.ts';
export type { OnError } from './report.ts';
export { register, markChanged, joinTransaction, sessionState } from './session.ts';
export {
  observe,
  type EndEvent,
  type ResourceEvent,
  type TransactionEvent,
  type TransactionEventName,
  type TransactionEvents,
  type TransactionListeners,
} from './events.ts';
export { logTransactions, type LogLevel, type LogOptions, type TransactionLogger } from './log.ts';
export type { CoordinatorInspection, ResourceInspection, TransactionInspection } from './inspect.ts';
export type { TransactionWarning, WatchOptions } from './watch.ts';
export { UnitOfWork } from './unit-of-work.ts';
export { expectUpdated, type UpdateDetails } from './optimistic.ts';
export type { Xid } from './xid.ts';
export {
  Transactional,
  ensureTransaction,
  isolatedContext,
  isolatedTask,
  requiresTransaction,
  transactional,
  type IsolatedTaskOptions,
  type TransactionalDecorator,
  type TransactionalOptions,
} from './transactional.ts';
export {
  CallableDataManager,
  onAbort,
  onCommit,
  onFinish,
  onVote,
  outboxed,
  type CallableDataManagerOptions,
  type CallableJoinOptions,
  type CallableOptions,
  type Callables,
  type CommitHookOptions,
  type OutboxedDelivery,
  type OutboxedFunction,
  type OutboxedHandler,
  type OutboxedOptions,
  type TransactionCallable,
} from '../datamanagers/callable/index.ts';
export {
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  type MemoryStoreOptions,
} from '../datamanagers/memory/index.ts';
export type * from './types.ts';
export {
  AcquireTimeoutError,
  AlreadyInTransaction,
  CommitOutcomeUnknownError,
  ConcurrentUseError,
  ConfigurationError,
  ConnectionLostError,
  DecisionFailedError,
  DoomedTransaction,
  FencedError,
  HeuristicError,
  InDoubtError,
  InvalidSavepointRollbackError,
  NoTransaction,
  RecoveryWarning,
  OptimisticLockError,
  SavepointsUnsupportedError,
  SilentRollbackError,
  TooManyLastResourcesError,
  TransactionClosed,
  TransactionError,
  TransactionFailedError,
  TransactionStateError,
  TransactionTimeoutError,
  TransientError,
  type InDoubtDetails,
  type Phase,
  type RecoveryWarningDetails,
  type TransactionErrorOptions,
} from './errors.ts';
