// Many transactions, or contexts, that are open at once in the coordinator alone.
import { type DataManager, type Transaction, TransactionCoordinator } from '../../coordinator/index.ts';
import { MemoryStore } from '../../datamanagers/memory/index.ts';
import { serveSeries } from './serve-series.ts';
import type { Make } from './series.ts';

/** A commit copies the store, so that it is kept small. */
const KEYS = 16;
/** So many transactions in a row have a time that can be measured. */
const IN_A_ROW = 100;

function storeOf(coordinator: TransactionCoordinator): MemoryStore<number, number> {
  return new MemoryStore<number, number>({ coordinator });
}

/** Microseconds of this process's CPU, which another process can't make more of. */
async function cpuOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Opens when so many have come. */
function gate(size: number): () => Promise<void> {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  let come = 0;
  return () => {
    if (++come === size) open();
    return opened;
  };
}

/** What a transaction of a size does: writes to a store, or has a data manager join that does nothing. */
type Work = (coordinator: TransactionCoordinator) => (index: number, txn: Transaction) => void;

const stores: Work = (coordinator) => {
  const store = storeOf(coordinator);
  return (index) => store.set(index % KEYS, index);
};

const nothing = (): void => {};
const manager: DataManager = {
  sortKey: 'a',
  tpcBegin: nothing,
  commit: nothing,
  tpcVote: nothing,
  tpcFinish: nothing,
  tpcAbort: nothing,
  abort: nothing,
};

const joins: Work = () => (_index, txn) => txn.join(manager);

type One = (coordinator: TransactionCoordinator, work: (txn: Transaction) => Promise<void>) => Promise<void>;

/** No transaction at all: what it takes to have so many functions wait. */
const waits: Make = () => async (size) => {
  const batches = Math.ceil(IN_A_ROW / size);
  const microseconds = await cpuOf(async () => {
    for (let batch = 0; batch < batches; batch++) {
      const pass = gate(size);
      const one = async (): Promise<void> => {
        await pass();
      };
      await Promise.all(Array.from({ length: size }, one));
    }
  });
  return microseconds / (batches * size);
};

const runs: One = (coordinator, work) => coordinator.run(work);

const begins: One = (coordinator, work) =>
  coordinator.context(async () => {
    const txn = await coordinator.begin();
    await work(txn);
    await txn.commit();
  });

/** `size` transactions, none of which ends before all have begun; microseconds for each. */
function atOnce(one: One, workOf: Work): Make {
  return () => {
    const coordinator = new TransactionCoordinator();
    const work = workOf(coordinator);
    return async (size) => {
      const batches = Math.ceil(IN_A_ROW / size);
      const microseconds = await cpuOf(async () => {
        for (let batch = 0; batch < batches; batch++) {
          const pass = gate(size);
          const all = Array.from({ length: size }, (_, index) =>
            one(coordinator, (txn) => {
              work(index, txn);
              return pass();
            }),
          );
          await Promise.all(all);
        }
      });
      return microseconds / (batches * size);
    };
  };
}

/** Transactions in one context, while `size` others are open; microseconds for each. */
const contexts: Make = () => {
  const coordinator = new TransactionCoordinator();
  const store = storeOf(coordinator);
  return async (size) => {
    const pass = gate(size + 1);
    const others = Array.from({ length: size }, () => coordinator.context(pass));
    const microseconds = await cpuOf(() =>
      coordinator.context(async () => {
        for (let index = 0; index < IN_A_ROW; index++) {
          const txn = await coordinator.begin();
          store.set(index % KEYS, index);
          await txn.commit();
        }
      }),
    );
    await pass();
    await Promise.all(others);
    return microseconds / IN_A_ROW;
  };
};

serveSeries({
  waits,
  runs: atOnce(runs, stores),
  begins: atOnce(begins, stores),
  runsJoined: atOnce(runs, joins),
  beginsJoined: atOnce(begins, joins),
  contexts,
});
