// Round trips and fsyncs of a transaction, counted rather than measured: by processes of their own, one at a time.
import type { Contender } from '../contender.ts';
import type { CountAnswer, CountRequest } from './slice.ts';

export type Counts = {
  /** Writes that follow a read, at the sockets of the client. */
  readonly flights: number;
  /** Of the servers' logs; none where no server says. */
  readonly fsyncs: number | undefined;
};

/** How many fsyncs there were since the servers' start, once nobody is connected any more; none where no server says. */
export type CountsFsyncs = () => Promise<number | undefined>;

const FIRST = 25;
const TRANSACTIONS = 200;
const LONGEST_MS = 1_500;

/** Starts a contender only for this: its connections must be closed for a server to count all. */
export async function countOnce(
  start: () => Promise<Contender>,
  workload: string,
  fsyncs: CountsFsyncs,
): Promise<Counts> {
  const before = await fsyncs();
  const contender = await start();
  let counted: CountAnswer;
  try {
    const request: CountRequest = { workload, first: FIRST, transactions: TRANSACTIONS, ms: LONGEST_MS };
    counted = await contender.ask<CountAnswer>('count', request);
  } finally {
    await contender.stop();
  }
  const after = await fsyncs();
  const { flights, transactions } = counted;
  return {
    flights,
    fsyncs: before === undefined || after === undefined ? undefined : (after - before) / transactions,
  };
}
