/**
 * The question that rides with a transaction's first write: under which id does it run? With the answer a COMMIT whose reply is
 * lost can be resolved.
 *
 * It is prepared under a name where that holds: on a connection that is the server's own. Behind a transaction pooler (PgBouncer)
 * the next transaction may be another server process's, which doesn't have the name. Such a pooler shows: the process id that it
 * gave at the start isn't that of the server's process.
 */
import type { PgClient } from './driver.ts';
import { SYNC, runPrepared, runStatement } from './wire.ts';

const ID = 'pg_catalog.pg_current_xact_id_if_assigned()::text, pg_catalog.pg_backend_pid()::text';

/**
 * A value that changes when the server crashes: statistics begin anew then. After a crash it may give the id of a transaction that was
 * lost to another one, whose outcome would be taken for that of the first. As a number, because a date's text depends on settings.
 */
export const LIFE: string =
  "(pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::bigint::text";

/**
 * The id of the transaction, null where it has written nothing; the server's process; and the server's life, which a connection of the
 * server's own doesn't outlast, so that it is asked once on those. PostgreSQL 13 and later.
 */
export const QUESTION: string = `select ${ID}, ${LIFE}`;

const NAME = 'unanimous_xid';
const UNNAMED = Buffer.concat([runStatement(QUESTION), SYNC]);
const PREPARE = Buffer.concat([runStatement(`select ${ID}`, NAME), SYNC]);
const PREPARED = Buffer.concat([runPrepared(NAME), SYNC]);
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

/** Whether the connection is known to be the server's own, on which prepared statements last. */
export function isDirect(client: PgClient): boolean {
  return factsOf(client).direct === true;
}

/** The messages that ask, with the Sync behind. */
export function questionFor(client: PgClient): Buffer {
  const { direct, prepared } = factsOf(client);
  return direct !== true ? UNNAMED : prepared ? PREPARED : PREPARE;
}

/** Learns from an answer to the question; returns the server's life. */
export function answered(
  client: PgClient,
  question: Buffer | undefined,
  pid: number,
  life: string | undefined,
): string | undefined {
  const known = factsOf(client);
  known.direct ??= pid === client.processID;
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
