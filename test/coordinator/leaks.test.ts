// Protects against what adds up: after any number of transactions there is no listener, no timer, no context and no memory left, and
// a finished transaction can be collected.
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Transaction, TransactionCoordinator, TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording, turns } from './recording.ts';

const test = suite('leaks', { timeoutMs: 120_000 });

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

const TRANSACTIONS = 100_000;
/** What 100,000 transactions may leave: far less than a hundred bytes for each, as much as noise makes of it. */
const ALLOWED_GROWTH_BYTES = 4_000_000;

async function heapInUse(): Promise<number> {
  for (let time = 0; time < 3; time++) {
    await turns();
    gc();
  }
  return process.memoryUsage().heapUsed;
}

const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;

/** Measures after a tenth, when all code is warm, and at the end. */
async function growth(one: (index: number) => Promise<unknown>): Promise<number> {
  for (let index = 0; index < TRANSACTIONS / 10; index++) await one(index);
  const before = await heapInUse();
  for (let index = 0; index < TRANSACTIONS; index++) await one(index);
  return (await heapInUse()) - before;
}

const nothing = (): void => undefined;
const silent: string[] = [];
Object.defineProperty(silent, 'push', { value: () => 0 });

/** One transaction of each kind in turn: committed, aborted, failed, in doubt, with hooks, savepoints and data. */
async function anyKind(begin: () => Promise<Transaction>, index: number): Promise<void> {
  const txn = await begin();
  const fails = [{}, {}, { tpcVote: nothing }, { tpcFinish: nothing }, { commit: nothing, abort: nothing }][index % 5]!;
  txn.join(recording(silent, 'a', { fails, savepoints: true, async: index % 2 === 0 }));
  txn.setData(txn, index);
  txn.addAfterCommitHook(nothing);
  txn.addAfterAbortHook(nothing);
  await txn.savepoint();
  if (index % 5 === 1) await txn.abort();
  else await txn.commit().catch(nothing);
  await txn.abort().catch(nothing);
}

test('the plain manager leaves nothing behind', async () => {
  const manager = new TransactionManager();
  const grown = await growth((index) => anyKind(() => manager.begin(), index));
  assert.ok(grown < ALLOWED_GROWTH_BYTES, `${grown} bytes`);
  assert.is(manager.current, undefined);
});

test('begin and end in one chain of the coordinator leave nothing behind', async () => {
  const coordinator = new TransactionCoordinator();
  const grown = await coordinator.context(() => growth((index) => anyKind(() => coordinator.begin(), index)));
  assert.ok(grown < ALLOWED_GROWTH_BYTES, `${grown} bytes`);
  await coordinator.close({ timeoutMs: 1000 });
});

test('run, nested and joined runs, and contexts leave nothing behind', async () => {
  const coordinator = new TransactionCoordinator();
  const grown = await growth((index) =>
    index % 2 === 0
      ? coordinator.run(() => coordinator.run(nothing, { propagation: index % 4 === 0 ? 'nested' : 'required' }))
      : coordinator.context(() => coordinator.run(() => coordinator.run(nothing, { propagation: 'requires-new' }))),
  );
  assert.ok(grown < ALLOWED_GROWTH_BYTES, `${grown} bytes`);
  await coordinator.close({ timeoutMs: 1000 });
});

test('timeouts and signals leave no timer and no listener behind, and nothing on the signal', async () => {
  const coordinator = new TransactionCoordinator();
  const { signal } = new AbortController();
  const listeners = (): number => getEventListeners(signal, 'abort').length;
  const before = timers();
  const options = { signal, timeoutMs: 60_000 };
  const grown = await growth(() => coordinator.run(() => coordinator.run(nothing, options), options));
  assert.ok(grown < ALLOWED_GROWTH_BYTES, `${grown} bytes`);
  assert.is(listeners(), 0);
  assert.ok(timers() <= before, `${timers()} timers, ${before} before`);
});

test('a finished transaction can be collected, though its manager, its chain and a late task live on', async () => {
  const refs: WeakRef<object>[] = [];
  const manager = new TransactionManager();
  const coordinator = new TransactionCoordinator();
  await (async () => {
    for (let index = 0; index < 5; index++)
      await anyKind(() => manager.begin().then((txn) => (refs.push(new WeakRef(txn)), txn)), index);
    await coordinator.run((txn) => {
      const resource = recording([], 'a', { savepoints: true });
      txn.join(resource);
      refs.push(new WeakRef(txn), new WeakRef(resource));
    });
    await coordinator.context(() => coordinator.begin().then((txn) => (refs.push(new WeakRef(txn)), txn.commit())));
  })();
  await assert.eventually(() => {
    gc();
    return refs.every((ref) => ref.deref() === undefined);
  }, 10_000);
  assert.is(manager.current, undefined);
  assert.is(coordinator.current, undefined);
});

test('what a savepoint or a transaction that somebody keeps still holds is not the data managers', async () => {
  const manager = new TransactionManager();
  const kept: unknown[] = [];
  const refs: WeakRef<object>[] = [];
  await (async () => {
    const txn = await manager.begin();
    const resource = recording([], 'a');
    const datum = {};
    refs.push(new WeakRef(resource), new WeakRef(datum));
    txn.join(resource);
    txn.setData('key', datum);
    kept.push(txn, await txn.savepoint(true));
    await txn.commit();
  })();
  await assert.eventually(() => {
    gc();
    return refs.every((ref) => ref.deref() === undefined);
  }, 10_000);
  assert.is(kept.length, 2);
});
