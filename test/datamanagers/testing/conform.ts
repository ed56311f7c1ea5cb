// Registers the conformance suite for a data manager: `conform(test, subject)`. What can't be checked is skipped aloud.
import { type ConformanceSubject, dataManagerConformance } from 'unanimous/testing';
import type { Test } from '../../support/suite.ts';

export function conform<R>(test: Test, subject: ConformanceSubject<R>, prefix = ''): void {
  for (const { name, skip, run } of dataManagerConformance(subject)) {
    if (skip === undefined) test(`${prefix}${name}`, { timeoutMs: 60_000 }, run);
    else test.skipOnPlatform(skip, `${prefix}${name}`);
  }
}
