// What the servers of all kinds have in common: where nothing is to be had, it is installed or skipped aloud.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import type { EmbeddedServer } from '../../../examples/support/server-process.ts';
import { ServerUnavailable } from '../../../examples/support/unavailable.ts';

/** How the runner tells the files where the server of a kind is, or why there is none. */
export type Variables = { readonly url: string; readonly missing: string };

/** Throws what the runner found out: that there is no such server. */
export function throwIfMissing(variables: Variables): void {
  const missing = process.env[variables.missing];
  if (missing !== undefined) throw new ServerUnavailable(missing);
}

/** The file is skipped where no such server is to be had. */
export async function orSkip<T>(start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof ServerUnavailable)) throw error;
    // Imported here, because the runner uses this module too, and has no tests.
    const { skipFile } = await import('../suite.ts');
    return skipFile(error.message);
  }
}

/** Starts a server, after an attempt to install it where it isn't. */
export async function startOrInstall<T>(start: () => Promise<T>, packageName: string): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof ServerUnavailable) || !installOnDebian(packageName)) throw error;
    return await start();
  }
}

/** Adds the controls of an embedded server to what tests see of it. */
export function withControls<T extends object>(server: EmbeddedServer, own: T): T & Omit<EmbeddedServer, keyof T> {
  const controls: EmbeddedServer = {
    get port() {
      return server.port;
    },
    get pid() {
      return server.pid;
    },
    dataDir: server.dataDir,
    kill: (signal) => server.kill(signal),
    restart: () => server.restart(),
    stop: () => server.stop(),
  };
  // The process id changes, so that the getters themselves are handed on.
  return Object.defineProperties(own, Object.getOwnPropertyDescriptors(controls)) as T & EmbeddedServer;
}

const policy = '/usr/sbin/policy-rc.d';

function installOnDebian(name: string): boolean {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false;
  console.log(`installing ${name}, which the tests need, by apt-get`);
  const options = { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
  // Several files may come here at once.
  const wait = ['-o', 'DPkg::Lock::Timeout=300'];
  const run = (...flags: string[]): boolean => spawnSync('apt-get', [...wait, ...flags], options).status === 0;
  // The package would start a service on the standard port, which Debian asks this script about: 101 forbids it.
  const forbid = !existsSync(policy);
  if (forbid) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return run('update', '-q') && run('install', '-y', '-q', '--no-install-recommends', name);
  } finally {
    if (forbid) rmSync(policy, { force: true });
  }
}
