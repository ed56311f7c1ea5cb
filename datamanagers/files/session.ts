/** Files in transactions. */
import { unlink } from 'node:fs/promises';
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { type Rule, type Rules, aBoolean, aFunction, aString, checkOptions } from '../../coordinator/options.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { SessionState } from '../../coordinator/types.ts';
import { PlainSession } from '../support/session.ts';
import { FileBranch } from './branch.ts';
import type { WriteOptions } from './changes.ts';
import { stagedHere } from './claims.ts';
import { Places } from './place.ts';
import { type StagedFile, ignoreMissing, listStaged } from './staged.ts';

/** Options of a file session. */
export interface FileSessionOptions {
  /** What it is called in errors: 1 to 63 of `A-Z a-z 0-9 _ . -`; default `files`. */
  name?: string | undefined;
  /** The folder that relative paths start from and that no path may leave. Without it, paths must be absolute. */
  root?: string | undefined;
}

/** Options of `writeFile`. */
export interface WriteFileOptions {
  /** How a text is encoded; default `utf8`. */
  encoding?: BufferEncoding | undefined;
  /** The rights of the file; default those that it has, and those that the umask leaves of 0o666 for a new one. */
  mode?: number | undefined;
}

/** Options of `listStaged`. */
export interface ListStagedOptions {
  /** Where to look, relative to the root of the session; default that root. */
  folder?: string | undefined;
  /** Whether the folders in the folder are looked through too, at any depth; default false. */
  recursive?: boolean | undefined;
}

/** Options of `cleanUp`. */
export interface CleanUpOptions extends ListStagedOptions {
  /** Whether the transaction with this id has committed: what it has staged is kept then, because it may not be in place. */
  isCommitted: (xid: string) => boolean | Promise<boolean>;
  /** How old a staged file must be, in milliseconds, for its transaction not to be under way any more; default an hour. */
  olderThanMs?: number | undefined;
}

const anEncoding: Rule = {
  requires: 'an encoding, such as utf8',
  accepts: (value) => typeof value === 'string' && Buffer.isEncoding(value),
};
const aMode: Rule = {
  requires: 'a number from 0 to 0o7777',
  accepts: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0o7777,
};
const anAge: Rule = {
  requires: 'a number of milliseconds of at least 0',
  accepts: (value) => typeof value === 'number' && value >= 0,
};

const optionRules: Rules<FileSessionOptions> = { name: aString, root: aString };
const writeRules: Rules<WriteFileOptions> = { encoding: anEncoding, mode: aMode };
const listRules: Rules<ListStagedOptions> = { folder: aString, recursive: aBoolean };
const cleanUpRules: Rules<CleanUpOptions> = { ...listRules, isCommitted: aFunction, olderThanMs: anAge };

const DEFAULT_AGE_MS = 3_600_000;

/**
 * Files that are written, renamed and removed when their transaction commits, and stay as they were when it doesn't.
 *
 * A file that is written is staged beside the one that it is to be, as `.<transaction>+<number>+<name>.unanimous-staged`, and is durable
 * before the vote ends; it is put in place by a rename, which replaces the whole file at once. The vote finds what could keep a change
 * from being made, and refuses with {@link FileConflictError} where somebody else has changed a file since this transaction first looked at it.
 * Each change is made whole or not at all; that all of them are made is promised as long as the process lives: one that dies between two
 * of them leaves the first made and the others not.
 *
 * Linux and macOS. Regular files only; a link is refused, so that nothing is written where it isn't expected.
 */
export class FileSession extends PlainSession<FileBranch> {
  readonly #places: Places;

  /** @throws ConfigurationError for unknown or impossible options. */
  constructor(options: FileSessionOptions = {}) {
    checkOptions('new FileSession()', options, optionRules);
    super(options.name ?? 'files');
    this.#places = new Places(options.root);
  }

