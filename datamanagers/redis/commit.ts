/** The commit of a transaction's writes, which is its vote: they are applied once, or it is said what is known. */
import { CommitOutcomeUnknownError, ConnectionLostError } from '../../coordinator/errors.ts';
import { type Batch, apply } from './apply.ts';
import type { RedisConnection } from './connection.ts';
import { WatchConflictError, isDemotion, replyCode } from './errors.ts';
import type { CommandMaker, WireCommand } from './maker.ts';
import type { RedisNode } from './node.ts';
import { type Ending, type Moment, endingOf, now } from './resolve.ts';
import type { RedisServers } from './servers.ts';
import { slotOf } from './slot.ts';
import { guardOf, tokenKey, writeToken } from './token.ts';

/** How a session commits. */
export interface CommitSetup {
  readonly name: string;
  readonly servers: RedisServers;
  readonly maker: CommandMaker;
  readonly isCluster: boolean;
  readonly keyPrefix: string | Buffer;
  readonly endTimeoutMs: number;
  readonly resolveTimeoutMs: number;
  readonly tokenTtlMs: number | false;
}

/** What one transaction commits. */
export interface Work {
  /** The global transaction id. */
  readonly id: string;
  readonly commands: readonly WireCommand[];
  /** The slot of the keys; undefined outside of a cluster, and where no key is known. */
  readonly slot: number | undefined;
  /** Where something is watched: the connection that does, and its server. */
  readonly watching: Watching | undefined;
  /** Applied once, however often it is committed: a conflict where it was before. */
  readonly once?: boolean;
}

/** A connection of its own, and what it watches. */
export interface Watching {
  readonly node: RedisNode;
  readonly connection: RedisConnection;
  readonly keys: readonly (string | Buffer)[];
}

/** The replies to the commands of a transaction, and how to read them. */
export interface Replies {
  /** An Error for each that failed; undefined where they were lost, and it is known that EXEC was run. */
  readonly values: readonly unknown[] | undefined;
  readonly context: unknown;
  /** Why there was no MULTI around them, where there was none. */
  readonly unguarded?: Error;
  /** Why it wasn't seen whether they had been applied before, where it wasn't. */
  readonly guardError?: Error | undefined;
}

/** How often a commit follows a slot that has moved, or waits for one that is being moved; as often as ioredis does by default. */
const MOST_REDIRECTIONS = 16;
const PAUSE_MS = 100;

/**
 * Applies the commands of a transaction by MULTI and EXEC.
 *
 * @throws WatchConflictError when what is watched was changed, ConnectionLostError when nothing was applied: to be tried again.
 * @throws CommitOutcomeUnknownError when the reply was lost and whether EXEC was run can't be found out.
 * @throws The server's error when it refused a command before EXEC: nothing was applied.
 */
export async function commit(setup: CommitSetup, work: Work): Promise<Replies> {
  const { servers, maker } = setup;
  const slot = work.slot ?? (setup.isCluster ? await slotByServer(setup, work.commands) : undefined);
  const key = setup.tokenTtlMs === false ? undefined : tokenKey(setup.keyPrefix, `${work.id}:${setup.name}`, slot);
  const batch: Batch = {
    commands: work.commands,
    token: key === undefined ? undefined : writeToken(key, setup.tokenTtlMs as number),
    guard: key !== undefined && work.once === true ? guardOf(key, setup.tokenTtlMs as number) : [],
  };
  let node = work.watching?.node ?? (await servers.nodeOf(slot));
  let isRedirected = false;
  for (let redirections = 0; ; redirections++) {
    const connection = work.watching?.connection ?? node.connection ?? (await node.shared());
    const sent = now();
    const application = await apply(connection, maker, batch, setup.endTimeoutMs, isRedirected);
    const context = connection.replyContext;
    switch (application.kind) {
      case 'run':
        return { values: application.replies, context, guardError: application.guardError };
      case 'unguarded':
        return { values: application.replies, context, unguarded: application.error };
      case 'conflict':
        throw conflict(setup.name, work);
      case 'unsent':
        throw connection.lostError(application.error);
      case 'lost':
        await settleLost(setup, work, { node, connection, key, sent, ...application });
        return { values: undefined, context };
      case 'refused': {
        // A new connection asks who is in charge now.
        if (isDemotion(application.error)) {
          const reason = new Error(`the server is not in charge any more: ${application.error.message}`);
          connection.retire(reason, setup.endTimeoutMs);
          node.retire(reason);
        }
        // What is watched is watched over this connection.
        if (work.watching !== undefined || redirections === MOST_REDIRECTIONS) throw application.error;
        if (replyCode(application.error) === 'TRYAGAIN') {
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
          continue;
        }
        const redirection = servers.redirection(application.error);
        if (redirection === undefined) throw application.error;
        node = redirection.node;
        isRedirected = redirection.isAsked;
      }
    }
  }
}

