// What all processes have around them, and the times that they are set up with.
import type { Database, Ledger } from './database.ts';
import type { DecisionStore } from './decision-store.ts';
import type { Receiver } from './messages.ts';
import type { Network } from './network.ts';
import type { Simulator } from './simulator.ts';
import type { Situations } from './situations.ts';

/** Of transactions at once, in each process. */
export const LOOPS = 3;
export const CALL_TIMEOUT_MS = 100;
export const LEASE_MS = 1_000;
export const RECOVERY_EVERY_MS = 300;
export const DECISION_TIMEOUT_MS = 400;

export interface Surroundings {
  readonly simulator: Simulator;
  readonly network: Network;
  readonly situations: Situations;
  readonly ledger: Ledger;
  readonly databases: readonly Database[];
  readonly receiver: Receiver;
  readonly breaches: string[];
}

/** A process works for one decision store. */
export interface Workplace {
  readonly store: DecisionStore;
  readonly loops: number;
}
