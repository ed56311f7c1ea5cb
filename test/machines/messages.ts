// What the process of an application on a machine is told, and what it says.
import type { Move } from '../soak/transfer.ts';

/** Where a transfer can be told to wait in its commit, until it is told to go on. */
export type Point =
  /** All statements are done, and the commit has not begun. */
  | 'before commit'
  /** All statements are done, and nothing is prepared. */
  | 'before prepare'
  /** All are prepared, but for the one that takes the decision along, and nothing is decided. */
  | 'all prepared'
  /** It is decided, and nobody was told to follow. */
  | 'decided';

export interface Make {
  readonly do: 'make';
  readonly id: string;
  readonly moves: readonly Move[];
  readonly waitAt?: Point | undefined;
  /** The deadline of the transfer. */
  readonly timeoutMs?: number | undefined;
}

export type Order = Make | { readonly do: 'go on'; readonly id: string };

/** How a transfer ended, as its caller was told. */
export type Told = 'committed' | 'aborted' | 'in doubt' | 'unknown';

export interface Ended {
  readonly is: 'ended';
  readonly id: string;
  readonly gid: string;
  readonly told: Told;
  /** How long it took, from when it went on. */
  readonly ms: number;
  readonly way?: string | undefined;
  /** The resources that are yet to follow the decision. */
  readonly pending: readonly string[];
  /** What was thrown. */
  readonly error?: { readonly name: string; readonly code: string; readonly message: string } | undefined;
}

export type Word =
  | { readonly is: 'ready' }
  | { readonly is: 'waiting'; readonly id: string; readonly gid: string }
  | Ended
  | { readonly is: 'resolved'; readonly id: string; readonly outcome: 'committed' | 'aborted' | 'unknown' }
  | { readonly is: 'recovered'; readonly fenced: readonly string[]; readonly ended: number }
  | { readonly is: 'reported'; readonly code: string; readonly message: string };
