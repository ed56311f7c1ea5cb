// Starts watchdog.mjs for a folder, and tells it about the server in there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** A process that outlives this one, to stop a server and to remove its folder. */
export type Watchdog = {
  /** Names the server that runs now; 0 when none does. */
  watch(pid: number): void;
  /** Has the server stopped and the folder removed now. */
  finish(): Promise<void>;
};

const finishTimeoutMs = 10_000;
const open = new Set<() => void>();

/**
 * Starts the watchdog of a folder. A server with a `pidFile` there is asked to end (SIGQUIT) and has until that file is
 * gone; any other is killed, with the processes of its group.
 */
export function startWatchdog(folder: string, pidFile = ''): Watchdog {
  const { NODE_OPTIONS: _options, ...env } = process.env;
  const child = spawn(process.execPath, [join(import.meta.dirname, 'watchdog.mjs'), folder, pidFile], {
    // In a session of its own, which neither Ctrl-C nor the end of the terminal reaches.
    detached: true,
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.unref();
  child.stdin.on('error', () => {});
  (child.stdin as unknown as { unref(): void }).unref();

  const finishAtExit = (): void => {
    // The line is written at once, which closing the pipe would not be any more.
    child.stdin.write('end\n');
    const deadline = performance.now() + finishTimeoutMs;
    while (existsSync(folder) && performance.now() < deadline) Atomics.wait(clock, 0, 0, 5);
  };
  if (open.size === 0) process.on('exit', atExit);
  if (open.size === 0) for (const signal of signals) process.on(signal, atSignal);
  open.add(finishAtExit);

  return {
    watch(pid) {
      if (child.stdin.writable) child.stdin.write(`${pid}\n`);
    },
    async finish() {
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit');
        child.ref();
        child.stdin.end();
        await exit;
      }
      open.delete(finishAtExit);
      if (open.size > 0) return;
      process.off('exit', atExit);
      for (const signal of signals) process.off(signal, atSignal);
    },
  };
}

const clock = new Int32Array(new SharedArrayBuffer(4));
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const signalNumbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };

function atExit(): void {
  for (const finish of open) finish();
}

function atSignal(signal: (typeof signals)[number]): void {
  // A program that listens itself decides when it ends.
  if (process.listenerCount(signal) === 1) process.exit(128 + signalNumbers[signal]);
}
