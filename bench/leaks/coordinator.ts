// Looks for what transactions of the coordinator alone leave behind: every way to begin, to end and to fail.
import { getEventListeners } from 'node:events';
import {
  type DataManager,
  type Transaction,
  TransactionCoordinator,
  TransactionManager,
  TransientError,
} from '../../coordinator/index.ts';
import { MemoryStore } from '../../datamanagers/memory/index.ts';
import { serve } from '../serve.ts';
import { type Kind, type Track, activeResources, listenersOf, resourcesAsBefore, runBlocks } from './blocks.ts';
import { type LeakAnswer, type LeakRequest, exactly } from './report.ts';

type Phase = 'tpcBegin' | 'commit' | 'tpcVote' | 'tpcFinish' | 'abort';

const nothing = (): void => {};
const FAR_MS = 60_000;

// Both live as long as the process, as those of an application do.
const coordinator = new TransactionCoordinator({ onError: nothing });
const shared = new AbortController();

/** A data manager that does nothing, but for the phase in which it fails; every other one takes its time for it. */
function manager(index: number, fails?: Phase): DataManager {
  const answer = (phase?: Phase) => (): void | Promise<void> => {
    if (phase !== undefined && phase === fails) throw new Error('failed');
    if (index % 2 === 0) return Promise.resolve();
  };
  return {
    sortKey: 'a',
    tpcBegin: answer('tpcBegin'),
    commit: answer('commit'),
    tpcVote: answer('tpcVote'),
    tpcFinish: answer('tpcFinish'),
    tpcAbort: answer(),
    abort: answer('abort'),
    savepoint: () => ({ rollback: nothing }),
  };
}

/** Gives a transaction all that it may have. */
async function fill(txn: Transaction, index: number, fails?: Phase): Promise<void> {
  txn.join(manager(index, fails));
  txn.join(manager(index));
  txn.setData(txn, index);
  txn.setExtendedInfo('index', index);
  txn.note('a note');
  txn.addBeforeCommitHook(nothing);
  txn.addAfterCommitHook(nothing);
  txn.addBeforeAbortHook(nothing);
  txn.addAfterAbortHook(nothing);
  await txn.savepoint();
}

function begun(end: (txn: Transaction) => Promise<void>, fails?: Phase): Kind['one'] {
  return (track, index) =>
    coordinator.context(async () => {
      const txn = await coordinator.begin();
      track(txn);
      await fill(txn, index, fails);
      await end(txn);
    });
}

const commit = (txn: Transaction): Promise<void> => txn.commit();
const abort = (txn: Transaction): Promise<void> => txn.abort();

const refused = (): never => {
  throw new Error('refused');
};

/** Is not done, whenever it is looked at: what waits for it goes with it. */
const never = (): Promise<void> => new Promise(nothing);

async function work(track: Track, index: number, txn: Transaction): Promise<void> {
  track(txn);
  await fill(txn, index);
}

/** A run in a run, of each kind in turn; half of the inner ones fail, which the outer one gets over. */
function inner(track: Track, index: number): Promise<unknown> {
  const body = index % 2 === 0 ? nothing : refused;
  return coordinator.run(async (txn) => {
    await work(track, index, txn);
    await [
      () => coordinator.run(body, { propagation: 'nested' }),
      () => coordinator.run(body, { propagation: 'requires-new' }),
      () => coordinator.run(body, { propagation: 'not-supported' }),
    ][index % 3]!().catch(nothing);
  });
}

async function byAttempts(track: Track, index: number): Promise<void> {
  for await (const attempt of coordinator.attempts(3, { backoff: false })) {
    await attempt(async (txn) => {
      await work(track, index, txn);
      if (txn.attempt < 2) throw new TransientError('again');
    });
  }
}

async function byManager(track: Track, index: number): Promise<void> {
  const manager = new TransactionManager();
  const synchronizer = { beforeCompletion: nothing };
  manager.registerSynch(synchronizer);
  const txn = await manager.begin();
  await work(track, index, txn);
  await txn.commit();
  manager.unregisterSynch(synchronizer);
}

