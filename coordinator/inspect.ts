/** The open transactions of a coordinator in plain objects, for a debugger or a REPL. */
import { environment } from './environment.ts';
import type { Status } from './status.ts';
import type { Transaction } from './transaction.ts';
import type { CommitWay } from './types.ts';
import type { Watch } from './watch.ts';

/** A coordinator at a moment. */
export interface CoordinatorInspection {
  /** Whether it was closed. */
  readonly isClosed: boolean;
  /** Its open transactions, the oldest first. */
  readonly transactions: readonly TransactionInspection[];
  /** Where its decisions are; absent where it has no decision log. */
  readonly decisions?: {
    /** The identity of the store; absent until it was reached. */
    readonly store?: string;
    /** The identity under which this process decides; absent while it may not. */
    readonly incarnation?: string;
    /** Transactions of this process that are in doubt. */
    readonly inDoubt: readonly string[];
  };
}

/** An open transaction at a moment. */
export interface TransactionInspection {
  /** The global transaction id. */
  readonly id: string;
  /** Where it is in its life. */
  readonly status: Status;
  /** For how long it has been open, in milliseconds. */
  readonly ageMs: number;
  /** For how long nothing has run in it, in milliseconds; only with the option `watch`. */
  readonly idleMs?: number;
  /** Which attempt of `run` it is, from 1. */
  readonly attempt: number;
  /** What it is about: its notes, one a line. */
  readonly note: string;
  /** Who it is done for. */
  readonly user: string;
  /** The way that its commit takes; absent until its votes. */
  readonly way?: CommitWay;
  /** What has joined it, in the order of joining. */
  readonly resources: readonly ResourceInspection[];
  /** Where it began; only with the option `watch`. */
  readonly began?: string;
}

/** What has joined a transaction. */
export interface ResourceInspection {
  /** What errors and votes call it. */
  readonly name: string;
  /** The state of a session. */
  readonly state?: string;
  /** Whether it has something to commit; absent where it doesn't say. */
  readonly changed?: boolean;
}

/** @internal */
export function inspectTransaction(txn: Transaction, watch: Watch | undefined): TransactionInspection {
  const began = watch?.beganOf(txn);
  return {
    id: txn.id,
    status: txn.status,
    // A coordinator notes of each when it began.
    ageMs: environment.now() - txn.startedMs!,
    ...(watch === undefined ? {} : { idleMs: watch.idleMsOf(txn) }),
    attempt: txn.attempt,
    note: txn.description,
    user: txn.user,
    ...(txn.way === undefined ? {} : { way: txn.way }),
    resources: txn.resources.map((manager) => {
      const { state } = manager as { state?: unknown };
      return {
        name: txn.nameOf(manager),
        ...(typeof state === 'string' ? { state } : {}),
        ...(manager.changed === undefined ? {} : { changed: manager.changed }),
      };
    }),
    ...(began === undefined ? {} : { began }),
  };
}
