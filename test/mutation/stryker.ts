// What Stryker and a test runner of its say to each other, as far as it is used here. Its own types don't pass under our compiler options.

/** How often each mutant was reached, by its id. */
export type Hits = Record<string, number>;
export type MutantCoverage = { readonly static: Hits; readonly perTest: Record<string, Hits> };

const testStatus = { success: 0, failed: 1 } as const;

type TestResult = {
  readonly id: string;
  readonly name: string;
  readonly fileName: string;
  readonly timeSpentMs: number;
  readonly status: number;
  readonly failureMessage?: string;
};

export type DryRunResult =
  | { readonly status: 'complete'; readonly tests: readonly TestResult[]; readonly mutantCoverage: MutantCoverage }
  | { readonly status: 'error'; readonly errorMessage: string }
  | { readonly status: 'timeout' };

export type MutantRunOptions = {
  readonly activeMutant: { readonly id: string };
  /** The tests that reach it; absent where it is reached by loading. */
  readonly testFilter?: readonly string[];
  readonly hitLimit?: number;
  readonly mutantActivation: 'runtime' | 'static';
};

export type MutantRunResult =
  | { readonly status: 'survived'; readonly nrOfTests: number }
  | {
      readonly status: 'killed';
      readonly killedBy: readonly string[];
      readonly failureMessage: string;
      readonly nrOfTests: number;
    }
  | { readonly status: 'timeout' };

export type TestRunner = {
  capabilities(): { readonly reloadEnvironment: boolean };
  init(): Promise<void>;
  dryRun(): Promise<DryRunResult>;
  mutantRun(options: MutantRunOptions): Promise<MutantRunResult>;
  dispose(): Promise<void>;
};

/** A test as Stryker wants it told. */
export function testResult(
  { id, name, file, ms }: { readonly id: string; readonly name: string; readonly file: string; readonly ms: number },
  failure: string | undefined,
): TestResult {
  const result = { id, name, fileName: file, timeSpentMs: ms };
  if (failure === undefined) return { ...result, status: testStatus.success };
  return { ...result, status: testStatus.failed, failureMessage: failure };
}

/** How a plugin makes a test runner known. */
export function testRunnerPlugin(name: string, injectableClass: new () => TestRunner): object {
  return { kind: 'TestRunner', name, injectableClass };
}
