/** Where files are: paths as they are given, and the one path by which each file is known. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, relative, resolve, sep } from 'node:path';
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { isStaged } from './staged.ts';

/** Resolves paths, and keeps them below a root where there is one. */
export class Places {
  readonly root: string | undefined;

  constructor(root: string | undefined) {
    this.root = root === undefined ? undefined : resolve(root);
  }

  /**
   * The path of a file, as it is written.
   * @throws ConfigurationError where it is none, is relative to nothing, leaves the root, or is the name of a staged file.
   */
  resolve(path: unknown): string {
    if (typeof path !== 'string' || path === '' || path.includes('\0')) {
      throw new ConfigurationError(`the path of a file must be a text without null characters, not ${describe(path)}`);
    }
    // The system would take all of them for one character, and so several texts for one file.
    if (/\p{Surrogate}/u.test(path)) {
      throw new ConfigurationError(
        `the path of a file must be well-formed Unicode; ${describe(path)} has half a character`,
      );
    }
    const { root } = this;
    if (root === undefined && !isAbsolute(path)) {
      throw new ConfigurationError(
        `a path must be absolute where the session has no root; ${describe(path)} is relative, and nothing is done`,
      );
    }
    const absolute = root === undefined ? normalize(path) : resolve(root, path);
    if (root !== undefined && !isInside(root, absolute)) throw outsideOf(root, path);
    if (path.endsWith(sep) || basename(absolute) === '') {
      throw new ConfigurationError(`the path of a file must not be that of a folder; ${describe(path)} is`);
    }
    if (isStaged(absolute)) {
      throw new ConfigurationError(
        `the name of a file must not be that of a staged one, which cleanUp() removes; ${describe(basename(path))} is`,
      );
    }
    return absolute;
  }

  /** The folder to look into for staged files. @throws ConfigurationError where it leaves the root, or there is none. */
  folder(folder: string | undefined): string {
    const { root } = this;
    const path = root === undefined ? folder : resolve(root, folder ?? '');
    if (path === undefined || !isAbsolute(path)) {
      throw new ConfigurationError(
        `staged files are looked for in a folder with an absolute path where the session has no root, not in ${describe(folder)}`,
      );
    }
    if (root !== undefined && path !== root && !isInside(root, path)) throw outsideOf(root, path);
    return path;
  }

  /**
   * The one path by which a file is known, however it was written: without symbolic links in its folders.
   * @throws ConfigurationError where a link leaves the root, and the system's error where the folder isn't there.
   */
  async canonical(absolute: string): Promise<string> {
    const folder = await realpath(dirname(absolute));
    if (this.root !== undefined) {
      const root = await realpath(this.root);
      if (folder !== root && !isInside(root, folder)) throw outsideOf(this.root, absolute);
    }
    return join(folder, basename(absolute));
  }
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

function outsideOf(root: string, path: string): ConfigurationError {
  return new ConfigurationError(
    `a path must stay below the root of its session, ${root}; ${describe(path)} leaves it, and nothing is done`,
  );
}
