/**
 * Names for statements that come again, so that the server parses and plans them once for a connection rather than each time.
 *
 * Only on connections that are the server's own (see `question.ts`), only for statements with parameters that have come before, as
 * literal SQL never comes again, and only so many for a connection, as each takes memory at the server.
 */
import type { Statement } from '../sql/statement.ts';
import type { PgClient } from './driver.ts';

const MOST_NAMES = 200;

const names = new WeakMap<Statement, string>();
const namesOf = new WeakMap<PgClient, Set<string>>();
let last = 0;

/** The name for a statement on this connection; undefined where it goes without one. */
export function nameFor(client: PgClient, statement: Statement): string | undefined {
  if (statement.uses < 2 || statement.effect === 'none' || statement.maybeSeveral) return undefined;
  let name = names.get(statement);
  if (name === undefined) names.set(statement, (name = `unanimous_${++last}`));
  let known = namesOf.get(client);
  if (known === undefined) namesOf.set(client, (known = new Set()));
  if (!known.has(name)) {
    if (known.size >= MOST_NAMES) return undefined;
    known.add(name);
  }
  return name;
}

/**
 * Whether an error is due to the name rather than the statement: what was prepared is gone (DISCARD ALL by hand), or doesn't fit
 * any more (the table was altered). The statement then gets another name, and all may be tried again.
 */
export function isNameGone(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  if (code === '0A000') return message?.includes('cached plan') === true;
  return (code === '26000' || code === '42P05') && message?.includes('unanimous_') === true;
}

/** Lets a statement have another name from now on: what was prepared under the one it has doesn't fit. */
export function rename(statement: Statement): void {
  names.delete(statement);
}

/** What was prepared on a connection is gone: pg is to prepare it again under the same names. */
export function forgetNames(client: PgClient): void {
  const { parsedStatements } = client.connection;
  for (const name of namesOf.get(client) ?? []) delete parsedStatements[name];
}
