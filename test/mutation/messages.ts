// What Stryker's runner and a process that runs tests say to each other, and what the parts of such a process share.
import type { MutantCoverage } from './stryker.ts';

/** What a process is told when it is started, by its environment. */
export type Plan = {
  /** The modules that are mutated, bundled: loaded before any test is, so that what nothing but their loading runs is known. */
  readonly sources: readonly string[];
  /** The test files, bundled. */
  readonly files: readonly TestFile[];
  /** A mutant that is active already while all this is loaded. */
  readonly mutant?: string;
};

/** What a process says before each test. */
export const PROGRESS = 'on to the next test';

export type TestFile = { readonly name: string; readonly bundle: string };

/** What a process is told afterwards, each time that it shall run tests. */
export type Request = {
  /** Their ids in the order in which they are run; all as they come, where it is absent. */
  readonly tests?: readonly string[];
  /** Stops at the first test that fails, passes without the mutant, and fails again with it. */
  readonly bail: boolean;
  readonly mutant?: string;
  /** How often the mutant may be reached before it is taken for an endless loop. */
  readonly hitLimit?: number;
};

export type Outcome = {
  readonly id: string;
  readonly file: string;
  readonly suite: string;
  readonly name: string;
  readonly ms: number;
  readonly failure?: string;
};

export type Answer = {
  readonly tests: readonly Outcome[];
  /** What went wrong outside of the tests. */
  readonly broken?: string;
  /** The last test doesn't end. */
  readonly hangs: boolean;
  /** The test that failed fails without the mutant too: something is left of what ran before. */
  readonly failsWithout: boolean;
  readonly hits?: number;
  readonly coverage?: MutantCoverage;
};

/** What Stryker's instrumentation of the sources reads and writes. */
export type Instrumentation = {
  activeMutant?: string | undefined;
  currentTestId?: string | undefined;
  hitCount?: number | undefined;
  hitLimit?: number | undefined;
  mutantCoverage?: MutantCoverage;
};

const global = globalThis as unknown as { __stryker__?: Instrumentation };
export const instrumentation: Instrumentation = (global.__stryker__ ??= {});

/** The test file that is being loaded, which a suite belongs to. */
export const loading: { file: string } = { file: '' };

/** How what a file runs while it is loaded is told from what its tests run. */
export function loadingOf(file: string): string {
  return `loading ${file}`;
}

/** The same for the hooks of a suite. */
export function hooksOf(file: string, suite: string): string {
  return `hooks of ${file} > ${suite}`;
}
