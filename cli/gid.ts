/** The ids of transactions, as people give them. */
import { usageError } from './exit.ts';

/** The parts of `<app>:<store>:<incarnation>:<sequence>`. */
export interface GidParts {
  readonly gid: string;
  readonly app: string;
  readonly store: string;
  readonly incarnation: string;
}

const GID = /^([\w.-]{1,12}):([\w.-]{1,12}):([\w.-]+):([0-9a-z]+)$/;
/** What PostgreSQL calls a branch: the id, and the name of the resource. */
const BRANCH = /^((?:[\w.-]+:){3}[0-9a-z]+):[\w.-]+$/;

/** @throws CommandError unless it is an id, or the name of a branch in `pg_prepared_xacts`, which has the id in it. */
export function parseGid(text: string): GidParts {
  const gid = BRANCH.exec(text)?.[1] ?? text;
  const [, app, store, incarnation] = GID.exec(gid) ?? [];
  if (app === undefined || store === undefined || incarnation === undefined) {
    throw usageError(
      `a transaction's id has the form app:store:incarnation:sequence; ${JSON.stringify(text)} has not`,
      ['npx unanimous list shows them'],
    );
  }
  return { gid, app, store, incarnation };
}

/** The most that an id may have (XA). */
const LONGEST_GID = 64;

/**
 * Whether an id is of the form that those of an application and its store have. What others have prepared at the same server may begin
 * alike, and hold anything behind that.
 */
export function isGidOf(prefix: string, gid: string): boolean {
  return gid.startsWith(prefix) && gid.length <= LONGEST_GID && GID.test(gid);
}

/** A message of the outbox, or all of a transaction. */
export interface MessageId extends GidParts {
  /** Its number among those of its transaction; undefined for all of them. */
  readonly sequence: number | undefined;
}

const MESSAGE = /^((?:[\w.-]+:){3}[0-9a-z]+):([1-9]\d{0,8})$/;

/** What people call a message. */
export function messageId({ gid, sequence }: { readonly gid: string; readonly sequence: number }): string {
  return `${gid}:${sequence}`;
}

/** @throws CommandError unless it is the id of a message, or of a transaction. */
export function parseMessageId(text: string): MessageId {
  const [, gid, sequence] = MESSAGE.exec(text) ?? [];
  const [, app, store, incarnation] = GID.exec(gid ?? text) ?? [];
  if (app === undefined || store === undefined || incarnation === undefined) {
    throw usageError(
      `a message's id has the form app:store:incarnation:sequence:number, without the number for all of a transaction; ${JSON.stringify(text)} has not`,
      ['npx unanimous outbox list shows them'],
    );
  }
  return { gid: gid ?? text, app, store, incarnation, sequence: sequence === undefined ? undefined : Number(sequence) };
}
