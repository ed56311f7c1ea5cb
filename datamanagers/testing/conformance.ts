/** The conformance suite: every rule of the contract of data managers, tried on a subject. */
import { abortChecks } from './checks/abort.ts';
import type { Check } from './checks/check.ts';
import { commitChecks } from './checks/commit.ts';
import { concurrencyChecks } from './checks/concurrency.ts';
import { failureChecks } from './checks/failures.ts';
import { joiningChecks } from './checks/joining.ts';
import { lateChecks } from './checks/late.ts';
import { othersChecks } from './checks/others.ts';
import { readOnlyChecks } from './checks/read-only.ts';
import { recoveryChecks } from './checks/recovery.ts';
import { savepointChecks } from './checks/savepoints.ts';
import { wayChecks } from './checks/ways.ts';
import { checkSubject } from './check-subject.ts';
import { ConformanceError } from './rules.ts';
import type { ConformanceCheck, ConformanceSubject } from './subject.ts';
import { type AnySubject, runTrial } from './trial.ts';

const ALL: readonly Check[] = [
  ...joiningChecks,
  ...commitChecks,
  ...wayChecks,
  ...readOnlyChecks,
  ...abortChecks,
  ...othersChecks,
  ...savepointChecks,
  ...failureChecks,
  ...lateChecks,
  ...concurrencyChecks,
  ...recoveryChecks,
];

/**
 * The checks of a data manager, to be registered with any test runner. Which there are follows from what it can do; one that needs
 * something which the subject doesn't offer has a reason to be skipped.
 *
 * ```ts
 * for (const { name, skip, run } of dataManagerConformance(subject)) test(name, { skip }, run); // node:test
 * ```
 *
 * @throws ConfigurationError for a subject that is none.
 */
export function dataManagerConformance<R>(subject: ConformanceSubject<R>): readonly ConformanceCheck[] {
  checkSubject(subject);
  // What `open` makes is handed to nothing but the subject's own functions.
  const any = subject as unknown as AnySubject;
  return ALL.filter((check) => check.appliesTo?.(any.capabilities) ?? true).map((check) => {
    const skip = check.skip?.(any);
    return {
      name: check.name,
      skip,
      run: () => (skip === undefined ? runTrial(any, check.run) : Promise.reject(notChecked(skip))),
    };
  });
}

function notChecked(reason: string): ConformanceError {
  return new ConformanceError(undefined, `not checked: ${reason}`);
}
