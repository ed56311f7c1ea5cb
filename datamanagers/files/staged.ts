/** The names of staged files, by which they are known to belong to a transaction when their process has died. */
import { lstat, readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A file that waits to be put in place, or was left by a process that has died. */
export interface StagedFile {
  /** Where it is. */
  readonly path: string;
  /** The file that it is to be; undefined where the name of that was too long to be told. */
  readonly target: string | undefined;
  /** The id of the transaction that has written it: `txn.id`, and `xid` of its errors. */
  readonly xid: string;
  /** When it was written. */
  readonly modifiedAt: Date;
}

const SUFFIX = '.unanimous-staged';

/** `.<app>+<store>+<incarnation>+<sequence>+<number>+<name>.unanimous-staged`: a transaction id has colons in place of the first pluses. */
const PATTERN =
  /^\.([A-Za-z0-9_.-]{1,12}\+[A-Za-z0-9_.-]{1,12}\+[0-9a-f]{20}\+[0-9a-z]+)\+\d+\+(.*)\.unanimous-staged$/s;

/** The longest name of a file that file systems commonly take, in bytes. */
const MAX_NAME_BYTES = 255;

/** Where the data of a file waits: beside it, so that it can be renamed to it. */
export function stagedPath(target: string, xid: string, sequence: number): string {
  const start = `.${xid.replaceAll(':', '+')}+${sequence}+`;
  const whole = `${start}${basename(target)}${SUFFIX}`;
  return join(dirname(target), Buffer.byteLength(whole) <= MAX_NAME_BYTES ? whole : `${start}${SUFFIX}`);
}

export function isStaged(path: string): boolean {
  return PATTERN.test(basename(path));
}

/** The staged files of a folder, oldest first. */
export async function listStaged(folder: string, recursive: boolean): Promise<StagedFile[]> {
  // The one path by which each is known, also where the folder is reached by a link.
  const real = await realpath(folder);
  const names = await readdir(real, { recursive, encoding: 'utf8' });
  const found = await Promise.all(names.map((name) => describeStaged(join(real, name))));
  return found
    .filter((file) => file !== undefined)
    .toSorted((a, b) => a.modifiedAt.getTime() - b.modifiedAt.getTime() || (a.path < b.path ? -1 : 1));
}

async function describeStaged(path: string): Promise<StagedFile | undefined> {
  const match = PATTERN.exec(basename(path));
  if (match === null) return undefined;
  // Put in place, or removed, since the folder was read.
  const stats = await lstat(path).catch(ignoreMissing);
  if (stats === undefined || !stats.isFile()) return undefined;
  const target = match[2] === '' ? undefined : join(dirname(path), match[2]!);
  return { path, target, xid: match[1]!.replaceAll('+', ':'), modifiedAt: stats.mtime };
}

/** For `catch`: what isn't there, or whose folder is none, is undefined; everything else is an error. */
export function ignoreMissing(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
}
