// Random scripts over one or several databases, each played through the library and by hand.
import fc from 'fast-check';
import { type Done, checkScript } from './check.ts';
import { type FuzzOptions, type Fuzzed, failureOf, parametersOf } from '../report.ts';
import type { Dialect } from './dialect.ts';
import { type Form, type Script, scripts } from './script.ts';

const FORMS: readonly Form[] = ['plain', 'plain', 'config', 'callback', 'array', 'named'];

/** Plays scripts until one differs, or all are through. */
export async function fuzzSql(dialects: readonly Dialect[], options: FuzzOptions): Promise<Fuzzed> {
  const done: Done = { transactions: 0, answers: 0, failures: 0, retries: 0 };
  const scope = {
    themes: Math.min(...dialects.map(({ themes }) => themes.length)),
    databases: dialects.length,
    forms: FORMS.filter((form) => dialects.every(({ forms }) => forms.includes(form))).filter(
      // Which of several connections has prepared what is left to chance.
      (form) => dialects.length === 1 || form !== 'named',
    ),
    hasCursors: dialects.every(({ hasCursors }) => hasCursors),
  };
  const property = fc.asyncProperty(scripts(scope), (script) => checkScript(dialects, script, done));
  const details = await fc.check(property, parametersOf<[Script]>(options));
  return { done: { ...done }, runs: details.numRuns, failure: details.failed ? failureOf(details) : undefined };
}
