/** Which files are being put in place, and which staged files are in use, in this process. */

/** Shared by all copies of this package in a process whose state has this shape; another shape takes another number. */
const SHARED = Symbol.for('unanimous.files.1');

interface Shared {
  /** By which branch a path is claimed: from its vote to its end. */
  readonly claims: Map<string, object>;
  /** The staged files of transactions that haven't ended. */
  readonly staged: Set<string>;
}

const store = globalThis as { [SHARED]?: Shared };
const shared: Shared = (store[SHARED] ??= { claims: new Map(), staged: new Set() });

/** The staged files of transactions of this process that haven't ended. */
export const stagedHere: Set<string> = shared.staged;

/** Claims all paths for `owner`, or none; returns the path that somebody else has claimed. */
export function claim(paths: Iterable<string>, owner: object): string | undefined {
  const wanted = [...paths];
  const taken = wanted.find((path) => (shared.claims.get(path) ?? owner) !== owner);
  if (taken !== undefined) return taken;
  for (const path of wanted) shared.claims.set(path, owner);
  return undefined;
}

/** Gives back what `owner` has claimed. */
export function release(paths: Iterable<string>, owner: object): void {
  for (const path of paths) if (shared.claims.get(path) === owner) shared.claims.delete(path);
}
