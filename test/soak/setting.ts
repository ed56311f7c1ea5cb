// What a teller is given to work with, and what it and its parent say to each other.
import type { Transfer } from './transfer.ts';

export type BankName = 'a' | 'b' | 'c';

/** The servers: of the banks, and of the counters. */
export type ServerName = BankName | 'redis';

/** How what dead tellers leave is recovered: as it is in the product, or as by those who trust a lease. */
export type RecoveryKind = 'fence' | 'lease-only';

export interface Setting {
  readonly name: string;
  /** Which process under this name it is. */
  readonly life: number;
  readonly seed: string;
  readonly urls: { readonly [S in ServerName]?: string };
  readonly leaseMs: number;
  readonly recovery: RecoveryKind;
  /** How many transfers a teller makes at the same time. */
  readonly atOnce: number;
}

/** Where a teller can be told to stop itself in a commit over several banks. */
export type Point =
  /** All are prepared, but for the one that takes the decision along, and nothing is decided. */
  | 'all prepared'
  /** It is decided, and nobody was told to follow. */
  | 'decided';

/** What a teller is told. */
export type Order =
  | { readonly do: 'work' }
  /** To begin nothing more, and to say so when everything has ended. */
  | { readonly do: 'rest' }
  /** To make this transfer, and to stop itself in it. */
  | { readonly do: 'make'; readonly transfer: Transfer; readonly stopAt: Point }
  /** To stop itself (SIGSTOP) in the next transfer that comes to this point. */
  | { readonly do: 'stop at'; readonly point: Point }
  /** Not to do that any more, and to say so. */
  | { readonly do: 'stop nowhere' };

/** How a transfer ended, as its caller was told. Neither is acknowledged of what is in doubt, or unknown. */
export type Told = 'committed' | 'aborted' | 'in doubt' | 'unknown';

/** A transfer has ended. */
export interface Ended {
  readonly is: 'ended';
  readonly told: Told;
  /** The global ids of its attempts; the last one is what was told of, the others are aborted. */
  readonly gids: readonly string[];
  readonly way?: string | undefined;
  /** Somebody is yet to follow the decision. */
  readonly isPending: boolean;
  /** The codes of the errors that ended its attempts. */
  readonly codes: readonly string[];
  /** Somebody has ended a branch otherwise than was decided. */
  readonly isHeuristic: boolean;
  readonly message?: string | undefined;
}

/** What a teller says. */
export type Word =
  | { readonly is: 'ready' }
  | Ended
  | { readonly is: 'resolved'; readonly gid: string; readonly outcome: 'committed' | 'aborted' | 'unknown' }
  | {
      readonly is: 'recovered';
      readonly fenced: number;
      readonly committed: number;
      readonly rolledBack: number;
      readonly delivered: number;
    }
  | { readonly is: 'reported'; readonly code: string; readonly message: string }
  | { readonly is: 'resting' }
  /** It is going to stop itself now. */
  | { readonly is: 'stopping' }
  | { readonly is: 'stopping nowhere' };
