// A real PostgreSQL for the examples and the tests: private, in a temporary folder, on a free port, and gone afterwards.
//
// Whatever ends this process, a watchdog stops the server and removes the folder.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, closeSync, mkdtempSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { environment, executable, runTool, unprivilegedUser, usableBinaries, type User } from './postgres-binaries.ts';
import { startWatchdog, type Watchdog } from './watchdog.ts';

/** What a server is started with. */
export type PostgresOptions = {
  /** Settings of postgresql.conf, added to the defaults below. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Databases that are created at once. */
  readonly databases?: readonly string[];
};

/** A running server that this process owns. */
export type EmbeddedPostgres = {
  readonly port: number;
  readonly dataDir: string;
  /** The process id of the postmaster, another one after each restart. */
  readonly pid: number;
  /** The address of a database, which need not exist yet. */
  url(database?: string): string;
  /** Sends a signal to the postmaster and waits for the end of the server; SIGKILL, the default, hits every process. */
  kill(signal?: 'SIGKILL' | 'SIGQUIT' | 'SIGINT' | 'SIGTERM'): Promise<void>;
  /** Starts the server again on the same port and data; stops it first when it still runs. */
  restart(): Promise<void>;
  /** Stops the server for good, and removes its folder. */
  stop(): Promise<void>;
};

const startTimeoutMs = 30_000;
const stopTimeoutMs = 10_000;
const portAttempts = 5;

const defaultSettings = {
  listen_addresses: '127.0.0.1',
  max_prepared_transactions: 50,
  max_connections: 100,
  fsync: 'on',
  // Examples and tests hold little data, and several servers may run side by side.
  shared_buffers: '32MB',
};

/** Starts a server, and resolves when it accepts connections. */
export async function startEmbeddedPostgres(options: PostgresOptions = {}): Promise<EmbeddedPostgres> {
  const user = unprivilegedUser();
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-'));
  const watchdog = startWatchdog(folder);
  try {
    if (user !== undefined) chownSync(folder, user.uid, user.gid);
    const binaries = usableBinaries(folder, user);
    const dataDir = join(folder, 'data');
    // The data need not survive the machine, only the server, so nothing is synchronised before it starts.
    const flags = ['--no-sync', '--auth=trust', '--username=postgres', '--encoding=UTF8', '--locale=C'];
    runTool(binaries, 'initdb', ['-D', dataDir, ...flags], folder, user);
    const server = new Server({ binaries, folder, dataDir, user, watchdog, settings: options.settings ?? {} });
    await server.start();
    if (options.databases !== undefined) await createDatabases(server, options.databases);
    return server;
  } catch (error) {
    await watchdog.finish();
    throw error;
  }
}

async function createDatabases(server: EmbeddedPostgres, names: readonly string[]): Promise<void> {
  const client = new pg.Client(server.url());
  await client.connect();
  try {
    for (const name of names) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}

type ServerParts = {
  readonly binaries: string;
  readonly folder: string;
  readonly dataDir: string;
  readonly user: User | undefined;
  readonly watchdog: Watchdog;
  readonly settings: Readonly<Record<string, string | number>>;
};

class Server implements EmbeddedPostgres {
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

  url(database = 'postgres'): string {
    return `postgres://postgres@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  /** Another process may take the free port before the server does, so a few ports are tried. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.port = await freePort();
      try {
        return await this.#launch();
      } catch (error) {
        if (attempt === portAttempts || !/could not bind/.test(String(error))) throw error;
      }
    }
  }

  async #launch(): Promise<void> {
    const { binaries, folder, user, watchdog, settings } = this.#parts;
    const logFile = join(folder, 'postgres.log');
    const log = openSync(logFile, 'a');
    const logged = readFileSync(logFile).length;
    const all = { ...defaultSettings, unix_socket_directories: folder, ...settings, port: this.port };
    const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = spawn(join(binaries, 'bin', executable('postgres')), ['-D', this.dataDir, ...flags], {
      ...user,
      cwd: folder,
      env: environment(),
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
    while (!this.#isReady()) {
      if (hasEnded(child) || failure !== undefined || performance.now() > deadline) {
        const said = readFileSync(logFile).subarray(logged).toString();
        await this.kill();
        throw new Error(`PostgreSQL must start within ${startTimeoutMs} ms, but it said:\n${said}`, { cause: failure });
      }
      await sleep(10);
    }
  }

  /** The eighth line of postmaster.pid says whether the server accepts connections, which pg_ctl relies on as well. */
  #isReady(): boolean {
    try {
      const lines = readFileSync(join(this.dataDir, 'postmaster.pid'), 'utf8').split('\n');
      return lines[0] === String(this.pid) && lines[7]?.trim() === 'ready';
    } catch {
      return false;
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
    await this.kill('SIGINT');
    await this.#launch();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.kill('SIGINT').then(() => this.#parts.watchdog.finish());
    return this.#stopped;
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** The backends lead sessions of their own, so that no signal to a process group reaches them. */
function childrenOf(parent: number): number[] {
  if (platform() === 'linux') {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 0 && parentOf(pid) === parent);
  }
  const { stdout } = spawnSync('pgrep', ['-P', String(parent)], { encoding: 'utf8' });
  return (stdout ?? '')
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
}

function parentOf(pid: number): number | undefined {
  return statusOf(pid)?.parent;
}

/** An orphan that has ended but is not reaped yet still receives signals, so its state has to be asked for. */
function isRunning(pid: number): boolean {
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
