// Where the programs of MariaDB or of Oracle's MySQL come from: the machine.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findPrograms, serverEnvironment } from './processes.ts';
import { ServerUnavailable } from './unavailable.ts';
import type { Watchdog } from './watchdog.ts';

/** The two descendants of MySQL, which differ in how they are set up and in what XA does. */
export type Product = 'mariadb' | 'mysql';

/** A server program. */
export type MariadbProgram = { readonly program: string; readonly product: Product };

/** Finds the server of one product, or of either; throws ServerUnavailable where there is none. */
export function findMariadb(product?: Product): MariadbProgram {
  const found = findPrograms(['mariadbd', 'mysqld']).map((program) => ({ program, product: productOf(program) }));
  const usable = found.find((each) => each.product !== undefined && each.product === (product ?? each.product));
  if (usable !== undefined) return usable as MariadbProgram;
  const wanted = product === 'mysql' ? "Oracle's MySQL (mysqld)" : 'MariaDB (mariadbd)';
  const others = found.length === 0 ? '' : `, only ${found.map((each) => each.program).join(', ')}`;
  const how = product === 'mysql' ? 'put its mysqld on the PATH' : 'install mariadb-server';
  throw new ServerUnavailable(`${wanted} is not to be had (not found on the machine${others}): ${how}`);
}

/** Whose server it is, which only its version says, because MariaDB's is installed as mysqld too. */
function productOf(program: string): Product | undefined {
  const { status, stdout } = spawnSync(program, ['--no-defaults', '--version'], {
    encoding: 'utf8',
    env: serverEnvironment(),
  });
  if (status !== 0) return undefined;
  return stdout.includes('MariaDB') ? 'mariadb' : 'mysql';
}

/** Runs as root where this process does, which these servers only do when they are told to. */
export function userFlags(): string[] {
  return process.getuid?.() === 0 ? ['--user=root'] : [];
}

/** A server that starts removes temporary tables that it finds, also those of another one that is being set up at the time. */
export function tmpFlag(folder: string): string {
  return `--tmpdir=${folder}`;
}

// Only the account of local sockets exists at first, and an address is not looked up by --skip-name-resolve.
const accounts = `CREATE USER IF NOT EXISTS root@'127.0.0.1';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
`;

/** Makes a data folder whose user root may log in from 127.0.0.1 without a password. */
export async function createDataDir(
  { program, product }: MariadbProgram,
  dataDir: string,
  watchdog: Watchdog,
): Promise<void> {
  const folder = dirname(dataDir);
  if (product === 'mysql') {
    const init = join(folder, 'init.sql');
    writeFileSync(init, accounts);
    const flags = ['--no-defaults', ...userFlags(), `--datadir=${dataDir}`, tmpFlag(folder), '--secure-file-priv=NULL'];
    await runToEnd(program, [...flags, '--initialize-insecure', `--init-file=${init}`], watchdog);
    return;
  }
  const bin = dirname(program);
  const [install] = findPrograms(
    ['mariadb-install-db', 'mysql_install_db'],
    [bin, join(bin, '../bin'), join(bin, '../scripts')],
  );
  if (install === undefined) throw new ServerUnavailable('MariaDB is not to be had: it lacks mariadb-install-db');
  const own = [...userFlags(), `--datadir=${dataDir}`, tmpFlag(folder)];
  const flags = ['--no-defaults', ...own, '--skip-name-resolve', '--skip-test-db'];
  // The data need not survive the machine, only the server, so nothing is synchronised before it starts.
  const quick = ['--innodb-log-file-size=16M', '--innodb-flush-method=nosync'];
  await runToEnd(install, [...flags, '--auth-root-authentication-method=normal', ...quick], watchdog);
}

/** Runs a program to its end; this process may end meanwhile, so the watchdog knows about it. */
async function runToEnd(program: string, flags: readonly string[], watchdog: Watchdog): Promise<void> {
  const child = spawn(program, flags, { env: serverEnvironment(), detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  if (child.pid !== undefined) watchdog.watch(child.pid);
  const [code] = (await once(child, 'close')) as [number | null];
  watchdog.watch(0);
  if (code !== 0) throw new Error(`${program} must succeed, but it ended with ${code} and said: ${said}`);
}