interface Lost {
  readonly node: RedisNode;
  readonly connection: RedisConnection;
  readonly key: string | Buffer | undefined;
  readonly sent: Moment;
  readonly error: Error;
  /** Why there was no MULTI, where that was heard. */
  readonly refusal?: Error;
}

/** Returns where EXEC was run; throws what is known where not. */
async function settleLost(setup: CommitSetup, work: Work, lost: Lost): Promise<void> {
  const { node, connection, key, sent, error, refusal } = lost;
  const { servers, maker, tokenTtlMs, resolveTimeoutMs: timeoutMs } = setup;
  connection.cut(error);
  const ending: Ending =
    key === undefined || tokenTtlMs === false
      ? 'unknown'
      : await endingOf({ servers, maker, node, lost: connection, token: key, ttlMs: tokenTtlMs, sent, timeoutMs });
  if (ending === 'applied') return;
  const details = { cause: error, resource: setup.name, xid: work.id, phase: 'tpcVote' } as const;
  if (ending === 'not applied' && refusal === undefined) {
    throw new ConnectionLostError(
      `EXEC must be answered; the connection to '${setup.name}' was lost before (${error.message}), and it was not run, so nothing was applied`,
      details,
    );
  }
  throw new CommitOutcomeUnknownError(
    `EXEC must be answered; the reply of '${setup.name}' was lost (${error.message}), and ` +
      (refusal !== undefined
        ? `it had refused MULTI (${refusal.message}), so that some of it may have been applied`
        : key === undefined
          ? 'no token was written that could tell whether it was run (tokenTtlMs is false)'
          : `the server could not tell within ${timeoutMs} ms whether it was run: where the key ${key.toString()} exists, it was`) +
      '; the work must not be repeated blindly',
    details,
  );
}

function conflict(name: string, { id, watching }: Work): WatchConflictError {
  const keys = (watching?.keys ?? []).map((key) => key.toString());
  return new WatchConflictError(
    `what a transaction watches must not be changed by others before it commits; of ${keys.join(', ')} at '${name}', something was, so nothing was applied`,
    { keys, resource: name, xid: id, phase: 'tpcVote' },
  );
}

/** The slot of commands whose keys ioredis doesn't know, such as those of a module: where they are, the server knows. */
export async function slotByServer(
  { servers, maker, endTimeoutMs }: CommitSetup,
  commands: readonly WireCommand[],
): Promise<number> {
  const node = await servers.nodeOf(undefined);
  const connection = node.connection ?? (await node.shared());
  const questions = commands.map(({ name, args }) => maker.raw({ name: 'command', args: ['GETKEYS', name, ...args] }));
  for (const { value } of (await connection.exchange(questions, endTimeoutMs)) as { value?: unknown }[]) {
    if (Array.isArray(value) && value.length > 0) return slotOf(value[0] as Buffer);
  }
  // Without keys, such as PUBLISH: any node will do.
  return 0;
}
