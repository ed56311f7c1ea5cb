// A process of the application that transfers money and is killed at the worst moment: the decision is taken, the bank has committed, and
// the audit hasn't heard of it yet.
import { type DataManager, transaction } from 'unanimous';

// Soon taken for dead, so that nobody has to wait for long; 15 seconds are the default.
transaction.configure({ recovery: { leaseMs: 1_000 } });
const { transfer } = await import('./transfer.ts');

const nothing = (): void => undefined;
/** Sorts before every database, so it is the first to hear that all have voted and that it is decided. */
const killer: DataManager = {
  sortKey: '!',
  tpcBegin: nothing,
  commit: nothing,
  tpcVote: nothing,
  tpcFinish: () => void process.kill(process.pid, 'SIGKILL'),
  tpcAbort: nothing,
  abort: nothing,
};

await transaction.run(async (txn) => {
  txn.join(killer);
  await transfer(1, 2, 25);
});
