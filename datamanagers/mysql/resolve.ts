/** Ending what was prepared, and whatever a lost connection may still do, over connections of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HeuristicError } from '../../coordinator/errors.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { persist } from '../sql/persist.ts';
import { type MysqlCorePool, errorNumber } from './driver.ts';
import { type Ask, callWithConnection } from './out-of-band.ts';
import { XA_NOTA, isRolledBack } from './xa.ts';
import { type RecoveredRow, xidOf, xidText } from './xid.ts';

/** The thread is gone; or its number is another user's by now. */
const NOT_OURS: ReadonlySet<number> = new Set([1094, 1095]);

/** The connection that had the branch, as far as it is known. */
export interface Owner {
  /** The server's thread of the connection. */
  readonly threadId: number | null;
  /** When the connection was taken, by the clock of `performance.now()`. */
  readonly sinceMs: number;
  /** False where the branch has changed no rows, as far as can be seen. */
  readonly changedRows: boolean;
}

/** Where to ask, and about whom. */
export interface Question {
  readonly pool: MysqlCorePool;
  /** How long to go on asking, in milliseconds. */
  readonly timeoutMs: number;
  /** Undefined where another process prepared the branch. */
  readonly owner: Owner | undefined;
}

/**
 * MariaDB lets others end a branch a moment before its storage engine has let go of the connection that prepared it: it says OK, does
 * nothing, and doesn't list the branch any more, whose locks stay until the server is restarted (seen with 10.11, under load). So after
 * the end of that connection some time is given to it, in milliseconds.
 */
const DETACH_MS = 500;

/** How long to leave a branch alone that belongs to a connection of another process, in milliseconds: for the same reason. */
const FOREIGN_MS = 1_000;

/**
 * Commits or rolls back what is prepared under `xid`, once the connection that prepared it, or still could, is gone. That the server
 * doesn't know it is believed only where nothing is listed.
 *
 * @throws HeuristicError when it was rolled back although it is to be committed. @throws The last error when the time is up.
 */
export async function endPrepared(question: Question, verb: 'commit' | 'rollback', xid: Xid): Promise<void> {
  let isDetached = question.owner === undefined;
  const done = await persist<true>(question.timeoutMs, (leftMs) =>
    callWithConnection(question.pool, leftMs, async (ask) => {
      if (await isAlive(ask, question.owner)) return undefined;
      if (!isDetached) await sleep(DETACH_MS);
      isDetached = true;
      try {
        await ask(`xa ${verb} ${xidText(xid)}`);
        return true;
      } catch (error) {
        if (isRolledBack(error)) return rolledBack(question, verb, xid, error as Error);
        if (errorNumber(error) !== XA_NOTA) throw error;
      }
      if (!(await isListed(ask, xid))) return true;
      if (question.owner === undefined) await sleep(FOREIGN_MS);
      return undefined;
    }),
  );
  if (done === undefined) {
    throw new Error(`the branch ${xidText(xid)} could not be ended within ${question.timeoutMs} ms`);
  }
}

/** MariaDB forgets what a branch has only read when its connection ends, and calls it rolled back. */
function rolledBack({ owner }: Question, verb: 'commit' | 'rollback', xid: Xid, error: Error): true {
  if (verb === 'rollback' || owner?.changedRows === false) return true;
  throw new HeuristicError(
    `the branch ${xidText(xid)} was decided to commit; the server has rolled it back${owner === undefined ? ', unless it had only read' : ''}: the others have committed`,
    { cause: error, xid: xid.gid, resource: xid.branch },
  );
}

async function isListed(ask: Ask, { gid, branch }: Xid): Promise<boolean> {
  const prepared = await listPrepared(ask);
  return prepared.some((xid) => xid.gid === gid && xid.branch === branch);
}

/** The branches of this package that are prepared at the server. */
export async function listPrepared(ask: Ask): Promise<Xid[]> {
  const rows = (await ask('xa recover')) as unknown as RecoveredRow[];
  return rows.map(xidOf).filter((xid) => xid !== undefined);
}

/**
 * Whether the connection of the owner is still there, which is ended then: it may be asked to prepare by what is still on its way.
 * Threads are numbered anew when the server starts, so that after that the number is somebody else's.
 */
async function isAlive(ask: Ask, owner: Owner | undefined): Promise<boolean> {
  if (owner === undefined || owner.threadId === null) return false;
  const [row] = await ask("show global status like 'Uptime'");
  const uptimeSeconds = Number(Object.values(row ?? {})[1]);
  if (uptimeSeconds < Math.floor((performance.now() - owner.sinceMs) / 1000)) return false;
  try {
    await ask(`kill connection ${owner.threadId}`);
    return true;
  } catch (error) {
    if (NOT_OURS.has(errorNumber(error) ?? 0)) return false;
    throw error;
  }
}

/** Waits until the connection of the owner is gone, and with it what it had not committed. False where the time is up. */
export async function endOwner({ pool, timeoutMs, owner }: Question): Promise<boolean> {
  const isGone = await persist<true>(timeoutMs, (leftMs) =>
    callWithConnection(pool, leftMs, async (ask) => ((await isAlive(ask, owner)) ? undefined : true)),
  ).catch(() => undefined);
  return isGone === true;
}
