// What is tried, and what is said about it.
import type fc from 'fast-check';

/** Which programs, and how many. */
export interface FuzzOptions {
  readonly runs: number;
  readonly seed: number;
  /** Where to begin, as a failure has said. */
  readonly path?: string | undefined;
  /** After how many milliseconds it ends, be it through or not. */
  readonly limitMs?: number | undefined;
}

/** What came of it. */
export interface Fuzzed {
  readonly done: Readonly<Record<string, number>>;
  readonly runs: number;
  /** What was found, and how to find it again; undefined where nothing was. */
  readonly failure: string | undefined;
}

/** What a failure is, in a form in which it can be played again; undefined where the time was up. */
export function failureOf<T>(details: fc.RunDetails<T>): string | undefined {
  const { counterexample, counterexamplePath, seed, numShrinks, errorInstance } = details;
  if (counterexample === null) return undefined;
  const why = errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance);
  return [
    `found with --seed ${seed} --path ${counterexamplePath}, shrunk ${numShrinks} times:`,
    JSON.stringify(counterexample),
    why,
  ].join('\n');
}
