/** Checks what the author of a data manager hands in. */
import { ConfigurationError, describe, list } from '../../coordinator/errors.ts';
import { aBoolean, aDelay, aFunction, checkOptions, type Rule, type Rules } from '../../coordinator/options.ts';
import { aCoordinator } from '../../coordinator/session.ts';
import type { Capabilities, ConformanceSubject, FailingPhase, RecoverySubject } from './subject.ts';

const anObject: Rule = { requires: 'an object', accepts: (value) => typeof value === 'object' && value !== null };
const anArrayOfErrors = (value: unknown): boolean =>
  Array.isArray(value) && value.every((each) => each instanceof Error);
const aReason: Rule = {
  requires: 'a function, or a string that says why there is none',
  accepts: (value) => typeof value === 'function' || (typeof value === 'string' && value !== ''),
};

const subjectRules: Rules<ConformanceSubject<unknown>> = {
  capabilities: anObject,
  open: aFunction,
  close: aFunction,
  write: aFunction,
  stored: aFunction,
  read: aFunction,
  held: aFunction,
  failures: anObject,
  conflict: aReason,
  errors: {
    requires: 'an object with the arrays of errors transient and permanent',
    accepts: (value) => {
      const errors = value as { transient?: unknown; permanent?: unknown } | null;
      return typeof errors === 'object' && anArrayOfErrors(errors?.transient) && anArrayOfErrors(errors?.permanent);
    },
  },
  recovery: anObject,
  coordinator: aCoordinator,
  timeoutMs: aDelay,
};

const capabilityRules: Rules<Capabilities> = {
  savepoints: aBoolean,
  readOnlyVote: aBoolean,
  lastResource: aBoolean,
  onePhase: aBoolean,
  recoverable: aBoolean,
  readsOwnWrites: aBoolean,
};

const failureRules: Rules<Record<FailingPhase, unknown>> = {
  work: aReason,
  savepoint: aReason,
  rollback: aReason,
  tpcBegin: aReason,
  commit: aReason,
  tpcVote: aReason,
  tpcFinish: aReason,
  tpcAbort: aReason,
  abort: aReason,
};

const recoveryRules: Rules<RecoverySubject<unknown>> = { resource: aFunction, crash: aReason, foreign: aReason };

/** @throws ConfigurationError naming what is missing or can't be. */
export function checkSubject(subject: object): void {
  const { capabilities, failures, recovery } = subject as Partial<ConformanceSubject<unknown>>;
  checkOptions('dataManagerConformance()', subject, subjectRules);
  demandAll('dataManagerConformance()', subject, ['capabilities', 'open', 'close', 'write', 'stored']);
  checkOptions('capabilities', capabilities, capabilityRules);
  demandAll('capabilities', capabilities!, Object.keys(capabilityRules));
  if (failures !== undefined) checkOptions('failures', failures, failureRules);
  if (recovery === undefined) return;
  checkOptions('recovery', recovery, recoveryRules);
  demandAll('recovery', recovery, ['resource']);
}

function demandAll(where: string, given: object, keys: readonly string[]): void {
  const missing = keys.filter((key) => (given as Record<string, unknown>)[key] === undefined);
  if (missing.length === 0) return;
  throw new ConfigurationError(
    `${where} takes an object with ${list(keys)}; ${describe(given)} lacks ${list(missing)}`,
  );
}
