// What the operating system says about processes and ports.
import { spawnSync, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { platform } from 'node:os';
import { delimiter, join } from 'node:path';

/** Whom a server runs as. */
export type User = { readonly uid: number; readonly gid: number };

/** Whether a child of this process has ended. */
export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** Sends a signal; false where there is no such process. */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** The processes whose parent it is; they may lead sessions of their own, which no signal to a process group reaches. */
export function childrenOf(parent: number): number[] {
  if (platform() === 'linux') {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 0 && statusOf(pid)?.parent === parent);
  }
  const { stdout } = spawnSync('pgrep', ['-P', String(parent)], { encoding: 'utf8' });
  return (stdout ?? '')
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
}

/** An orphan that has ended but is not reaped yet still receives signals, so its state has to be asked for. */
export function isRunning(pid: number): boolean {
  if (platform() === 'linux') return (statusOf(pid)?.state ?? 'Z') !== 'Z';
  return sendSignal(pid, 0);
}

function statusOf(pid: number): { state: string; parent: number } | undefined {
  try {
    // The name before it, in parentheses, may contain anything.
    const [state = '', parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

const portAttempts = 100;

/**
 * A port of 127.0.0.1 that nobody listens on. It is below those that systems hand out to outgoing connections (from 32768
 * on), since one of these could take the port of a server that is down for a moment; and so is the port 10,000 above it,
 * where a node of a Redis Cluster listens too.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(10_000, 22_768);
    if (await isFree(port)) return port;
    if (attempt === portAttempts) throw new Error(`a port must be free, but ${portAttempts} of them weren't`);
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}

/** Where servers are installed that a user's PATH may leave out. */
const serverFolders = ['/usr/sbin', '/usr/local/sbin', '/usr/libexec', '/usr/local/bin', '/opt/homebrew/bin'];

/** The paths of the programs of these names on PATH and where servers are usually installed, the first name first. */
export function findPrograms(names: readonly string[], extraFolders: readonly string[] = []): string[] {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const folders = [...new Set([...extraFolders, ...onPath, ...serverFolders])];
  const suffix = platform() === 'win32' ? '.exe' : '';
  return names
    .flatMap((name) => folders.map((folder) => join(folder, `${name}${suffix}`)))
    .filter((path) => existsSync(path));
}

/** What servers see of the environment: no variables that would override their flags, and English messages. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PG|MYSQL|MARIADB|LC_|LANG|NODE_)/.test(name));
  return { ...Object.fromEntries(kept), LC_ALL: 'C' };
}
