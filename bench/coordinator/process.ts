// The process of one variant of table 1: answers how many nanoseconds a transaction takes.
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type DataManager,
  type Transaction,
  TransactionCoordinator,
  TransactionManager,
} from '../../coordinator/index.ts';
import { serve } from '../serve.ts';
import { BareTransaction } from './bare.ts';
import { type Case, type Slice, type VariantName, cases, openAtOnce } from './cases.ts';

const nothing = (): void => {};
const later = async (): Promise<void> => {};
const savepoint = { rollback: nothing };

function manager(answer: () => void | Promise<void>): DataManager {
  return {
    sortKey: 'a',
    tpcBegin: answer,
    commit: answer,
    tpcVote: answer,
    tpcFinish: answer,
    tpcAbort: answer,
    abort: answer,
    savepoint: () => savepoint,
  };
}

const synchronous = Array.from({ length: 8 }, () => manager(nothing));
const asynchronous = Array.from({ length: 8 }, () => manager(later));

function managersOf(each: Case): DataManager[] {
  return (each.asynchronous ? asynchronous : synchronous).slice(0, each.managers);
}

async function fill(txn: Transaction, each: Case, managers: readonly DataManager[]): Promise<void> {
  for (const manager of managers) txn.join(manager);
  for (let hook = 0; hook < each.hooks; hook++) {
    if (hook % 2 === 0) txn.addBeforeCommitHook(nothing);
    else txn.addAfterCommitHook(nothing);
  }
  for (let made = 0; made < each.savepoints; made++) await txn.savepoint();
}

/** Whether a case needs more than to join, which is all synchronous. */
function needsMore(each: Case): boolean {
  return each.hooks > 0 || each.savepoints > 0;
}

type Begins = { begin(): Promise<Transaction> };

async function byBegin(machine: Begins, each: Case, count: number): Promise<void> {
  const managers = managersOf(each);
  const more = needsMore(each);
  for (let index = 0; index < count; index++) {
    const txn = await machine.begin();
    if (more) await fill(txn, each, managers);
    else for (const manager of managers) txn.join(manager);
    if (each.abort) await txn.abort();
    else await txn.commit();
  }
}

async function byRun(coordinator: TransactionCoordinator, each: Case, count: number): Promise<void> {
  const managers = managersOf(each);
  const more = needsMore(each);
  for (let index = 0; index < count; index++) {
    await coordinator.run(async (txn) => {
      if (more) await fill(txn, each, managers);
      else for (const manager of managers) txn.join(manager);
      if (each.abort) await txn.abort();
    });
  }
}

async function bareTransaction(each: Case, managers: readonly DataManager[]): Promise<void> {
  const txn = new BareTransaction();
  for (const manager of managers) txn.join(manager);
  for (let hook = 0; hook < each.hooks; hook++) (hook % 2 === 0 ? txn.beforeCommit : txn.afterCommit).push(nothing);
  for (let made = 0; made < each.savepoints; made++) await txn.savepoint();
  if (each.abort) await txn.abort();
  else if (each.asynchronous) await txn.commitAwaiting();
  else await txn.commit();
}

async function bare(each: Case, count: number): Promise<void> {
  const managers = managersOf(each);
  for (let index = 0; index < count; index++) await bareTransaction(each, managers);
}

async function bareInContext(storage: AsyncLocalStorage<object>, each: Case, count: number): Promise<void> {
  const managers = managersOf(each);
  for (let index = 0; index < count; index++) await storage.run({}, bareTransaction, each, managers);
}

/** Opens a transaction with one manager, and leaves it open until `end` answers. */
type Open = (end: Promise<void>) => Promise<void>;

async function holdOpen(txn: Transaction, end: Promise<void>): Promise<void> {
  txn.join(synchronous[0]!);
  await end;
}

type Variant = { readonly transactions: (each: Case, count: number) => Promise<void>; readonly open: Open };

function variant(name: VariantName): Variant {
  if (name === 'bare' || name === 'bare+als') {
    const storage = name === 'bare' ? undefined : new AsyncLocalStorage<object>();
    return {
      transactions: (each, count) => (storage === undefined ? bare(each, count) : bareInContext(storage, each, count)),
      open: async (end) => {
        const txn = new BareTransaction();
        txn.join(synchronous[0]!);
        await end;
        await txn.commit();
      },
    };
  }
  if (name === 'manager' || name === 'manager+als') {
    // From here on every promise carries a context, used or not.
    if (name === 'manager+als') new AsyncLocalStorage().enterWith({});
    const machine = new TransactionManager();
    return {
      transactions: (each, count) => byBegin(machine, each, count),
      open: async (end) => {
        const txn = await new TransactionManager().begin();
        await holdOpen(txn, end);
        await txn.commit();
      },
    };
  }
  const coordinator = new TransactionCoordinator();
  return {
    transactions: (each, count) =>
      name === 'run' ? byRun(coordinator, each, count) : coordinator.context(() => byBegin(coordinator, each, count)),
    open: (end) =>
      name === 'run'
        ? coordinator.run((txn) => holdOpen(txn, end))
        : coordinator.context(async () => {
            const txn = await coordinator.begin();
            await holdOpen(txn, end);
            await txn.commit();
          }),
  };
}

/** Bytes of heap that an open transaction holds. */
async function heap(open: Open): Promise<number> {
  const { gc } = globalThis;
  gc!();
  const before = process.memoryUsage().heapUsed;
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const all: Promise<void>[] = [];
  for (let index = 0; index < openAtOnce; index++) all.push(open(ended));
  await new Promise((resolve) => setImmediate(resolve));
  gc!();
  const bytes = process.memoryUsage().heapUsed - before;
  end();
  await Promise.all(all);
  return bytes / openAtOnce;
}

const { transactions, open } = variant(process.argv[2] as VariantName);

serve({
  slice: async ({ name, count }: Slice) => {
    const start = process.hrtime.bigint();
    await transactions(cases[name], count);
    return Number(process.hrtime.bigint() - start) / count;
  },
  heap: () => heap(open),
});
