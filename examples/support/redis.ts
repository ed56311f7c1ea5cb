// A real Redis, or Valkey, for the examples and the tests: private, in a temporary folder, on a free port, and gone
// afterwards.
//
// Whatever ends this process, a watchdog stops the server and removes the folder.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findPrograms } from './processes.ts';
import { inOwnFolder, ServerProcess, type EmbeddedServer } from './server-process.ts';
import { ServerUnavailable } from './unavailable.ts';

/** What a server is started with. */
export type RedisOptions = {
  /** Flags of the server, such as `'--appendonly', 'yes'`; by default it keeps its data in memory alone. */
  readonly flags?: readonly string[];
};

/** A running server that this process owns. */
export type EmbeddedRedis = EmbeddedServer & {
  readonly url: string;
};

const defaultFlags = ['--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];

/** Starts a server, and resolves when it accepts connections; throws ServerUnavailable where none is installed. */
export async function startRedis(options: RedisOptions = {}): Promise<EmbeddedRedis> {
  const [program] = findPrograms(['redis-server', 'valkey-server']);
  if (program === undefined) {
    throw new ServerUnavailable('Redis is not to be had (not found on the machine): install redis-server');
  }
  return await inOwnFolder(async (folder, watchdog) => {
    const dataDir = join(folder, 'data');
    mkdirSync(dataDir);
    const server = new RedisProcess({
      name: 'Redis',
      program,
      folder,
      dataDir,
      watchdog,
      stopSignal: 'SIGTERM',
      portTaken: /Address already in use|Failed listening on port/,
      flags: (port) => [...defaultFlags, '--dir', dataDir, ...(options.flags ?? []), '--port', String(port)],
      isReady: (_pid, said) => said().includes('Ready to accept connections'),
    });
    await server.start();
    return server;
  });
}

class RedisProcess extends ServerProcess implements EmbeddedRedis {
  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }
}
