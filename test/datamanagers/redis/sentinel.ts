// A sentinel that watches a Redis, for one test file.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findPrograms } from '../../../examples/support/processes.ts';
import { ServerProcess, inOwnFolder, type EmbeddedServer } from '../../../examples/support/server-process.ts';

/** What the sentinel calls the servers that it watches. */
export const MASTER_NAME = 'mymaster';

/** Starts a sentinel that knows a master, and resolves when it watches it. */
export async function startSentinel(masterPort: number): Promise<EmbeddedServer> {
  // The server program is the sentinel too.
  const [program] = findPrograms(['redis-server', 'valkey-server']);
  return inOwnFolder(async (folder, watchdog) => {
    const file = join(folder, 'sentinel.conf');
    writeFileSync(
      file,
      [
        'bind 127.0.0.1',
        `dir ${folder}`,
        `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${masterPort} 1`,
        `sentinel down-after-milliseconds ${MASTER_NAME} 500`,
        `sentinel failover-timeout ${MASTER_NAME} 2000`,
        '',
      ].join('\n'),
    );
    const sentinel = new ServerProcess({
      name: 'Redis Sentinel',
      program: program!,
      folder,
      dataDir: folder,
      watchdog,
      stopSignal: 'SIGTERM',
      portTaken: /Address already in use|Failed listening on port/,
      flags: (port) => [file, '--sentinel', '--port', String(port)],
      isReady: (_pid, said) => said().includes('+monitor master'),
    });
    await sentinel.start();
    return sentinel;
  });
}
