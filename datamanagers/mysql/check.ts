/** Whether a server can do what a session needs of it. */
import { ConfigurationError } from '../../coordinator/errors.ts';
import { errorNumber } from './driver.ts';
import type { Ask } from './out-of-band.ts';

/** Access denied: XA RECOVER takes the privilege XA_RECOVER_ADMIN since MySQL 8. */
const DENIED: ReadonlySet<number> = new Set([1227, 1401]);

/** The oldest version of each whose prepared branches outlive the connection, and reach the replicas. */
const OLDEST = { MariaDB: [10, 5, 2], MySQL: [8, 0, 0] } as const;

/** @throws ConfigurationError naming what is missing, and how to set it. */
export async function checkServer(ask: Ask, name: string, mayPrepare: boolean): Promise<void> {
  const [row] = await ask('select version() as version');
  const text = String(row!['version']);
  const kind = /mariadb/i.test(text) ? 'MariaDB' : 'MySQL';
  if (isOlder(text, OLDEST[kind])) {
    throw new ConfigurationError(
      `${kind} must be of version ${OLDEST[kind].join('.')} or later; that of '${name}' is ${text}`,
      {
        resource: name,
      },
    );
  }
  if (!mayPrepare) return;
  await checkRecover(ask, name);
  const [cluster] = await ask("show global variables like 'wsrep_on'");
  if (cluster !== undefined && Object.values(cluster)[1] === 'ON') {
    throw new ConfigurationError(
      `a Galera cluster can't prepare: it has no XA; register the session '${name}' with { twoPhase: false }`,
      { resource: name },
    );
  }
}

function isOlder(version: string, oldest: readonly number[]): boolean {
  const parts = version.split(/[.-]/, 3).map(Number);
  const index = oldest.findIndex((part, at) => part !== parts[at]);
  return index >= 0 && (parts[index] ?? 0) < oldest[index]!;
}

/** @throws ConfigurationError where the user may not list what is prepared. */
export async function checkRecover(ask: Ask, name: string): Promise<void> {
  try {
    await ask('xa recover');
  } catch (error) {
    throw explainRecover(error, name);
  }
}

/** Makes an error of XA RECOVER say what to do. */
export function explainRecover(error: unknown, name: string): unknown {
  return DENIED.has(errorNumber(error) ?? 0) ? recoverDenied(error, name) : error;
}

function recoverDenied(error: unknown, name: string): ConfigurationError {
  return new ConfigurationError(
    `to find what is prepared, the user of '${name}' must have the privilege XA_RECOVER_ADMIN; it has not: GRANT XA_RECOVER_ADMIN ON *.* TO that user, or register the session with { twoPhase: false }`,
    { cause: error, resource: name },
  );
}
