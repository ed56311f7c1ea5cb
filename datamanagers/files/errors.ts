/** The errors of files. */
import { constants } from 'node:os';
import { TransactionError, type TransactionErrorOptions, TransientError, list } from '../../coordinator/errors.ts';

/**
 * A file that the transaction changes was changed by somebody else since the transaction first looked at it, or is being
 * changed now. Nothing was committed; `run` tries again.
 */
export class FileConflictError extends TransientError {
  override get code(): string {
    return 'ERR_TXN_FILE_CONFLICT';
  }
}

/** What became of one change of a file. */
export interface FileResult {
  /** What was to be done. */
  readonly operation: 'write' | 'rename' | 'unlink';
  /** The file that was to be written, renamed or removed. */
  readonly path: string;
  /** What it was to be renamed to. */
  readonly to?: string;
  /** Where the data is that was to be written, unless it is in place. */
  readonly staged?: string;
  /** `not tried`: it works on a file whose own change failed, or nothing was tried at all. */
  readonly outcome: 'done' | 'failed' | 'not tried';
  /** Why it failed. */
  readonly error?: Error;
}

/**
 * Not every file of a committed transaction was put in place. What was done stays so, and the transaction is committed: never repeat
 * it, but do by hand what is missing. It is the cause of the `InDoubtError` that the commit rejects with.
 */
export class FilesNotInPlaceError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_FILES_NOT_IN_PLACE';
  }
  /** What became of each change, in the order in which they were to be made. */
  readonly files: readonly FileResult[];

  constructor(message: string, files: readonly FileResult[], options: TransactionErrorOptions = {}) {
    super(message, options);
    this.files = files;
  }
}

/** What became of the changes, for a message; those that were made are named last. */
export function inWords(results: readonly FileResult[]): string {
  const missing = results
    .filter(({ outcome }) => outcome !== 'done')
    .map((result) => {
      const { outcome, staged, error } = result;
      const where = staged === undefined ? '' : `, its data is in ${staged}`;
      return `${nameOf(result)}: ${outcome}${error === undefined ? '' : ` (${error.message})`}${where}`;
    });
  const done = results.filter(({ outcome }) => outcome === 'done').map(nameOf);
  return `${missing.length === 0 ? 'all were made' : missing.join('; ')}; done: ${list(done)}`;
}

function nameOf({ operation, path, to }: FileResult): string {
  return to === undefined ? `${operation} ${path}` : `${operation} ${path} to ${to}`;
}

/** As the functions of `node:fs` say it: what is asked for isn't there, or is elsewhere. */
export function systemError(code: 'ENOENT' | 'EXDEV', what: string, syscall: string, ...paths: string[]): Error {
  const quoted = paths.map((path) => `'${path}'`).join(' -> ');
  const errno = -constants.errno[code];
  return Object.assign(new Error(`${code}: ${what}, ${syscall} ${quoted}`), { errno, code, syscall, path: paths[0] });
}
