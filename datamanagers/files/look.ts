/** What is at a path, and whether it is still the same. */
import type { BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { ConfigurationError } from '../../coordinator/errors.ts';
import { ignoreMissing } from './staged.ts';

/** What was at a path; undefined for nothing. */
export type Seen = BigIntStats | undefined;

/** @throws ConfigurationError where something is there that is no regular file. */
export async function look(path: string): Promise<Seen> {
  const stats = await lstat(path, { bigint: true }).catch(ignoreMissing);
  if (stats === undefined || stats.isFile()) return stats;
  const what = stats.isDirectory() ? 'a folder' : stats.isSymbolicLink() ? 'a symbolic link' : 'no regular file';
  throw new ConfigurationError(`the path of a file must be that of a regular file, or of nothing; ${path} is ${what}`);
}

/** Whether nobody has changed or replaced it: the time of its last change can't be set back by anybody. */
export function isSame(a: Seen, b: Seen): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}