  /**
   * Writes a file, new or in place of another, when the current transaction commits. The folder must be there. Another
   * file's rights and owner are kept; its other hard links keep what they had.
   *
   * @param data must not be changed until the promise has resolved, as with `fs.writeFile`.
   * @throws NoTransaction without a transaction, TransactionClosed once its end has begun, TransactionStateError where it is read-only.
   * @throws ConfigurationError for a path that leaves the root or is that of no regular file, and for unknown or impossible options.
   * @throws The system's error (ENOENT, EACCES, ENOSPC, EPERM where the owner can't be kept, …), as `node:fs` makes it.
   */
  async writeFile(path: string, data: string | Uint8Array, options: WriteFileOptions = {}): Promise<void> {
    const branch = this.#writable(path);
    checkOptions('writeFile()', options, writeRules);
    if (typeof data !== 'string' && !(data instanceof Uint8Array)) {
      throw new ConfigurationError(`writeFile() takes a text, a Buffer or a Uint8Array, not ${describe(data)}`);
    }
    const given: WriteOptions = { ...options };
    const absolute = this.#places.resolve(path);
    return branch.perform(async (changes) => changes.write(await this.#places.canonical(absolute), data, given));
  }

  /**
   * Renames a file when the current transaction commits; a file of the other name is replaced. Both must be on one file system.
   * @throws as {@link writeFile} does; EXDEV where they aren't.
   */
  async rename(from: string, to: string): Promise<void> {
    const branch = this.#writable(from);
    const [source, target] = [this.#places.resolve(from), this.#places.resolve(to)];
    return branch.perform(async (changes) =>
      changes.rename(await this.#places.canonical(source), await this.#places.canonical(target)),
    );
  }

  /** Removes a file when the current transaction commits. @throws as {@link writeFile} does. */
  async unlink(path: string): Promise<void> {
    const branch = this.#writable(path);
    const absolute = this.#places.resolve(path);
    return branch.perform(async (changes) => changes.unlink(await this.#places.canonical(absolute)));
  }

  /**
   * Reads a file as the current transaction has it: what it has written, or else what is there. Where the transaction changes the file
   * as well, it commits only if nobody else has changed it since this.
   *
   * @throws as {@link writeFile} does; ENOENT also where this transaction has removed or renamed it.
   */
  readFile(path: string): Promise<Buffer>;
  /** The same as a text. */
  readFile(path: string, encoding: BufferEncoding): Promise<string>;
  async readFile(path: string, encoding?: BufferEncoding): Promise<Buffer | string> {
    const branch = this.branch();
    if (encoding !== undefined) checkOptions('readFile()', { encoding }, { encoding: anEncoding });
    const absolute = this.#places.resolve(path);
    const data = await branch.perform(async (changes) => changes.read(await this.#places.canonical(absolute)));
    return encoding === undefined ? data : data.toString(encoding);
  }

  /** Whether there is a file, as the current transaction has it; false where its folder isn't there. @throws as {@link readFile} does. */
  async exists(path: string): Promise<boolean> {
    const branch = this.branch();
    const absolute = this.#places.resolve(path);
    return branch.perform(async (changes) => {
      const known = await this.#places.canonical(absolute).catch(ignoreMissing);
      return known !== undefined && changes.exists(known);
    });
  }

  #writable(path: string): FileBranch {
    const branch = this.branch();
    branch.requireWritable(`used to change ${describe(path)}`);
    return branch;
  }

  /**
   * The staged files of a folder, oldest first: of transactions that are under way in any process, and those that were left by
   * processes that have died.
   *
   * @throws ConfigurationError for unknown or impossible options, and where neither the options nor the session name a folder.
   */
  async listStaged(options: ListStagedOptions = {}): Promise<StagedFile[]> {
    checkOptions('listStaged()', options, listRules);
    return listStaged(this.#places.folder(options.folder), options.recursive ?? false);
  }

  /**
   * Removes staged files that were left by processes that have died, but for those of committed transactions: these may not be in place,
   * which a person has to look at. Returns what it has removed.
   *
   * @throws as {@link listStaged} does, and what `isCommitted` throws.
   */
  async cleanUp(options: CleanUpOptions): Promise<StagedFile[]> {
    checkOptions('cleanUp()', options, cleanUpRules);
    if (options.isCommitted === undefined) {
      throw new ConfigurationError(
        'cleanUp() must be told by isCommitted whether a transaction has committed; without it, it could remove what was to be put in place',
      );
    }
    const { isCommitted, olderThanMs = DEFAULT_AGE_MS, recursive = false } = options;
    const removed: StagedFile[] = [];
    for (const file of await listStaged(this.#places.folder(options.folder), recursive)) {
      const isYoung = Math.max(0, Date.now() - file.modifiedAt.getTime()) < olderThanMs;
      if (isYoung || stagedHere.has(file.path) || (await isCommitted(file.xid))) continue;
      await unlink(file.path).catch(ignoreMissing);
      removed.push(file);
    }
    return removed;
  }

  /** @internal */
  protected open(txn: Transaction, state: SessionState): FileBranch {
    return new FileBranch(this.name, txn, state);
  }
}
