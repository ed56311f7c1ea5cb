/** Ending what was prepared, and whatever a lost connection may still do, over connections of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HeuristicError } from '../../coordinator/errors.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { persist } from '../sql/persist.ts';
import { type MysqlCorePool, errorNumber } from './driver.ts';
import { type Ask, callWithConnection } from './out-of-band.ts';
import { ownerLock } from './owner-lock.ts';
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
  /** Since when nobody is known to own the branch, by the clock of `performance.now()`. */
  readonly unownedSinceMs?: number | undefined;
}

/**
 * When a connection ends that has prepared a branch, MariaDB lets others have the branch a moment before its storage engine lets go of it
 * (trans_xa_detach, then trx_disconnect_prepared: 10.5 and later). Whoever ends it in that moment is told OK, and nothing is done: it is
 * listed no more, keeps its locks, and is prepared again when the server is restarted. So nobody tries to end a branch until the
 * connection that owns it is seen to be gone, and some time more, in milliseconds.
 */
const DETACH_MS = 500;

/**
 * Commits or rolls back what is prepared under `xid`, once the connection that prepared it, or still could, is gone; it is ended where it
 * isn't. That the server doesn't know the branch is believed only where nothing is listed. Takes {@link DETACH_MS} more than it may.
 *
 * @throws HeuristicError when it was rolled back although it is to be committed. @throws The last error when the time is up.
 */
export async function endPrepared(question: Question, verb: 'commit' | 'rollback', xid: Xid): Promise<void> {
  const { pool, timeoutMs, owner } = question;
  let sinceMs = question.unownedSinceMs;
  let endMs = performance.now() + timeoutMs;
  const untilTimeIsUp = <T>(use: (ask: Ask) => Promise<T | undefined>): Promise<T | undefined> =>
    persist(endMs - performance.now(), (leftMs) => callWithConnection(pool, leftMs, use));
  const seeGone = async (ask: Ask): Promise<true | undefined> =>
    (await isAlive(ask, owner)) || (await isOwned(ask, xid)) ? undefined : true;
  for (let done: 'ended' | 'owned' = 'owned'; done === 'owned';) {
    const isGone = await untilTimeIsUp(seeGone);
    if (isGone === true) {
      const waitMs = Math.max((sinceMs ?? performance.now()) + DETACH_MS - performance.now(), 0);
      await sleep(waitMs);
      endMs += waitMs;
      sinceMs = undefined;
    }
    const outcome = isGone && (await untilTimeIsUp((ask) => tryToEnd(ask, question, verb, xid)));
    if (outcome === undefined) {
      throw new Error(`the branch ${xidText(xid)} could not be ended within ${timeoutMs} ms`);
    }
    done = outcome;
  }
}

/** `'owned'` where it was prepared only now, by what was on its way; undefined where it must be tried again. */
async function tryToEnd(
  ask: Ask,
  question: Question,
  verb: 'commit' | 'rollback',
  xid: Xid,
): Promise<'ended' | 'owned' | undefined> {
  try {
    await ask(`xa ${verb} ${xidText(xid)}`);
    return 'ended';
  } catch (error) {
    if (isRolledBack(error)) return rolledBack(question, verb, xid, error as Error);
    if (errorNumber(error) !== XA_NOTA) throw error;
  }
  if (!(await isListed(ask, xid))) return 'ended';
  return (await isOwned(ask, xid)) ? 'owned' : undefined;
}

/**
 * Whether a connection is there that has prepared the branch, which is ended then: whoever ends the branch knows how, and a process that is
 * paused would keep it.
 */
async function isOwned(ask: Ask, xid: Xid): Promise<boolean> {
  const [row] = await ask(`select is_used_lock(${ownerLock(xid)}) as owner`);
  const owner = row?.['owner'] ?? null;
  if (owner === null) return false;
  await endThread(ask, Number(owner));
  return true;
}

/** Those that no connection owns. */
export async function unowned(ask: Ask, xids: readonly Xid[]): Promise<Xid[]> {
  if (xids.length === 0) return [];
  const [row] = await ask(
    `select ${xids.map((xid, index) => `is_used_lock(${ownerLock(xid)}) as owner${index}`).join()}`,
  );
  return xids.filter((_, index) => (row?.[`owner${index}`] ?? null) === null);
}

/** Whether there was such a thread of ours, which is being ended. */
async function endThread(ask: Ask, threadId: number): Promise<boolean> {
  try {
    await ask(`kill connection ${threadId}`);
    return true;
  } catch (error) {
    if (NOT_OURS.has(errorNumber(error) ?? 0)) return false;
    throw error;
  }
}

/** MariaDB forgets what a branch has only read when its connection ends, and calls it rolled back. */
function rolledBack({ owner }: Question, verb: 'commit' | 'rollback', xid: Xid, error: Error): 'ended' {
  if (verb === 'rollback' || owner?.changedRows === false) return 'ended';
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
  const uptimeSeconds = Number(Object.values(row!)[1]);
  if (uptimeSeconds < Math.floor((performance.now() - owner.sinceMs) / 1000)) return false;
  return endThread(ask, owner.threadId);
}

/** Waits until the connection of the owner is gone, and with it what it had not committed. False where the time is up. */
export async function endOwner({ pool, timeoutMs, owner }: Question): Promise<boolean> {
  const isGone = await persist<true>(timeoutMs, (leftMs) =>
    callWithConnection(pool, leftMs, async (ask) => ((await isAlive(ask, owner)) ? undefined : true)),
  ).catch(() => undefined);
  return isGone === true;
}
