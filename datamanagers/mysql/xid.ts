/** The identity of a branch in MySQL and MariaDB (X/Open XA: gtrid and bqual). */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import type { Xid } from '../../coordinator/xid.ts';

const OURS = /^[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+:[0-9a-f]+:[0-9a-z]+$/;
/** What `XA START` takes where nothing else is said. */
const FORMAT = 1;

/**
 * How statements name a branch; it can't be a bind parameter.
 * @throws ConfigurationError when it can't be the identity of one of ours.
 */
export function xidText({ gid, branch }: Xid): string {
  return `${quoted(gid)},${quoted(branch)}`;
}

function quoted(text: string): string {
  if (!/^[A-Za-z0-9_.:-]{1,64}$/.test(text)) {
    throw new ConfigurationError(
      `a part of a branch's identity is 1 to 64 letters, digits, '_', '.', ':' or '-', not ${describe(text)}, so it can't be ours`,
    );
  }
  return `'${text}'`;
}

/** A row of `XA RECOVER`: both parts in one, and their lengths. */
export interface RecoveredRow {
  readonly formatID: number | string;
  readonly gtrid_length: number | string;
  readonly data: string | Buffer;
}

/** The branch of a row; undefined where it isn't one of ours. */
export function xidOf({ formatID, gtrid_length: length, data }: RecoveredRow): Xid | undefined {
  const text = data.toString('latin1');
  const gid = text.slice(0, Number(length));
  return Number(formatID) === FORMAT && OURS.test(gid) ? { gid, branch: text.slice(Number(length)) } : undefined;
}
