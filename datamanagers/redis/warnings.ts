/** What a server may forget of what was written with a decision. */
import { TransactionError } from '../../coordinator/errors.ts';
import type { ResourceWarning } from '../../coordinator/types.ts';
import type { RedisCore } from './core.ts';

/** How long a connection to ask over may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 2_000;

/**
 * Asks over a connection of its own, which is closed afterwards: one that stays would keep the process alive. Nothing where the user may not
 * ask, or a cluster isn't in use yet. @throws ConnectionLostError when the server can't be reached.
 */
export async function warningsOf({ name, maker, servers, readTimeoutMs }: RedisCore): Promise<ResourceWarning[]> {
  const connection = await servers.anyNode()?.open(CONNECT_TIMEOUT_MS);
  if (connection === undefined) return [];
  try {
    const [persistence, snapshots] = await connection.exchange(
      [maker.plain('info', 'persistence'), maker.plain('config', 'GET', 'save')],
      readTimeoutMs,
    );
    if (persistence?.error !== undefined || snapshots?.error !== undefined) return [];
    const save = snapshots?.value as readonly unknown[] | undefined;
    if (!/^aof_enabled:0/m.test(String(persistence?.value))) return [];
    if (!Array.isArray(save) || save.length < 2 || String(save[1]) !== '') return [];
    const message = `${name} keeps nothing on disk (appendonly no, save ""): what it has acknowledged is lost when its server dies, though the databases have committed; set appendonly to yes`;
    return [{ kind: 'no-persistence', message }];
  } finally {
    connection.cut(new TransactionError('asked what was to be asked', { resource: name }));
  }
}