const memory = new MemoryStore<number, number>({ coordinator });
const KEYS = 16;

const kinds: readonly Kind[] = [
  { name: 'begin, commit', share: 20, ends: ['done'], one: begun(commit) },
  { name: 'begin, abort', share: 10, ends: ['done'], one: begun(abort) },
  { name: 'tpcBegin fails', share: 2, ends: ['failed'], one: begun(commit, 'tpcBegin') },
  { name: 'commit fails', share: 2, ends: ['failed'], one: begun(commit, 'commit') },
  { name: 'tpcVote fails', share: 2, ends: ['failed'], one: begun(commit, 'tpcVote') },
  { name: 'tpcFinish fails', share: 2, ends: ['InDoubtError'], one: begun(commit, 'tpcFinish') },
  { name: 'abort fails', share: 2, ends: ['failed'], one: begun(abort, 'abort') },
  { name: 'left open', share: 2, ends: ['done'], one: begun(() => Promise.resolve()) },
  {
    name: 'run, memory store',
    share: 10,
    ends: ['done'],
    one: (track, index) =>
      coordinator.run((txn) => {
        track(txn);
        memory.set(index % KEYS, index);
      }),
  },
  {
    name: 'run',
    share: 10,
    ends: ['done'],
    one: (track, index) => coordinator.run((txn) => work(track, index, txn)),
  },
  {
    name: 'run, throws',
    share: 5,
    ends: ['refused'],
    one: (track, index) => coordinator.run((txn) => work(track, index, txn).then(refused)),
  },
  {
    name: 'run, tried again',
    share: 4,
    ends: ['done'],
    one: (track, index) =>
      coordinator.run(
        async (txn) => {
          await work(track, index, txn);
          if (txn.attempt < 2) throw new TransientError('again');
        },
        { backoff: { baseMs: 1 } },
      ),
  },
  { name: 'attempts', share: 3, ends: ['done'], one: byAttempts },
  { name: 'run in run', share: 9, ends: ['done'], one: inner },
  {
    name: 'run joins run',
    share: 3,
    ends: ['refused'],
    one: (track, index) => coordinator.run((txn) => work(track, index, txn).then(() => coordinator.run(refused))),
  },
  {
    name: 'timeout and signal, in time',
    share: 6,
    ends: ['done'],
    one: (track, index) => {
      const options = { timeoutMs: FAR_MS, signal: shared.signal };
      return coordinator.run((txn) => work(track, index, txn).then(() => coordinator.run(nothing, options)), options);
    },
  },
  {
    name: 'timeout, too late',
    share: 2,
    ends: ['TransactionTimeoutError'],
    one: (track, index) => coordinator.run((txn) => work(track, index, txn).then(() => never()), { timeoutMs: 1 }),
  },
  {
    name: 'signal, aborted',
    share: 2,
    ends: ['DoomedTransaction'],
    one: (track, index) => {
      const own = new AbortController();
      const signal = AbortSignal.any([own.signal, shared.signal]);
      return coordinator.run((txn) => work(track, index, txn).then(() => own.abort()), { signal });
    },
  },
  { name: 'TransactionManager', share: 4, ends: ['done'], one: byManager },
];

async function look(request: LeakRequest): Promise<LeakAnswer> {
  const resources = activeResources();
  const listeners = listenersOf(process);
  const { findings, ...rest } = await runBlocks(request, kinds, async () => {});
  // Resolves only if none is counted as open.
  const open = await coordinator.close({ timeoutMs: 1_000 }).then(
    () => 0,
    () => 1,
  );
  return {
    ...request,
    ...rest,
    findings: [
      ...findings,
      exactly('transactions that the coordinator counts as open', open, 0),
      exactly('listeners on a signal that lives on', getEventListeners(shared.signal, 'abort').length, 0),
      exactly('listeners on the process', listenersOf(process), listeners),
      await resourcesAsBefore(resources),
    ],
  };
}

serve({ look });
