/** `unanimous/testing`: tests that are rolled back, the conformance suite of data managers, and data managers that record and fail. */
export { rollback, rollbackPerTest, TestSandbox } from './sandbox/rollback.ts';
export type { SandboxOptions } from './sandbox/sandbox.ts';
export type { Withheld } from './sandbox/withhold.ts';
export { dataManagerConformance } from './conformance.ts';
export type {
  Capabilities,
  ConformanceCheck,
  ConformanceSubject,
  FailingPhase,
  Failure,
  RecoverySubject,
} from './subject.ts';
export { ConformanceError, type ContractRule } from './rules.ts';
export { FaultyDataManager, faulty, type Fault } from './faulty.ts';
export { RecordingDataManager, recording, type RecordingOptions } from './recording.ts';
export type { DataManagerPhase } from './intercept.ts';
