// A real MariaDB, or Oracle's MySQL, for the examples and the tests: private, in a temporary folder, on a free port, and
// gone afterwards.
//
// Whatever ends this process, a watchdog stops the server and removes the folder.
import { join } from 'node:path';
import mysql from 'mysql2/promise';
import { createDataDir, findMariadb, tmpFlag, userFlags, type Product } from './mariadb-binaries.ts';
import { inOwnFolder, ServerProcess, type EmbeddedServer } from './server-process.ts';

/** What a server is started with. */
export type MariadbOptions = {
  /** Whose server; by default MariaDB, or else MySQL. */
  readonly product?: Product;
  /** Flags of the server, such as `--innodb-lock-wait-timeout=1`, which override the defaults below. */
  readonly flags?: readonly string[];
  /** Databases that are created at once. */
  readonly databases?: readonly string[];
};

/** A running server that this process owns. */
export type EmbeddedMariadb = EmbeddedServer & {
  readonly product: Product;
  /** The address of a database, which need not exist yet, for its user root, who has no password; without one, of none. */
  url(database?: string): string;
};

const defaultFlags = [
  '--bind-address=127.0.0.1',
  // Seen from the data folder: a whole path may be longer than the address of a socket can be.
  '--socket=server.sock',
  '--skip-name-resolve',
  '--max-connections=300',
  '--character-set-server=utf8mb4',
  '--innodb-flush-log-at-trx-commit=1',
  // Examples and tests hold little data, and several servers may run side by side.
  '--innodb-buffer-pool-size=32M',
  '--innodb-use-native-aio=0',
];

const productFlags = {
  mariadb: ['--innodb-log-file-size=16M'],
  mysql: ['--mysqlx=OFF', '--secure-file-priv=NULL', '--loose-innodb-redo-log-capacity=16M'],
};

/** Starts a server, and resolves when it accepts connections; throws ServerUnavailable where none is installed. */
export async function startMariadb(options: MariadbOptions = {}): Promise<EmbeddedMariadb> {
  const found = findMariadb(options.product);
  return await inOwnFolder(async (folder, watchdog) => {
    const dataDir = join(folder, 'data');
    await createDataDir(found, dataDir, watchdog);
    const flags = [...defaultFlags, ...productFlags[found.product], ...(options.flags ?? [])];
    const pidFile = join(folder, 'server.pid');
    const server = new MariadbProcess({
      name: found.product === 'mariadb' ? 'MariaDB' : 'MySQL',
      program: found.program,
      folder,
      dataDir,
      watchdog,
      stopSignal: 'SIGTERM',
      portTaken: /Bind on TCP\/IP port/,
      flags: (port) => [
        '--no-defaults',
        ...userFlags(),
        `--datadir=${dataDir}`,
        tmpFlag(folder),
        `--pid-file=${pidFile}`,
        ...flags,
        `--port=${port}`,
      ],
      isReady: (_pid, said) => said().includes('ready for connections'),
    });
    server.product = found.product;
    await server.start();
    if (options.databases !== undefined) await createDatabases(server, options.databases);
    return server;
  });
}

class MariadbProcess extends ServerProcess implements EmbeddedMariadb {
  product: Product = 'mariadb';

  url(database = ''): string {
    return `mysql://root@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }
}

async function createDatabases(server: EmbeddedMariadb, names: readonly string[]): Promise<void> {
  const connection = await mysql.createConnection(server.url());
  try {
    for (const name of names) await connection.query(`CREATE DATABASE ${mysql.escapeId(name, true)}`);
  } finally {
    await connection.end();
  }
}
