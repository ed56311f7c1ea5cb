// Database servers on machines of the network. Tests look at them past the network, by their sockets in the file system, so that nothing
// that happens to packets happens to what is looked at.
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  lchownSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import driver from 'mysql2/promise';
import pg from 'pg';
import { createDataDir, findMariadb, tmpFlag, userFlags } from '../../examples/support/mariadb-binaries.ts';
import type { User } from '../../examples/support/processes.ts';
import { executable, runTool, unprivilegedUser, usableBinaries } from '../../examples/support/postgres-binaries.ts';
import { type EmbeddedServer, inOwnFolder, ServerProcess } from '../../examples/support/server-process.ts';
import { startOrInstall } from '../support/servers/install.ts';
import type { Host } from './network.ts';

export type Settings = Readonly<Record<string, string | number>>;

/** A server on a host. */
export interface HostedServer extends EmbeddedServer {
  readonly host: Host;
  /** The address of a database, as other hosts see it. */
  url(database: string): string;
  /** The address of the same past the network. */
  insideUrl(database: string): string;
}

// A machine of its own has all ports for itself.
export const PG_PORT = 5432;
const MARIADB_PORT = 3306;
const PG_PID_FILE = join('data', 'postmaster.pid');
const PG_DEFAULTS: Settings = {
  listen_addresses: '*',
  max_connections: 200,
  max_prepared_transactions: 200,
  max_wal_senders: 5,
  shared_buffers: '16MB',
  min_wal_size: '5MB',
  max_wal_size: '64MB',
  wal_keep_size: '64MB',
  deadlock_timeout: '50ms',
  lock_timeout: '1500ms',
};

const MARIADB_FLAGS = [
  '--bind-address=0.0.0.0',
  '--socket=server.sock',
  '--skip-name-resolve',
  '--max-connections=300',
  '--character-set-server=utf8mb4',
  '--innodb-flush-log-at-trx-commit=1',
  '--innodb-buffer-pool-size=32M',
  '--innodb-use-native-aio=0',
  '--innodb-log-file-size=16M',
  '--innodb-lock-wait-timeout=1',
];

class PostgresOnHost extends ServerProcess implements HostedServer {
  host!: Host;

  url(database: string): string {
    return `postgres://postgres@${this.host.address}:${PG_PORT}/${database}`;
  }

  insideUrl(database: string): string {
    return `postgres://postgres@${encodeURIComponent(dirname(this.dataDir))}:${PG_PORT}/${database}`;
  }
}

/** Starts a PostgreSQL on a host: empty, or on a copy of the data of one that is stopped in good order, as its standby. */
export function startPostgresOn(host: Host, settings: Settings = {}, copyOf?: EmbeddedServer): Promise<HostedServer> {
  const user = unprivilegedUser();
  return startOrInstall(
    () =>
      inOwnFolder(async (folder, watchdog) => {
        if (user !== undefined) chownSync(folder, user.uid, user.gid);
        const binaries = usableBinaries(folder, user);
        const dataDir = join(folder, 'data');
        if (copyOf === undefined) {
          const flags = [
            '--no-sync',
            '--auth=trust',
            '--username=postgres',
            '--encoding=UTF8',
            '--locale=C',
            '--wal-segsize=1',
          ];
          runTool(binaries, 'initdb', ['-D', dataDir, ...flags], folder, user);
          const hosts = ['host all all 10.99.0.0/16 trust', 'host replication all 10.99.0.0/16 trust', ''];
          appendFileSync(join(dataDir, 'pg_hba.conf'), hosts.join('\n'));
        } else {
          copyAsStandby(copyOf, dataDir, user);
        }
        const all = { ...PG_DEFAULTS, unix_socket_directories: folder, ...settings };
        const asUser = user === undefined ? [] : ['--setuid', String(user.uid), '--setgid', String(user.gid)];
        const [program, ...entering] = host.enter.toSpliced(-1, 0, ...asUser);
        const server = new PostgresOnHost({
          name: 'PostgreSQL',
          program: program!,
          folder,
          dataDir,
          watchdog,
          stopSignal: 'SIGINT',
          portTaken: /could not bind/,
          flags: () => [
            ...entering,
            join(binaries, 'bin', executable('postgres')),
            '-D',
            dataDir,
            ...Object.entries({ ...all, port: PG_PORT }).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
          ],
          isReady: (pid) => isReady(join(folder, PG_PID_FILE), pid),
        });
        server.host = host;
        await server.start();
        return server;
      }, PG_PID_FILE),
    'postgresql',
  );
}

/** The eighth line of postmaster.pid says whether the server accepts connections; a standby accepts them as such. */
function isReady(file: string, pid: number): boolean {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines[0] === String(pid) && ['ready', 'standby'].includes(lines[7]?.trim() ?? '');
  } catch {
    return false;
  }
}

/** The copy that pg_basebackup would make, which isn't among the programs that npm brings. */
function copyAsStandby({ dataDir: from }: EmbeddedServer, to: string, user: User | undefined): void {
  // A base backup of a running server has no statistics, and neither has this one of a server that is stopped.
  const statistics = join(from, 'pg_stat', 'pgstat.stat');
  cpSync(from, to, { recursive: true, verbatimSymlinks: true, filter: (path) => path !== statistics });
  writeFileSync(join(to, 'standby.signal'), '');
  chmodSync(to, 0o700);
  if (user === undefined) return;
  for (const path of ['', ...readdirSync(to, { recursive: true, encoding: 'utf8' })]) {
    lchownSync(join(to, path), user.uid, user.gid);
  }
}

class MariadbOnHost extends ServerProcess implements HostedServer {
  host!: Host;

  url(database: string): string {
    return `mysql://root@${this.host.address}:${MARIADB_PORT}/${database}`;
  }

  insideUrl(database: string): string {
    return `mysql://root@localhost/${database}?socketPath=${encodeURIComponent(join(this.dataDir, 'server.sock'))}`;
  }
}

/** Starts a MariaDB on a host. */
export function startMariadbOn(host: Host, flags: readonly string[] = []): Promise<HostedServer> {
  return startOrInstall(
    () =>
      inOwnFolder(async (folder, watchdog) => {
        const found = findMariadb('mariadb');
        const dataDir = join(folder, 'data');
        await createDataDir(found, dataDir, watchdog);
        const [program, ...entering] = host.enter;
        const server = new MariadbOnHost({
          name: 'MariaDB',
          program: program!,
          folder,
          dataDir,
          watchdog,
          stopSignal: 'SIGTERM',
          portTaken: /Bind on TCP\/IP port/,
          flags: () => [
            ...entering,
            found.program,
            '--no-defaults',
            ...userFlags(),
            `--datadir=${dataDir}`,
            tmpFlag(folder),
            `--pid-file=${join(folder, 'server.pid')}`,
            `--port=${MARIADB_PORT}`,
            ...MARIADB_FLAGS,
            ...flags,
          ],
          isReady: (_pid, said) => said().includes('ready for connections'),
        });
        server.host = host;
        await server.start();
        const connection = await driver.createConnection(server.insideUrl(''));
        await connection.query("create user root@'%'");
        await connection.query("grant all on *.* to root@'%' with grant option");
        await connection.end();
        return server;
      }),
    'mariadb-server',
  );
}

/** Statements to a PostgreSQL, past the network, each over a connection of its own. */
export async function ask<T extends object>(server: HostedServer, text: string, database = 'postgres'): Promise<T[]> {
  const client = new pg.Client(server.insideUrl(database));
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}
