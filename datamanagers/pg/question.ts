/**
 * The question that rides with a transaction's first write: under which id does it run? With the answer a COMMIT whose reply is
 * lost can be resolved.
 *
 * It is prepared under a name where that holds: on a connection that is the server's own. Behind a transaction pooler (PgBouncer)
 * the next transaction may be another server process's, which doesn't have the name. Such a pooler shows: the process id that it
 * gave at the start isn't that of the server's process.
 */
import type { PgClient } from './driver.ts';
import { EXECUTE, SYNC, runPrepared, runStatement } from './wire.ts';

const XID = 'pg_catalog.pg_current_xact_id_if_assigned()';

/** Statistics begin anew when the server crashes. As a number, because a date's text depends on settings. */
const STATISTICS =
  "(pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::bigint::text";

/** What the name of a log file begins with; it can't be asked for at a standby. */
const TIMELINE =
  "case when pg_catalog.pg_is_in_recovery() then '' else pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) end";

/**
 * A value that changes when the server crashes, and when a standby takes its place: after that the id of a transaction which was lost may be
 * given to another one, whose outcome would be taken for that of the first.
 */
export const LIFE: string = `${TIMELINE} || '.' || ${STATISTICS}`;

/**
 * The id of the transaction, null where it has written nothing; the server's process; and the server's life, which a connection of the
 * server's own doesn't outlast, so that it is asked once on those. PostgreSQL 13 and later.
 */
export const QUESTION: string = `select ${XID}::text, pg_catalog.pg_backend_pid()::text, ${LIFE}`;

const NAME = 'unanimous_xid';

/** The messages of the question, with the execution of the statement before it. */
export interface Question {
  readonly messages: Buffer;
  /** The same with a Sync behind. */
  readonly andSync: Buffer;
}

function question(messages: Buffer): Question {
  return { messages: Buffer.concat([EXECUTE, messages]), andSync: Buffer.concat([EXECUTE, messages, SYNC]) };
}

const UNNAMED = question(runStatement(QUESTION));
// Of a connection of the server's own the process is known, and its life.
const PREPARE = question(runStatement(`select ${XID}`, NAME));
const PREPARED = question(runPrepared(NAME));
const NO_SUCH_STATEMENT = '26000';
const DUPLICATE_STATEMENT = '42P05';

/** What is known of a connection beyond a transaction. */
interface Facts {
  /** Whether it is the server's own; undefined until an answer has come. */
  direct: boolean | undefined;
  prepared: boolean;
  /** The server's life at the last answer that had it. */
  life: string | undefined;
}

const facts = new WeakMap<PgClient, Facts>();

function factsOf(client: PgClient): Facts {
  let known = facts.get(client);
  if (known === undefined) facts.set(client, (known = { direct: undefined, prepared: false, life: undefined }));
  return known;
}

/** Whether the connection is the server's own, on which prepared statements last; undefined until an answer has told. */
export function isDirect(client: PgClient): boolean | undefined {
  return factsOf(client).direct;
}

/** How to ask on this connection. */
export function questionFor(client: PgClient): Question {
  const { direct, prepared } = factsOf(client);
  return direct !== true ? UNNAMED : prepared ? PREPARED : PREPARE;
}

/** Learns from an answer to the question; returns the server's life. */
export function answered(
  client: PgClient,
  question: Question | undefined,
  pid: number | undefined,
  life: string | undefined,
): string | undefined {
  const known = factsOf(client);
  if (pid !== undefined) known.direct ??= pid === client.processID;
  if (question === PREPARE) known.prepared = true;
  known.life = life ?? known.life;
  return known.life;
}

/**
 * Whether an error means that the prepared question is gone (DISCARD ALL by hand), or is there and was taken for gone: it isn't used
 * any more, and all may be tried again.
 */
export function isQuestionGone(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  return (code === NO_SUCH_STATEMENT || code === DUPLICATE_STATEMENT) && message?.includes(NAME) === true;
}

/** The connection's prepared statements are gone, or not to be counted on. */
export function forgetQuestion(client: PgClient, forGood: boolean): void {
  const known = factsOf(client);
  known.prepared = false;
  if (forGood) known.direct = false;
}
