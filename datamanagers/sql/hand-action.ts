/** Deciding and forgetting by hand in a store in SQL: the steps are the same in each, and are one transaction of the store. */
import { FencedError } from '../../coordinator/errors.ts';
import type { DecidedOutcome, Decision, HandAction, HandActionRow } from '../../coordinator/types.ts';
import type { StoredDecision, TableNames } from './decision.ts';

/** Where databases differ. */
export interface HandDialect {
  readonly literal: (text: string) => string;
  /** Behind a SELECT: what it has read stays, and was written last. */
  readonly lock: string;
  /** An INSERT that does nothing where there is such a row. */
  readonly insertNew: (into: string, values: string) => string;
}

/** A row of the table of what was done by hand. */
export interface StoredHandAction {
  readonly gid: string;
  readonly action: HandAction['action'];
  readonly done_by: string;
  readonly forced: boolean | number;
  readonly at: Date;
}

const LONGEST_NAME = 200;

/** Does it inside of a transaction that `ask` works in. @throws FencedError as {@link DecisionLog.actByHand} does. */
export async function actByHand(
  ask: (text: string) => Promise<object[]>,
  { literal, lock, insertNew }: HandDialect,
  tables: TableNames,
  { action, by, forced, evenFenced }: HandAction,
  { gid, incarnation, participants }: Decision,
): Promise<DecidedOutcome | undefined> {
  const id = literal(gid);
  const read = async (how = ''): Promise<DecidedOutcome | undefined> => {
    const [row] = (await ask(`select outcome from ${tables.decision} where gid = ${id} ${how}`)) as StoredDecision[];
    return row === undefined ? undefined : row.outcome === 'C' ? 'committed' : 'aborted';
  };
  // Nobody fences it before the end of this transaction, so that recovery finds the decision.
  const registered = await ask(`select 1 from ${tables.node} where incarnation = ${literal(incarnation)} ${lock}`);
  let outcome = await read();
  if (action === 'forget') {
    await ask(`delete from ${tables.decision} where gid = ${id}`);
    outcome = undefined;
  } else if (outcome === undefined && action === 'abort' && registered.length === 0) {
    outcome = 'aborted';
  } else if (outcome === undefined) {
    if (registered.length === 0 && evenFenced !== true) throw goneAlready(gid);
    const values = [
      id,
      literal(incarnation),
      action === 'commit' ? `'C'` : `'A'`,
      literal(JSON.stringify(participants)),
    ];
    await ask(insertNew(`${tables.decision} (gid, incarnation, outcome, participants)`, values.join(', ')));
    // Somebody else may have decided at the same moment.
    outcome = await read(lock);
  }
  if (outcome === undefined || (outcome === 'committed') === (action === 'commit')) {
    const values = [id, literal(action), String(forced), literal(personOf(by))].join(', ');
    await ask(`insert into ${tables.audit} (gid, action, forced, done_by) values (${values})`);
  }
  return outcome;
}

/** Who did something, so that it can be written: backslashes are taken differently by different servers and settings. */
export function personOf(by: string): string {
  return by.replaceAll(/[\\\0]/g, '/').slice(0, LONGEST_NAME);
}

function goneAlready(gid: string): FencedError {
  return new FencedError(
    `a process must be registered for its transaction to be committed by hand; that of ${gid} isn't, so recovery may have begun to roll it back`,
    { xid: gid },
  );
}

export function handActionOf(row: StoredHandAction): HandActionRow {
  return { gid: row.gid, action: row.action, by: row.done_by, forced: Boolean(row.forced), at: row.at };
}

/** What was done by hand, oldest first; what was done at the same moment stays in its order. */
export function inTime(rows: readonly HandActionRow[]): HandActionRow[] {
  return [...rows].sort((a, b) => a.at.getTime() - b.at.getTime());
}
