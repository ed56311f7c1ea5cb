/**
 * Finding out how a transaction ended whose reply was lost, and ending what was prepared. Everything here runs over connections
 * of its own, again and again until it is known or the time is up.
 */
import { HeuristicError } from '../../coordinator/errors.ts';
import { type PgPool, sqlState } from './driver.ts';
import { literal, xidOf } from './gid.ts';
import { persist } from '../sql/persist.ts';
import { callWithClient } from './out-of-band.ts';
import { LIFE } from './question.ts';

/** How a transaction ended; `unknown` where the server can't say or can't be reached in time. */
export type Ending = 'committed' | 'aborted' | 'unknown';

const NO_SUCH_PREPARED = '42704';
const IN_USE = '55000';
const IN_THE_FUTURE = '22023';

/** Where to ask, and about whom. */
export interface Question {
  readonly pool: PgPool;
  /** The server's process of the lost connection. */
  readonly pid: number | null;
  /** How long to go on asking, in milliseconds. */
  readonly timeoutMs: number;
}

/** Asks over connections of its own until it is answered or the time is up. */
function persistently<T>(question: Question, ask: (query: Ask) => Promise<T | undefined>): Promise<T | undefined> {
  return persist(question.timeoutMs, (leftMs) =>
    callWithClient(question.pool, leftMs, (client) =>
      ask(async (text, values) => ((await client.query(text, values)) as { rows: Record<string, unknown>[] }).rows),
    ),
  );
}

type Ask = (text: string, values?: unknown[]) => Promise<Record<string, unknown>[]>;

/**
 * How the transaction with the id `xid` ended (`pg_xact_status`, PostgreSQL 13). While it is in progress its server process, which
 * may wait for a COMMIT that never comes, is terminated: after that nothing can change any more.
 *
 * Where the server has crashed since, in another `life`, somebody else's transaction may have the id: then only that it didn't
 * commit is certain.
 */
export async function endingOf(question: Question, xid: string, life: string | undefined): Promise<Ending> {
  const answer = await persistently<Ending>(question, async (ask) => {
    const [server] = await ask(`select pg_catalog.pg_is_in_recovery() as "isStandby", ${LIFE} as life`);
    // A standby may not have heard of it yet.
    if (server?.['isStandby'] === true) return undefined;
    const sameLife = server?.['life'] === life;
    const status = await statusOf(ask, xid);
    if (status === 'aborted') return status;
    if (status === 'committed') {
      if (!sameLife) return 'unknown';
      // The wait for a standby ends with a connection or a crash, and then the transaction shows whether the standby has it or not.
      await ask(BARRIER);
      return status;
    }
    // Too old to be known.
    if (status !== 'in progress') return 'unknown';
    if (!sameLife) return 'aborted';
    await ask(
      "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where pid = $1 and wait_event is distinct from 'SyncRep' and backend_xid::text = ($2::numeric % 4294967296)::text",
      [question.pid, xid],
    );
    return undefined;
  }).catch(() => undefined);
  return answer ?? 'unknown';
}

/** Its commit is answered when everything before it is at the standbys that commits wait for. */
export const BARRIER = "select pg_catalog.pg_logical_emit_message(true, 'unanimous', '')";

async function statusOf(ask: Ask, xid: string): Promise<unknown> {
  try {
    const [row] = await ask('select pg_catalog.pg_xact_status($1::text::pg_catalog.xid8) as status', [xid]);
    return row?.['status'];
  } catch (error) {
    // An id that the server has not given yet: the crash took the transaction along.
    if (sqlState(error) === IN_THE_FUTURE) return 'aborted';
    throw error;
  }
}

/**
 * Commits or rolls back what is prepared under `gid`; `wasPrepared` where the server has said so. That it isn't found is believed only where no process is left that could
 * still prepare it, and, for a commit, where the server knows that it was committed.
 *
 * @throws HeuristicError when it was ended the other way by hand. @throws The last error when the time is up.
 */
export async function endPrepared(
  question: Question,
  verb: 'commit' | 'rollback',
  gid: string,
  xid: string | undefined,
  wasPrepared = false,
): Promise<void> {
  const done = await persistently<true>(question, async (ask) => {
    try {
      await ask(`${verb} prepared ${literal(gid)}`);
      return true;
    } catch (error) {
      // Another process ends it at this moment.
      if (sqlState(error) === IN_USE) return undefined;
      if (sqlState(error) !== NO_SUCH_PREPARED) throw error;
    }
    if (verb === 'commit') return await wasCommitted(ask, gid, xid);
    const isGone = await cannotAppear(ask, question.pid, gid, xid);
    if (isGone === true && wasPrepared && xid !== undefined && (await statusOf(ask, xid)) === 'committed') {
      throw forcedByHand(gid, 'roll back', 'committed');
    }
    return isGone;
  });
  if (done === undefined)
    throw new Error(`the prepared transaction ${gid} could not be ended within ${question.timeoutMs} ms`);
}

/**
 * True where nothing is prepared under the name and the process that was asked to prepare it is gone. One that is still in the
 * transaction has not heard of it yet, and may.
 */
async function cannotAppear(
  ask: Ask,
  pid: number | null,
  gid: string,
  xid: string | undefined,
): Promise<true | undefined> {
  const processes = await ask(
    `select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where pid = $1 and (query = $2 or case
      when $3::text is null then state like 'idle in transaction%' and backend_xid is null
      else backend_xid::text = ($3::numeric % 4294967296)::text end)`,
    [pid, `prepare transaction ${literal(gid)}`, xid],
  );
  if (processes.length > 0) return undefined;
  const prepared = await ask('select 1 from pg_catalog.pg_prepared_xacts where gid = $1', [gid]);
  return prepared.length === 0 ? true : undefined;
}

async function wasCommitted(ask: Ask, gid: string, xid: string | undefined): Promise<true | undefined> {
  const prepared = await ask('select 1 from pg_catalog.pg_prepared_xacts where gid = $1', [gid]);
  if (prepared.length > 0) return undefined;
  if (xid === undefined) return true;
  const [row] = await ask('select pg_catalog.pg_xact_status($1::text::pg_catalog.xid8) as status', [xid]);
  if (row?.['status'] !== 'aborted') return true;
  throw forcedByHand(gid, 'commit', 'rolled back');
}

function forcedByHand(gid: string, decided: string, done: string): HeuristicError {
  const branch = xidOf(gid);
  return new HeuristicError(
    `the prepared transaction ${gid} was decided to ${decided}; it was ${done} by somebody else: the others ${decided === 'commit' ? 'have committed' : 'are rolled back'}`,
    { xid: branch?.gid, resource: branch?.branch },
  );
}

/** Waits until no process is left that has the transaction with the id `xid` open. Never rejects. */
export async function endBackend(question: Question, xid: string): Promise<void> {
  await persistently<true>(question, async (ask) => {
    const processes = await ask(
      'select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where pid = $1 and backend_xid::text = ($2::numeric % 4294967296)::text',
      [question.pid, xid],
    );
    return processes.length === 0 ? true : undefined;
  }).catch(() => undefined);
}
