// A server that this process owns, whatever its kind: started on a free port, killed, restarted, and gone afterwards.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childrenOf, freePort, hasEnded, isRunning, sendSignal, serverEnvironment, type User } from './processes.ts';
import { startWatchdog, type Watchdog } from './watchdog.ts';

/** A running server that this process owns. */
export type EmbeddedServer = {
  readonly port: number;
  readonly dataDir: string;
  /** The id of the server's process, another one after each restart. */
  readonly pid: number;
  /** Sends a signal to the server and waits for its end; SIGKILL, the default, hits every process of it. */
  kill(signal?: 'SIGKILL' | 'SIGQUIT' | 'SIGINT' | 'SIGTERM'): Promise<void>;
  /** Starts the server again on the same port and data; stops it first when it still runs. */
  restart(): Promise<void>;
  /** Stops the server for good, and removes its folder. */
  stop(): Promise<void>;
};

/** What tells one kind of server from another. */
export type ServerParts = {
  /** As messages name it. */
  readonly name: string;
  readonly program: string;
  readonly folder: string;
  readonly dataDir: string;
  readonly watchdog: Watchdog;
  /** Whom it runs as; the user of this process by default. */
  readonly user?: User | undefined;
  /** How it is asked to end in good order. */
  readonly stopSignal: 'SIGINT' | 'SIGTERM';
  /** What it says where somebody else has its port. */
  readonly portTaken: RegExp;
  flags(port: number): readonly string[];
  /** Whether it accepts connections, given its process id and what it has said since it was started. */
  isReady(pid: number, said: () => string): boolean;
};

const startTimeoutMs = 30_000;
const stopTimeoutMs = 10_000;
const portAttempts = 5;

/** Opens something in a folder that is removed when it fails, and at the latest when this process ends. */
export async function inOwnFolder<T>(
  open: (folder: string, watchdog: Watchdog) => Promise<T>,
  pidFile?: string,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-'));
  const watchdog = startWatchdog(folder, pidFile);
  try {
    return await open(folder, watchdog);
  } catch (error) {
    await watchdog.finish();
    throw error;
  }
}

/** The process of a server, which start() starts. */
export class ServerProcess implements EmbeddedServer {
  port = 0;
  pid = 0;
  readonly dataDir: string;
  readonly #parts: ServerParts;
  #process: ChildProcess | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.dataDir = parts.dataDir;
  }

  /** Another process may take the free port before the server does, so a few ports are tried. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.port = await freePort();
      try {
        return await this.#launch();
      } catch (error) {
        if (attempt === portAttempts || !this.#parts.portTaken.test(String(error))) throw error;
      }
    }
  }

  async #launch(): Promise<void> {
    const { name, program, folder, user, watchdog } = this.#parts;
    const logFile = join(folder, 'server.log');
    const log = openSync(logFile, 'a');
    const logged = readFileSync(logFile).length;
    const said = (): string => readFileSync(logFile).subarray(logged).toString();
    const child = spawn(program, this.#parts.flags(this.port), {
      ...user,
      cwd: folder,
      env: serverEnvironment(),
      // A group of its own, so that Ctrl-C leaves it to this process and its watchdog to stop the server.
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    child.unref();
    let failure: Error | undefined;
    child.once('error', (error) => (failure = error));
    child.once('exit', () => watchdog.watch(0));
    if (child.pid === undefined) throw (await once(child, 'error'))[0] as Error;
    this.#process = child;
    this.pid = child.pid;
    watchdog.watch(child.pid);

    const deadline = performance.now() + startTimeoutMs;
    while (!this.#parts.isReady(this.pid, said)) {
      if (hasEnded(child) || failure !== undefined || performance.now() > deadline) {
        await this.kill();
        throw new Error(`${name} must start within ${startTimeoutMs} ms, but it said:\n${said()}`, { cause: failure });
      }
      await sleep(10);
    }
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (child === undefined || hasEnded(child)) return;
    const ended = once(child, 'exit');
    const backends = signal === 'SIGKILL' ? childrenOf(this.pid) : [];
    child.kill(signal);
    for (const pid of backends) sendSignal(pid, signal);
    child.ref();
    const timeout = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await ended;
    clearTimeout(timeout);
    // A process that has just died can hold the shared memory for a moment, and the next start would refuse.
    const deadline = performance.now() + stopTimeoutMs;
    while (backends.some(isRunning) && performance.now() < deadline) await sleep(5);
  }

  async restart(): Promise<void> {
    await this.kill(this.#parts.stopSignal);
    await this.#launch();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.kill(this.#parts.stopSignal).then(() => this.#parts.watchdog.finish());
    return this.#stopped;
  }
}
