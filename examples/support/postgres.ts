// A real PostgreSQL for the examples and the tests: private, in a temporary folder, on a free port, and gone afterwards.
//
// Whatever ends this process, a watchdog stops the server and removes the folder.
import { chownSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { executable, runTool, unprivilegedUser, usableBinaries } from './postgres-binaries.ts';
import { inOwnFolder, ServerProcess, type EmbeddedServer } from './server-process.ts';

/** What a server is started with. */
export type PostgresOptions = {
  /** Settings of postgresql.conf, added to the defaults below. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Databases that are created at once. */
  readonly databases?: readonly string[];
};

/** A running server that this process owns; its process is the postmaster. */
export type EmbeddedPostgres = EmbeddedServer & {
  /** The address of a database, which need not exist yet. */
  url(database?: string): string;
};

const pidFile = join('data', 'postmaster.pid');

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
  return await inOwnFolder(async (folder, watchdog) => {
    if (user !== undefined) chownSync(folder, user.uid, user.gid);
    const binaries = usableBinaries(folder, user);
    const dataDir = join(folder, 'data');
    // The data need not survive the machine, only the server, so nothing is synchronised before it starts.
    const flags = ['--no-sync', '--auth=trust', '--username=postgres', '--encoding=UTF8', '--locale=C'];
    runTool(binaries, 'initdb', ['-D', dataDir, ...flags], folder, user);
    const settings = { ...defaultSettings, unix_socket_directories: folder, ...options.settings };
    const server = new PostgresProcess({
      name: 'PostgreSQL',
      program: join(binaries, 'bin', executable('postgres')),
      folder,
      dataDir,
      watchdog,
      user,
      stopSignal: 'SIGINT',
      portTaken: /could not bind/,
      flags: (port) => ['-D', dataDir, ...asFlags({ ...settings, port })],
      isReady: (pid) => isReady(join(folder, pidFile), pid),
    });
    await server.start();
    if (options.databases !== undefined) await createDatabases(server, options.databases);
    return server;
  }, pidFile);
}

class PostgresProcess extends ServerProcess implements EmbeddedPostgres {
  url(database = 'postgres'): string {
    return `postgres://postgres@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }
}

function asFlags(settings: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** The eighth line of postmaster.pid says whether the server accepts connections, which pg_ctl relies on as well. */
function isReady(file: string, pid: number): boolean {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
  } catch {
    return false;
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
