// What is asked of a process under load, and what it answers.
import type { Endings, Finding } from '../leaks/report.ts';

/** Works in closed loops for so long. */
export type WorkRequest = { readonly clients: number; readonly ms: number };

export type WorkAnswer = {
  /** Transactions of all kinds, which ended in any way. */
  readonly transactions: number;
  readonly seconds: number;
  /** Microseconds of each transaction that is meant to commit. */
  readonly latencies: Float64Array;
};

export type RestAnswer = {
  /** Bytes of heap, all garbage collected. */
  readonly heap: number;
};

export type EndAnswer = {
  readonly endings: Readonly<Record<string, Endings>>;
  readonly findings: readonly Finding[];
};
