// What the crash matrix and the processes that it kills say to each other.
import type { Setting } from './resources.ts';

/** Where a commit can be stopped, in this order. */
export type Point =
  /** All work is done, and nobody was asked to prepare. */
  | 'before the votes'
  /** All are prepared but the one that takes the decision along. */
  | 'all prepared'
  /** Somebody has voted no, and nothing is rolled back yet. */
  | 'voted no'
  /** The decision is written, and nobody was told to follow. */
  | 'decided'
  /** All have followed, and nobody was told that it has committed. */
  | 'followed';

/** A transaction that is run by a coordinator of its own. */
export interface Task {
  /** Whose it is. */
  readonly name: string;
  readonly setting: Setting;
  /** What it writes in both databases. */
  readonly id: number;
  /** Where it waits until it may go on. */
  readonly stopAt?: Point | undefined;
  /** Somebody votes no when all are prepared. */
  readonly votesNo?: boolean | undefined;
}

/** What a process is told. */
export type Order =
  | { readonly do: 'run'; readonly tasks: readonly Task[] }
  /** To run another transaction on the same coordinators. */
  | { readonly do: 'run again'; readonly name: string; readonly id: number }
  | { readonly do: 'go on' }
  /** To recover what others have left, again and again. */
  | { readonly do: 'recover'; readonly name: string; readonly setting: Setting };

/** How a transaction ended, as its caller was told. */
export interface Told {
  readonly outcome: 'committed' | 'aborted' | 'in doubt';
  /** The resources that had not followed yet. */
  readonly pending: readonly string[];
  /** The codes of the error, of its causes and of what hangs on it. */
  readonly codes: readonly string[];
  readonly error?: string | undefined;
}

/** What a process says. */
export type Word =
  | { readonly name: string; readonly is: 'at'; readonly point: Point; readonly gid: string }
  | { readonly name: string; readonly is: 'told'; readonly id: number; readonly told: Told }
  | { readonly name: string; readonly is: 'resolved'; readonly outcome: string }
  | { readonly name: string; readonly is: 'reported'; readonly code: string; readonly message: string };
