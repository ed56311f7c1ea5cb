// Lets a program look for mistakes that were put into the sources, so that its silence means something where there are none.
import { spawn } from 'node:child_process';
import { type Change, withChanges } from './compile.ts';

export type { Change } from './compile.ts';

/** How a program has ended, and all that it has said. */
export type Said = { readonly code: number | null; readonly output: string };

/** Runs a program of the tests with changes of its sources. */
export function runChanged(
  main: string,
  changes: readonly Change[],
  args: readonly string[],
  timeoutMs?: number,
): Promise<Said> {
  return withChanges(main, changes, async (file) => {
    const child = spawn(process.execPath, [file, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(timeoutMs === undefined ? {} : { timeout: timeoutMs, killSignal: 'SIGKILL' }),
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, output };
  });
}
