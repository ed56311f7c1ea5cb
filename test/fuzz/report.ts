// What is tried, and what is said about it.
import type { Parameters, RunDetails } from 'fast-check';

/** Which programs, and how many. */
export interface FuzzOptions {
  readonly runs: number;
  readonly seed: number;
  /** Where to begin, as a failure has said. */
  readonly path?: string | undefined;
  /** After how many milliseconds it ends, be it through or not. */
  readonly limitMs?: number | undefined;
  /** Whether it ends with the first program that fails, in place of looking for a smaller one. */
  readonly unshrunk?: boolean | undefined;
}

/** What came of it. */
export interface Fuzzed {
  readonly done: Readonly<Record<string, number>>;
  readonly runs: number;
  /** What was found, and how to find it again; undefined where nothing was. */
  readonly failure: string | undefined;
}

/** What fast-check is told of it. */
export function parametersOf<T>({ runs, seed, path, limitMs, unshrunk }: FuzzOptions): Parameters<T> {
  return {
    numRuns: runs,
    seed,
    ...(path === undefined ? {} : { path }),
    ...(limitMs === undefined ? {} : { interruptAfterTimeLimit: limitMs }),
    ...(unshrunk === true ? { endOnFailure: true } : {}),
  };
}

/** What a failure is, in a form in which it can be played again; undefined where the time was up. */
export function failureOf<T>(details: RunDetails<T>): string | undefined {
  const { counterexample, counterexamplePath, seed, numShrinks, errorInstance } = details;
  if (counterexample === null) return undefined;
  const why = errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance);
  return [
    `found with --seed ${seed} --path ${counterexamplePath}, shrunk ${numShrinks} times:`,
    JSON.stringify(counterexample),
    why,
  ].join('\n');
}
