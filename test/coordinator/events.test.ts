// Protects what is told of transactions to who listens: each step once, in order, with what it took, and nothing where nobody does.
import { channel } from 'node:diagnostics_channel';
import {
  CommitOutcomeUnknownError,
  DecisionFailedError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  TransactionCoordinator,
  type TransactionEventName,
  TransactionManager,
  TransientError,
  observe,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('events');

const NAMES: TransactionEventName[] = [
  'begin',
  'join',
  'vote',
  'decide',
  'finish',
  'commit',
  'abort',
  'in-doubt',
  'retry',
];

type Told = { readonly name: string; readonly event: any };

/** What is told while `work` runs. */
async function listen(work: () => unknown): Promise<Told[]> {
  const told: Told[] = [];
  const stop = observe(
    Object.fromEntries(NAMES.map((name) => [name, (event: unknown): unknown => told.push({ name, event })])),
  );
  try {
    await work();
  } finally {
    stop();
  }
  return told;
}

/** In words: the event, its resource, and what came of it. */
const inWords = (told: readonly Told[]): string[] =>
  told.map(({ name, event }) =>
    [name, event.resource, event.vote, event.error?.message].filter((part) => part !== undefined).join(' '),
  );

test('a commit is told step by step, each with its transaction and what it took', async () => {
  const log: string[] = [];
  const coordinator = new TransactionCoordinator();
  const told = await listen(() =>
    coordinator.run((txn) => {
      txn.join(recording(log, 'a', { async: true }));
      txn.join(recording(log, 'b', { vote: 'read-only' }));
    }),
  );
  assert.equal(inWords(told), ['begin', 'join a', 'join b', 'vote a commit', 'vote b read-only', 'finish a', 'commit']);
  const [{ event: first }] = told as [Told];
  for (const { name, event } of told) {
    assert.is(event.transaction, first.transaction);
    if (name !== 'begin' && name !== 'join') assert.ok(event.durationMs >= 0, name);
  }
});

test('an abort is told once, whether by hand, by an error or by a failed commit, which says why', async () => {
  const coordinator = new TransactionCoordinator();
  const log: string[] = [];
  assert.equal(inWords(await listen(() => coordinator.run(() => coordinator.abort()))), ['begin', 'abort']);
  const fails = (): Promise<unknown> =>
    coordinator
      .run(() => {
        throw new Error('no');
      })
      .catch(() => undefined);
  assert.equal(inWords(await listen(fails)), ['begin', 'abort']);
  const refused = (): Promise<unknown> =>
    coordinator
      .run((txn) => txn.join(recording(log, 'a', { fails: { tpcVote: new Error('full') } })))
      .catch(() => undefined);
  assert.equal(inWords(await listen(refused)), ['begin', 'join a', 'vote a full', 'abort full']);
});

test('an attempt that is tried again is told before its abort', async () => {
  const coordinator = new TransactionCoordinator();
  const told = await listen(() =>
    coordinator.run(
      (txn) => {
        if (txn.attempt === 1) throw new TransientError('busy');
      },
      { backoff: false },
    ),
  );
  assert.equal(inWords(told), ['begin', 'retry busy', 'abort', 'begin', 'commit']);
  assert.is(told[1]!.event.attempt, 1);
});

test('a transaction in doubt is told, with its error', async () => {
  const coordinator = new TransactionCoordinator();
  const fails = { tpcVote: new CommitOutcomeUnknownError('lost', { resource: 'z' }) };
  const told = await listen(() =>
    coordinator
      .run((txn) => {
        txn.join(recording([], 'a', { holds: true }));
        txn.join(recording([], 'z', { lastResource: true, fails }));
      })
      .catch(() => undefined),
  );
  assert.equal(
    told.map(({ name }) => name),
    ['begin', 'join', 'join', 'vote', 'vote', 'in-doubt'],
  );
  assert.match(told.at(-1)!.event.error.message, /its reply was lost/);
});

test('a resource that does not finish is told, and that it is in doubt', async () => {
  const coordinator = new TransactionCoordinator();
  const told = await listen(() =>
    coordinator
      .run((txn) => txn.join(recording([], 'a', { fails: { tpcFinish: new Error('gone') } })))
      .catch(() => undefined),
  );
  assert.equal(inWords(told).slice(0, 4), ['begin', 'join a', 'vote a commit', 'finish a gone']);
  assert.is(told.at(-1)!.name, 'in-doubt');
});

test('the decision and a pass of recovery are told', async () => {
  const reports: unknown[] = [];
  const stop = observe({ recovery: ({ report, durationMs }) => reports.push(report, durationMs >= 0) });
  const coordinator = new TransactionCoordinator({
    decisionLog: new MemoryDecisionLog(new MemoryDecisionStore()),
    recovery: { everyMs: 2_000_000_000 },
  });
  try {
    const [a, b] = [
      new MemoryStore({ name: 'a', role: 'recoverable', coordinator }),
      new MemoryStore({ name: 'b', role: 'recoverable', coordinator }),
    ];
    const told = await listen(() =>
      coordinator.run(() => {
        a.set('x', 1);
        b.set('y', 2);
      }),
    );
    assert.ok(told.some(({ name, event }) => name === 'decide' && event.way === 'two-phase' && event.durationMs >= 0));
    const report = await coordinator.recover();
    assert.ok(reports.includes(report));
  } finally {
    await coordinator.close();
    stop();
  }
});

test('a plain manager tells the same, and how long it took where somebody listened', async () => {
  const told = await listen(async () => {
    const manager = new TransactionManager();
    await manager.begin();
    await manager.commit();
  });
  assert.equal(inWords(told), ['begin', 'commit']);
  assert.ok(told[1]!.event.durationMs >= 0);
});

test('the channels are those of node:diagnostics_channel, under these names', async () => {
  const heard: unknown[] = [];
  const hear = (event: unknown, name: string | symbol): unknown => heard.push([name, (event as object) !== null]);
  const names = [...NAMES, 'recovery'].map((name) => `unanimous:${name}`);
  for (const name of names) channel(name).subscribe(hear);
  try {
    await new TransactionCoordinator().run(() => undefined);
  } finally {
    for (const name of names) channel(name).unsubscribe(hear);
  }
  assert.equal(heard, [
    ['unanimous:begin', true],
    ['unanimous:commit', true],
  ]);
  for (const name of names) assert.is(channel(name).hasSubscribers, false, `${name}: nobody listens any more`);
});

test('observe: ends for the one who ends it, and not for others', async () => {
  const heard: string[] = [];
  const coordinator = new TransactionCoordinator();
  const stop = observe({ begin: () => heard.push('one') });
  const other = observe({ begin: () => heard.push('other') });
  await coordinator.run(() => undefined);
  stop();
  stop();
  await coordinator.run(() => undefined);
  other();
  await coordinator.run(() => undefined);
  assert.equal(heard, ['one', 'other', 'other']);
});

test('how long it took to write a decision is told, with the error of one that was not written, and none of one that was', async () => {
  const { now } = environment;
  let nowMs = now();
  environment.now = () => nowMs;
  const decisionLog = new MemoryDecisionLog();
  const coordinator = new TransactionCoordinator({ decisionLog, recovery: false });
  const stores = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const write = (): Promise<void> =>
    coordinator.run(() => stores.forEach((store) => store.set('x', 1)), { attempts: 1 });
  const told: unknown[] = [];
  const stop = observe({ decide: ({ transaction: _transaction, ...event }) => told.push(event) });
  try {
    const { decide } = decisionLog;
    decisionLog.decide = (decision) => {
      nowMs += 7;
      return decide.call(decisionLog, decision);
    };
    await write();
    const full = new DecisionFailedError('the disk is full', { cause: new Error('full') });
    decisionLog.decide = () => Promise.reject(full);
    await assert.rejects(write());
    assert.equal(told, [
      { way: 'two-phase', durationMs: 7 },
      { way: 'two-phase', durationMs: 0, error: full },
    ]);
  } finally {
    stop();
    environment.now = now;
    await coordinator.close();
  }
});
