// How a slice is asked for and answered, and what a contender is.

/** How many rows, or keys, there are. */
export const ROWS = 10_000;

/** Does one transaction, on the row or key `id`. */
export type Once = (id: number) => Promise<unknown>;
/** How one client works: called once for each of them. */
export type Client = (loop: (once: Once) => Promise<void>) => Promise<void>;
/** A way to do the same: a client for each workload. */
export type Way<Workload extends string> = Readonly<Partial<Record<Workload, Client>>>;

export type SliceRequest = {
  readonly workload: string;
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

/** Asks for `first` transactions and then for as many as are done in `ms`, `transactions` at most, whose round trips are counted. */
export type CountRequest = {
  readonly workload: string;
  readonly first: number;
  readonly transactions: number;
  readonly ms: number;
};
export type CountAnswer = {
  /** How many were done, with the first. */
  readonly transactions: number;
  readonly flights: number;
};

/** A client that needs nothing around its loop. */
export function simple(once: Once): Client {
  return (loop) => loop(once);
}

/** One of the ids that are this client's alone: nobody waits for another's lock, or tries again because of one. */
export function randomId(client = 0, clients = 1): number {
  return 1 + client + clients * Math.floor(Math.random() * Math.floor(ROWS / clients));
}
