/**
 * A lock of MySQL's (`GET_LOCK`) that the connection holds which has prepared a branch, so that others can see whether it is still there,
 * and which it is. The server lets go of it when the connection ends, just before its storage engine lets go of the branch.
 */
import { createHash } from 'node:crypto';
import type { Xid } from '../../coordinator/xid.ts';

/** The name of the lock, as statements have it; a hash, as it may have 64 characters. */
export function ownerLock({ gid, branch }: Xid): string {
  return `'unanimous:${createHash('sha1').update(`${gid}:${branch}`).digest('hex')}'`;
}
