// A process that changes two databases, calls a function of outboxed, and is killed right after its decision is written. Started by
// outboxed-databases.test.ts.
//
//   outboxed-dying.ts STORE_URL OTHER_URL AMOUNT
import { writeSync } from 'node:fs';
import { TransactionCoordinator, outboxed } from 'unanimous';
import { execute, openParts } from './outboxed-parts.ts';

const [storeUrl, otherUrl, amount] = process.argv.slice(2) as [string, string, string];
const coordinator = new TransactionCoordinator({ app: 'outboxed' });
const { store, other, decisionLog } = openParts(storeUrl, otherUrl, coordinator);
coordinator.configure({ decisionLog, recovery: { leaseMs: 1_000 } });
const publish = outboxed('publish', () => process.stdout.write('called\n'), { coordinator });

const nothing = (): void => undefined;
await coordinator.run(async (txn) => {
  for (const session of [store, other]) await execute(session, `update accounts set balance = ${amount} where id = 1`);
  const key = publish({ amount: Number(amount) });
  // Before the databases finish: the decision is all that there is.
  const tpcFinish = (): void => {
    writeSync(1, `${key}\n`);
    process.kill(process.pid, 'SIGKILL');
  };
  txn.join({
    sortKey: '!',
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish,
    tpcAbort: nothing,
    abort: nothing,
  });
});
