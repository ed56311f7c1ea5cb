/** What a transaction has done to files: the changes that it is to make, and what it sees because of them. */
import { type Stats, constants } from 'node:fs';
import { access, lstat, open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { suppress } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import { nextNumber } from '../support/sequence.ts';
import { stagedHere } from './claims.ts';
import { FileConflictError, systemError } from './errors.ts';
import { type Seen, isSame, look } from './look.ts';
import { ignoreMissing, stagedPath } from './staged.ts';

/** Staged files of all sessions of a transaction are counted together, so that no two have one name. */
const SEQUENCE = Symbol.for('unanimous.files.sequence');

/** A change that is made when the transaction finishes. */
export type Change =
  | { readonly operation: 'write'; readonly path: string; readonly staged: string }
  | { readonly operation: 'rename'; readonly path: string; readonly to: string }
  | { readonly operation: 'unlink'; readonly path: string };

/** How a file is written. */
export interface WriteOptions {
  readonly encoding?: BufferEncoding | undefined;
  readonly mode?: number | undefined;
}

/** Where on the disk the data of a path is for this transaction; undefined where it has no such file. */
type Source = string | undefined;

/** A staged file, and what it was when it was complete; undefined until then. */
interface Staged {
  readonly path: string;
  complete: Seen;
}

/** What can be returned to. */
export interface Then {
  readonly view: ReadonlyMap<string, Source>;
  readonly changes: number;
  readonly staged: number;
}

/** The paths that a change works on. */
export function pathsOf(change: Change): readonly string[] {
  return change.operation === 'rename' ? [change.path, change.to] : [change.path];
}

export class Changes {
  /** In the order in which they are made. */
  list: Change[] = [];
  readonly #txn: Transaction;
  /** What it sees at the paths that it has changed. */
  #view = new Map<string, Source>();
  /** What was at the paths when the transaction first looked. */
  readonly #seen = new Map<string, Seen>();
  #staged: Staged[] = [];

  constructor(txn: Transaction) {
    this.#txn = txn;
  }

  /** All paths that are changed. */
  get paths(): Set<string> {
    return new Set(this.list.flatMap(pathsOf));
  }

  /** What was at a path when the transaction first looked. */
  seen(path: string): Seen {
    return this.#seen.get(path);
  }

  async #sourceOf(path: string): Promise<Source> {
    if (this.#view.has(path)) return this.#view.get(path);
    const now = await look(path);
    // Before it is read: what changes afterwards is found by the vote.
    if (!this.#seen.has(path)) this.#seen.set(path, now);
    return now === undefined ? undefined : path;
  }

  async #requireSource(path: string, syscall: string): Promise<string> {
    const source = await this.#sourceOf(path);
    if (source === undefined) throw systemError('ENOENT', 'no such file or directory', syscall, path);
    return source;
  }

  async exists(path: string): Promise<boolean> {
    return (await this.#sourceOf(path)) !== undefined;
  }

  async read(path: string): Promise<Buffer> {
    return readFile(await this.#requireSource(path, 'open'));
  }

  /** Writes the data beside the file, and makes it durable. */
  async write(path: string, data: string | Uint8Array, options: WriteOptions): Promise<void> {
    const source = await this.#sourceOf(path);
    const like = source === undefined ? undefined : await lstat(source);
    const entry = this.#stage(path);
    try {
      entry.complete = await writeDurably(entry.path, data, options, like);
    } catch (error) {
      this.#staged = this.#staged.filter((each) => each !== entry);
      stagedHere.delete(entry.path);
      throw error;
    }
    this.list.push({ operation: 'write', path, staged: entry.path });
    this.#view.set(path, entry.path);
  }

  #stage(target: string): Staged {
    const entry: Staged = {
      path: stagedPath(target, this.#txn.id, nextNumber(this.#txn, SEQUENCE)),
      complete: undefined,
    };
    // Known before it is there, so that it is removed however far it comes.
    this.#staged.push(entry);
    stagedHere.add(entry.path);
    return entry;
  }

  async rename(path: string, to: string): Promise<void> {
    const source = await this.#requireSource(path, 'rename');
    if (path === to) return;
    await this.#sourceOf(to);
    const [from, folder] = await Promise.all([lstat(source), stat(dirname(to))]);
    if (from.dev !== folder.dev) throw systemError('EXDEV', 'cross-device link not permitted', 'rename', path, to);
    this.list.push({ operation: 'rename', path, to });
    this.#view.set(to, source);
    this.#view.set(path, undefined);
  }

  async unlink(path: string): Promise<void> {
    await this.#requireSource(path, 'unlink');
    this.list.push({ operation: 'unlink', path });
    this.#view.set(path, undefined);
  }

  /** The state to which {@link returnTo} returns. */
  get soFar(): Then {
    return { view: new Map(this.#view), changes: this.list.length, staged: this.#staged.length };
  }

  async returnTo(then: Then): Promise<void> {
    this.list.length = then.changes;
    this.#view = new Map(then.view);
    await this.#remove(this.#staged.splice(then.staged));
  }

  /**
   * Finds whatever could keep the changes from being made; what was staged outlives a power failure from here on.
   * @throws FileConflictError where somebody else has changed a file, and the system's error for all else.
   */
  async check(name: string): Promise<void> {
    for (const path of this.paths) {
      if (!isSame(await look(path), this.#seen.get(path))) throw this.#changed(name, path);
    }
    for (const { path, complete } of this.#staged) {
      const isLost = complete !== undefined && !isSame(await look(path), complete);
      if (isLost) throw this.#changed(name, path);
    }
    for (const folder of new Set([...this.paths].map(dirname))) await access(folder, constants.W_OK | constants.X_OK);
    for (const change of this.list) {
      if (change.operation === 'rename' && dirname(change.path) !== dirname(change.to)) {
        await this.#tryRename(change.path, change.to);
      }
    }
    await syncFolders(this.list.filter(({ operation }) => operation === 'write').map(({ path }) => path));
  }

  #changed(name: string, path: string): FileConflictError {
    return new FileConflictError(
      `a file must stay as it was when its transaction first looked until that commits; ${path} was changed or replaced, so nothing was committed: try it again`,
      { resource: name, xid: this.#txn.id, phase: 'tpcVote' },
    );
  }

  /** Whether a file can be renamed from one folder to another only a rename tells: a mount may lie between them. */
  async #tryRename(from: string, to: string): Promise<void> {
    const [source, target] = [this.#stage(from).path, this.#stage(to).path];
    await (await open(source, 'wx')).close();
    await rename(source, target);
    await unlink(target);
  }

  /** Removes what was staged; what is in place by now isn't there any more under that name. */
  async discard(): Promise<void> {
    this.list = [];
    this.#view.clear();
    await this.#remove(this.#staged.splice(0));
  }

  async #remove(staged: readonly Staged[]): Promise<void> {
    let first: Error | undefined;
    for (const { path } of staged) {
      stagedHere.delete(path);
      try {
        await unlink(path).catch(ignoreMissing);
      } catch (error) {
        if (first === undefined) first = error as Error;
        else suppress(first, error);
      }
    }
    if (first !== undefined) throw first;
  }

  /** Leaves what is staged where it is: its transaction has ended, and somebody may need it. */
  leave(): void {
    for (const { path } of this.#staged.splice(0)) stagedHere.delete(path);
  }
}

/** A new file, with the owner and the rights of the one that it is to replace; nobody may read more of it meanwhile. */
async function writeDurably(
  path: string,
  data: string | Uint8Array,
  { encoding = 'utf8', mode }: WriteOptions,
  like: Stats | undefined,
): Promise<Seen> {
  const rights = mode ?? (like === undefined ? undefined : like.mode & 0o7777);
  const handle = await open(path, 'wx', rights ?? 0o666);
  try {
    await handle.writeFile(data, { encoding });
    const { uid, gid } = await handle.stat();
    if (like !== undefined && (uid !== like.uid || gid !== like.gid)) await handle.chown(like.uid, like.gid);
    if (rights !== undefined) await handle.chmod(rights);
    await handle.sync();
    return await handle.stat({ bigint: true });
  } catch (error) {
    // Only what was made here; what was there before, open() has refused.
    await unlink(path).catch((failure: unknown) => suppress(error, failure));
    throw error;
  } finally {
    await handle.close();
  }
}

/** Makes durable what was renamed to, from or removed in the folders of `paths`. */
export async function syncFolders(paths: readonly string[]): Promise<void> {
  for (const folder of new Set(paths.map(dirname))) {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
