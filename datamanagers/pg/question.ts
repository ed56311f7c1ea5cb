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

/** The id of the transaction, null where it has written nothing, and the server's process. PostgreSQL 13 and later. */
export const QUESTION = 'select pg_catalog.pg_current_xact_id_if_assigned()::text, pg_catalog.pg_backend_pid()::text';

const NAME = 'unanimous_xid';
const UNNAMED = Buffer.concat([runStatement(QUESTION), SYNC]);
const PREPARE = Buffer.concat([runStatement(QUESTION, NAME), SYNC]);
const PREPARED = Buffer.concat([runPrepared(NAME), SYNC]);
const NO_SUCH_STATEMENT = '26000';

/** What is known of a connection beyond a transaction. */
interface Facts {
  /** Whether it is the server's own; undefined until an answer has come. */
  direct: boolean | undefined;
  prepared: boolean;
}

const facts = new WeakMap<PgClient, Facts>();

function factsOf(client: PgClient): Facts {
  let known = facts.get(client);
  if (known === undefined) facts.set(client, (known = { direct: undefined, prepared: false }));
  return known;
}

/** The messages that ask, with the Sync behind. */
export function questionFor(client: PgClient): Buffer {
  const { direct, prepared } = factsOf(client);
  return direct !== true ? UNNAMED : prepared ? PREPARED : PREPARE;
}

/** Learns from an answer to `question`. */
export function answered(client: PgClient, question: Buffer, pid: number): void {
  const known = factsOf(client);
  known.direct ??= pid === client.processID;
  if (question === PREPARE) known.prepared = true;
}

/** Whether an error means that the prepared question is gone (DISCARD ALL by hand): it is forgotten, and all may be tried again. */
export function isQuestionGone(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  return code === NO_SUCH_STATEMENT && message?.includes(NAME) === true;
}

/** The connection's prepared statements are gone, or not to be counted on. */
export function forgetQuestion(client: PgClient, forGood: boolean): void {
  const known = factsOf(client);
  known.prepared = false;
  if (forGood) known.direct = false;
}
