/** Hooks before and after commit and abort (zope 89-103). */
import type { RegisteredHook } from './types.ts';

export type HookKind = 'beforeCommit' | 'afterCommit' | 'beforeAbort' | 'afterAbort';

/** How many hooks of each kind there were when a savepoint was made. */
export type HookCounts = readonly [number, number, number, number];

const KINDS: readonly HookKind[] = ['beforeCommit', 'afterCommit', 'beforeAbort', 'afterAbort'];
const NONE: readonly RegisteredHook[] = [];

/** The hooks of one transaction; made when the first one is added. */
export class Hooks {
  private beforeCommit: RegisteredHook[] | undefined = undefined;
  private afterCommit: RegisteredHook[] | undefined = undefined;
  private beforeAbort: RegisteredHook[] | undefined = undefined;
  private afterAbort: RegisteredHook[] | undefined = undefined;

  add(kind: HookKind, hook: RegisteredHook): void {
    const list = this[kind];
    if (list === undefined) this[kind] = [hook];
    else list.push(hook);
  }

  /** The registered hooks in the order in which they will run. */
  list(kind: HookKind): readonly RegisteredHook[] {
    return this[kind] ?? NONE;
  }

  clear(kind: HookKind): void {
    this[kind] = undefined;
  }

  counts(): HookCounts {
    return [
      this.list('beforeCommit').length,
      this.list('afterCommit').length,
      this.list('beforeAbort').length,
      this.list('afterAbort').length,
    ];
  }

  /** Drops the hooks registered since {@link counts} was taken: the savepoint they followed was rolled back. */
  truncate(counts: HookCounts): void {
    KINDS.forEach((kind, index) => {
      const list = this[kind];
      if (list !== undefined && list.length > counts[index]!) list.length = counts[index]!;
    });
  }
}
