// What table 2 measures, and how a slice is asked for and answered.

/** `write`: SELECT by key, UPDATE by key. `read`: SELECT by key. */
export type Workload = 'write' | 'read';

export const ROWS = 10_000;
export const SELECT = 'select balance from accounts where id = $1';
export const UPDATE = 'update accounts set balance = balance + $2 where id = $1';

export type SliceRequest = {
  readonly workload: Workload;
  readonly clients: number;
  readonly unmeasuredMs: number;
  readonly measuredMs: number;
};

export type SliceAnswer = {
  /** Transactions a second. */
  readonly rate: number;
  /** Of this process, in microseconds a transaction. */
  readonly cpu: number;
  /** Microseconds of each transaction that ended in the measured time. */
  readonly latencies: Float64Array;
};

export function randomId(): number {
  return 1 + Math.floor(Math.random() * ROWS);
}
