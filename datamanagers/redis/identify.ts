/** Who is at the other end of a connection that was just opened, and whether transactions work there. */
import { ConfigurationError } from '../../coordinator/errors.ts';
import type { RedisCommand } from './driver.ts';
import { replyCode } from './errors.ts';
import type { CommandMaker } from './maker.ts';

/** By which a connection and its server are found again. */
export interface Identity {
  /** By which the server knows the connection; undefined where the user may not ask. */
  readonly id: string | undefined;
  /** The server's `run_id`, another one after each start; undefined where the user may not ask. */
  readonly life: string | undefined;
}

/** Whose connection it is. */
export interface IdentitySetup {
  /** The session's name, for errors. */
  readonly name: string;
  readonly maker: CommandMaker;
  /** Whether the client is one of a cluster. */
  readonly isCluster: boolean;
}

/** Asks for what is needed later, and tries that MULTI works: where it were refused, what follows it would be applied one by one. */
export async function identify(setup: IdentitySetup, send: (command: RedisCommand) => void): Promise<Identity> {
  const { maker } = setup;
  const commands = [
    maker.plain('client', 'ID'),
    maker.plain('info', 'server'),
    maker.plain('multi'),
    maker.plain('exec'),
  ];
  for (const command of commands) send(command);
  const [id, info, ...transaction] = await Promise.allSettled(commands.map(({ promise }) => promise));
  for (const tried of transaction)
    if (tried.status === 'rejected') throw explainRefusal(setup.name, tried.reason as Error);
  const server = info?.status === 'fulfilled' ? String(info.value) : '';
  if (!setup.isCluster && /^redis_mode:cluster/m.test(server)) {
    throw new ConfigurationError(
      `the client of a Redis Cluster must be a Cluster of ioredis, which knows who has which slot; that of '${setup.name}' is for a single server`,
      { resource: setup.name },
    );
  }
  return {
    id: id?.status === 'fulfilled' ? String(id.value) : undefined,
    life: /^run_id:(\S+)/m.exec(server)?.[1],
  };
}

function explainRefusal(name: string, error: Error): Error {
  const code = replyCode(error);
  if (code !== 'NOPERM' && !error.message.startsWith('ERR unknown command')) return error;
  return new ConfigurationError(
    `the user of '${name}' must be allowed MULTI and EXEC, else what is to be applied together would be applied one by one; the server refuses it (${error.message})`,
    { resource: name, cause: error },
  );
}
