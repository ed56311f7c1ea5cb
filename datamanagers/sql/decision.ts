/** What decision stores in SQL databases have in common. */
import { ConfigurationError, DecisionFailedError, FencedError, describe, toError } from '../../coordinator/errors.ts';
import type {
  DecidedOutcome,
  DecisionRow,
  HandActionRow,
  ListedMessage,
  StoredMessage,
} from '../../coordinator/types.ts';

/** How long a fence waits for decisions on the way, in milliseconds. */
export const FENCE_TIMEOUT_MS = 2_000;

/** The names of the tables. */
export interface TableNames {
  readonly meta: string;
  readonly node: string;
  readonly lease: string;
  readonly decision: string;
  readonly outbox: string;
  readonly audit: string;
  readonly dropped: string;
}

const PREFIX = /^([a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*$/;

/** @throws ConfigurationError unless the names of tables may begin with `prefix`. */
export function tableNames(prefix: string): TableNames {
  if (!PREFIX.test(prefix)) {
    throw new ConfigurationError(
      `the tablePrefix of a decision log must be lower-case letters, digits and '_', with a schema and '.' before them where there is one, not ${describe(prefix)}`,
    );
  }
  return {
    meta: `${prefix}meta`,
    node: `${prefix}node`,
    lease: `${prefix}lease`,
    decision: `${prefix}decision`,
    outbox: `${prefix}outbox`,
    audit: `${prefix}audit`,
    dropped: `${prefix}dropped`,
  };
}

/** @throws ConfigurationError where a later release has made the tables. */
export function checkVersion(found: number, known: number): void {
  if (found <= known) return;
  throw new ConfigurationError(
    `the tables of the decision store must be of version ${known}; they are of version ${found}, which a later release of this package has made: install that one`,
  );
}

/** The error of a store that isn't ready and must not be changed. @throws ConfigurationError as {@link checkVersion} does. */
export function notReady(meta: string, found: number | undefined, known: number): ConfigurationError {
  if (found !== undefined) checkVersion(found, known);
  const seen = found === undefined ? `there is no table ${meta}` : `its tables are of version ${found}, not ${known}`;
  return new ConfigurationError(
    `a decision store must be made before it is looked at; here ${seen}: either this is another database, or npx unanimous init makes it`,
  );
}

/** A row of the table of decisions. */
export interface StoredDecision {
  readonly gid: string;
  readonly incarnation: string;
  readonly outcome: 'C' | 'A';
  readonly participants: string;
  readonly created_at: Date;
}

export function rowOf(row: StoredDecision): DecisionRow {
  return {
    gid: row.gid,
    incarnation: row.incarnation,
    outcome: outcomeOf(row),
    participants: JSON.parse(row.participants) as string[],
    createdAt: row.created_at,
  };
}

/** A row of the outbox. */
export interface StoredOutboxRow {
  readonly gid: string;
  readonly seq: number;
  readonly target: string;
  readonly payload: string;
  readonly attempts: number;
  readonly dead: boolean | number;
  readonly error: string | null;
  readonly created_at: Date;
}

/** A row of the outbox with what its store says of the time. */
export interface ListedOutboxRow extends StoredOutboxRow {
  readonly age_ms: number | string;
  readonly due_in_ms: number | string;
}

/** A row of the table of what was dropped by hand. */
export interface StoredDrop {
  readonly gid: string;
  readonly seq: number;
  readonly target: string;
  readonly error: string | null;
  readonly forced: boolean | number;
  readonly done_by: string;
  readonly at: Date;
}

/** What was dropped, among what else was done by hand. */
export function dropOf(row: StoredDrop): HandActionRow {
  const message = { sequence: row.seq, target: row.target, error: row.error ?? undefined };
  return { gid: row.gid, action: 'drop', by: row.done_by, forced: Boolean(row.forced), at: row.at, message };
}

/** The messages of rows, in their order, with what their store says of the time. */
export function listedOf(rows: readonly ListedOutboxRow[]): ListedMessage[] {
  return rows.map((row) => ({
    ...messageOf(row),
    ageMs: Math.max(0, Number(row.age_ms)),
    dueInMs: Math.max(0, Number(row.due_in_ms)),
  }));
}

function messageOf(row: StoredOutboxRow): StoredMessage {
  return {
    gid: row.gid,
    sequence: row.seq,
    target: row.target,
    payload: row.payload,
    attempts: row.attempts,
    isDead: Boolean(row.dead),
    error: row.error ?? undefined,
    createdAt: row.created_at,
  };
}

/** The messages of rows, oldest first. */
export function messagesOf(rows: readonly StoredOutboxRow[]): StoredMessage[] {
  return rows
    .map(messageOf)
    .sort(
      (a, b) =>
        a.createdAt.getTime() - b.createdAt.getTime() ||
        (a.gid < b.gid ? -1 : a.gid > b.gid ? 1 : a.sequence - b.sequence),
    );
}

export function outcomeOf({ outcome }: Pick<StoredDecision, 'outcome'>): DecidedOutcome {
  return outcome === 'C' ? 'committed' : 'aborted';
}

/** The error of an incarnation that isn't registered. */
export function fenced(gid: string): FencedError {
  return new FencedError(
    `a process must be registered to decide; this one was taken for dead, so transaction ${gid} is rolled back`,
    { xid: gid, phase: 'tpcVote' },
  );
}

/** The error of a transaction that has a tombstone. */
export function decidedBefore(gid: string): DecisionFailedError {
  return new DecisionFailedError(
    `a transaction is decided once; ${gid} was decided to be rolled back by recovery or by hand`,
    { xid: gid, phase: 'tpcVote' },
  );
}

/** The error of a store that has refused, or can't be reached; nothing was written. */
export function notWritten(gid: string, error: unknown): DecisionFailedError {
  return new DecisionFailedError(
    `the decision about ${gid} could not be written (${toError(error).message}), so everything is rolled back`,
    { cause: error, xid: gid, phase: 'tpcVote' },
  );
}
