// How a program of the tests is started as a process of its own: from the JavaScript that test/run.ts has made of all sources, because a process
// that compiles what it imports spends more on that than on most tests. Where nothing was made, as when a test file is run by hand, by tsx.
import { join, relative } from 'node:path';

/** Where test/run.ts says where the JavaScript is. */
export const COMPILED = 'UNANIMOUS_TEST_COMPILED';

const root = join(import.meta.dirname, '../..');
const compiled = process.env[COMPILED];

/** What Node.js is to be told that runs a {@link program}. */
export const NODE_ARGUMENTS: readonly string[] = argumentsFor(compiled);

/** The file to be run for a source. */
export function program(source: string): string {
  return compiled === undefined ? source : compiledFile(compiled, relative(root, source));
}

/** What Node.js is to be told that runs compiled sources, or sources where there are none. */
export function argumentsFor(folder: string | undefined): readonly string[] {
  return folder === undefined ? ['--import', 'tsx'] : ['--enable-source-maps'];
}

/** Where the JavaScript of a source is, whose path starts at the root. */
export function compiledFile(folder: string, path: string): string {
  return join(folder, path.replace(/\.ts$/, '.js'));
}
