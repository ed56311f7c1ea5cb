/** What can be known when a service starts, rather than when its first reply is lost. */
import { randomBytes } from 'node:crypto';
import { ConfigurationError, toError } from '../../coordinator/errors.ts';
import { reportWarning } from '../../coordinator/report.ts';
import { commit } from './commit.ts';
import type { RedisCore } from './core.ts';
import { isPassing, isReply } from './errors.ts';

/** An id that no connection has. */
const NOBODY = String(Number.MAX_SAFE_INTEGER);

/** @throws ConnectionLostError when the server can't be reached, ConfigurationError when it, or its user, can't do what is needed. */
export async function check(core: RedisCore): Promise<void> {
  const { name, maker, servers, readTimeoutMs } = core;
  const node = await servers.nodeOf(undefined);
  const connection = await node.shared();
  const [role, kill] = await connection.exchange(
    [maker.plain('info', 'replication'), maker.plain('client', 'KILL', 'ID', NOBODY)],
    readTimeoutMs,
  );
  if (connection.lost !== undefined) throw connection.lostError(connection.lost);
  if (role?.error === undefined && /^role:slave/m.test(String(role?.value))) {
    throw new ConfigurationError(
      `a session must write to a master; the client of '${name}' is connected to a replica`,
      {
        resource: name,
      },
    );
  }
  await writeToken(core);
  if (core.tokenTtlMs !== false && (kill?.error !== undefined || connection.life === undefined)) {
    reportWarning(
      `the user of '${name}' may not use ${kill?.error === undefined ? 'INFO' : 'CLIENT KILL'}: where the reply to a commit is lost that was not applied, that can't be found out, and the transaction will be in doubt`,
      'RedisSessionWarning',
    );
  }
}

/** A commit without commands writes a token. */
async function writeToken(core: RedisCore): Promise<void> {
  if (core.tokenTtlMs === false) return;
  try {
    await commit(core, {
      id: `check-${randomBytes(8).toString('hex')}`,
      commands: [],
      slot: undefined,
      watching: undefined,
    });
  } catch (thrown) {
    const error = toError(thrown);
    if (!isReply(error) || isPassing(error)) throw error;
    throw new ConfigurationError(
      `a session must be able to write its tokens, keys that begin with the client's keyPrefix and unanimous:token:; at '${core.name}' it can't (${error.message}): allow it, or set tokenTtlMs to false`,
      { resource: core.name, cause: error },
    );
  }
}
