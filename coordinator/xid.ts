/**
 * Global transaction ids: `<app>:<store>:<incarnation>:<sequence>`, at most 64 bytes (the limit of XA's gtrid).
 *
 * The incarnation is random and new at each start of a process, so that ids never repeat and no clock is needed.
 */
import { ConfigurationError, describe } from './errors.ts';
import { environment } from './environment.ts';

/** A branch of a global transaction: what one resource manager prepares, commits or rolls back (X/Open: XID). */
export interface Xid {
  /** Global transaction id (XA: gtrid). */
  readonly gid: string;
  /** The resource's name (XA: bqual). */
  readonly branch: string;
}

/** Longest global transaction id in bytes (XA's MAXGTRIDSIZE). */
export const MAX_GID_BYTES = 64;

/** What is behind the prefix: the incarnation, and the sequence. */
const BEHIND_PREFIX = /^[A-Za-z0-9_.-]{1,40}:[0-9a-z]{1,20}$/;

/**
 * Whether an id is of the form that those of an application and its store have. What others have prepared at the same server may begin
 * alike, and hold anything behind that.
 */
export function isGidOf(prefix: string, gid: string): boolean {
  return gid.startsWith(prefix) && gid.length <= MAX_GID_BYTES && BEHIND_PREFIX.test(gid.slice(prefix.length));
}

const PART = /^[A-Za-z0-9_.-]{1,12}$/;

/** Makes the ids of one process. */
export class XidSource {
  readonly prefix: string;
  readonly incarnation: string;
  #sequence = 0;

  /** @throws ConfigurationError when a part isn't 1 to 12 of `A-Z a-z 0-9 _ . -`. */
  constructor(app = 'unanimous', store = '-') {
    for (const [what, part] of [
      ['app', app],
      ['store', store],
    ] as const) {
      if (typeof part !== 'string' || !PART.test(part)) {
        throw new ConfigurationError(
          `the ${what} part of a transaction id must be 1 to 12 letters, digits, '_', '.' or '-', not ${describe(part)}`,
        );
      }
    }
    this.incarnation = environment.randomHex(10);
    this.prefix = `${app}:${store}:${this.incarnation}:`;
  }

  next(): string {
    return this.prefix + (++this.#sequence).toString(36);
  }
}
