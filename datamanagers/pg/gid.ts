/** What a prepared branch is called in PostgreSQL: names are unique in a cluster, not in a database. */
import type { Xid } from '../../coordinator/xid.ts';

/** `<app>:<store>:<incarnation>:<sequence>`, and the name of the session. */
const GID_PARTS = 5;

/** The name that a branch is prepared under: at most 127 of the 199 bytes that there may be. */
export function gidOf({ gid, branch }: Xid): string {
  return `${gid}:${branch}`;
}

/** The branch that is prepared under a name; undefined where the name isn't one of ours. */
export function xidOf(name: string): Xid | undefined {
  const at = name.lastIndexOf(':');
  return name.split(':').length === GID_PARTS ? { gid: name.slice(0, at), branch: name.slice(at + 1) } : undefined;
}

/** Quotes a text as a literal: a name can't be a bind parameter. */
export function literal(value: string): string {
  if (/[\\\0]/.test(value)) throw new TypeError('a transaction id holds neither backslashes nor zero bytes');
  return `'${value.replaceAll("'", "''")}'`;
}
