// Plays a program on a coordinator, and holds it against the specification.
import { isDeepStrictEqual, inspect } from 'node:util';
import fc from 'fast-check';
import { type FuzzOptions, type Fuzzed, failureOf, parametersOf } from '../report.ts';
import { LibraryPlayer } from './library.ts';
import { type Program, programs } from './program.ts';
import { Specification } from './specification.ts';

/** Throws where a call, an answer, a report or what is stored isn't as specified. */
async function checkProgram(program: Program, done: Record<string, number>): Promise<void> {
  const specified = new Specification(program);
  const player = new LibraryPlayer(program);
  await player.play();
  done['operations'] = (done['operations'] ?? 0) + player.operations;
  done['calls'] = (done['calls'] ?? 0) + player.trace.length;
  const at = player.trace.findIndex((each, index) => each !== specified.trace[index]);
  if (at >= 0 || player.trace.length < specified.trace.length) {
    const from = at < 0 ? player.trace.length : at;
    throw new Error(
      [
        'what happens differs behind',
        ...specified.trace.slice(Math.max(0, from - 15), from).map((each) => `  ${each}`),
        `specified: ${specified.trace[from] ?? 'nothing more'}`,
        `happened:  ${player.trace[from] ?? 'nothing more'}`,
      ].join('\n'),
    );
  }
  compare('what is stored', player.stored, specified.stored);
  compare('what is reported', player.reports, specified.reports);
}

function compare(what: string, happened: unknown, specified: unknown): void {
  if (isDeepStrictEqual(happened, specified)) return;
  throw new Error(`${what} differs\nspecified: ${inspect(specified)}\nhappened:  ${inspect(happened)}`);
}

/** Plays programs until one differs, or all are through. */
export async function fuzzApi(options: FuzzOptions): Promise<Fuzzed> {
  const done: Record<string, number> = {};
  const details = await fc.check(
    fc.asyncProperty(programs, (program) => checkProgram(program, done)),
    parametersOf<[Program]>(options),
  );
  return { done, runs: details.numRuns, failure: details.failed ? failureOf(details) : undefined };
}
