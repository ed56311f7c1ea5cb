// A process that starts a server and then ends in some way, for tests of what it leaves behind.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NODE_ARGUMENTS, program } from '../program.ts';

/** How such a process ended, and what it had. */
export type Owner = { readonly code: number | null; readonly folder: string; readonly pid: number };

/** Calls the function of a module of examples/support, which starts a server, and then runs the code `end`. */
export async function owner(module: string, start: string, end: string): Promise<Owner> {
  const path = program(join(import.meta.dirname, '../../../examples/support', module));
  const source = `import { ${start} } from ${JSON.stringify(path)};
    const server = await ${start}();
    console.log(JSON.stringify({ folder: server.dataDir, pid: server.pid }));
    ${end}`;
  const child = spawn(process.execPath, [...NODE_ARGUMENTS, '--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  const { folder, pid } = JSON.parse(output) as { folder: string; pid: number };
  return { code, folder: dirname(folder), pid };
}

/** Whether there is such a process, which is more than a zombie that nobody has reaped. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0) && hasCommandLine(pid);
  } catch {
    return false;
  }
}

function hasCommandLine(pid: number): boolean {
  return process.platform !== 'linux' || readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== '';
}
