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

/**
 * Quotes any text as a literal, as a name can't be a bind parameter: whatever `standard_conforming_strings` and `backslash_quote` are.
 * @throws TypeError for a text that PostgreSQL can't hold.
 */
export function literal(text: string): string {
  if (text.includes('\0')) throw new TypeError('a text in a statement holds no zero bytes');
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}
