// Protects the statuses: which there are, which may follow which, and what each still allows.
import {
  DoomedTransaction,
  InDoubtError,
  type Status,
  type Transaction,
  TransactionClosed,
  TransactionFailedError,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { isFinished, mayFollow } from '../../coordinator/status.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, suppressedBy, thrownBy, wholeCommit } from './recording.ts';

const test = suite('status');

const STATUSES: readonly Status[] = [
  'active',
  'doomed',
  'committing',
  'committed',
  'commit failed',
  'aborting',
  'aborted',
  'in doubt',
];

async function committed(): Promise<Transaction> {
  const txn = await new TransactionManager().begin();
  await txn.commit();
  return txn;
}

async function aborted(): Promise<Transaction> {
  const txn = await new TransactionManager().begin();
  await txn.abort();
  return txn;
}

async function failed(cause = new Error('vote no')): Promise<Transaction> {
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { tpcVote: cause } }));
  await assert.rejects(txn.commit());
  return txn;
}

async function inDoubt(): Promise<Transaction> {
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { tpcFinish: new Error('lost') } }));
  await assert.rejects(txn.commit(), InDoubtError);
  return txn;
}

test('zope 46: the table holds every status, and no other transition than these', () => {
  const allowed = STATUSES.flatMap((from) =>
    STATUSES.filter((to) => mayFollow(from, to)).map((to) => `${from} > ${to}`),
  );
  assert.equal(allowed, [
    'active > doomed',
    'active > committing',
    'active > commit failed',
    'active > aborting',
    'doomed > commit failed',
    'doomed > aborting',
    'committing > committed',
    'committing > commit failed',
    'committing > in doubt',
    'commit failed > aborting',
    'aborting > aborted',
    'in doubt > committed',
    'in doubt > aborted',
  ]);
  assert.equal(STATUSES.filter(isFinished), ['committed', 'aborted', 'in doubt']);
});

test('a transition that is not in the table throws and changes nothing', async () => {
  const txn = await committed();
  assert.instance(
    thrownBy(() => txn.transition('aborting')),
    TransactionStateError,
  );
  assert.is(txn.status, 'committed');
});

test('zope 47: a new transaction is active, without user, description, extension, resources and hooks', async () => {
  const txn = await new TransactionManager().begin();
  assert.is(txn.status, 'active');
  assert.is(txn.user, '');
  assert.is(txn.description, '');
  assert.equal(txn.extension, {});
  assert.is(txn.resources.length, 0);
  assert.is(txn.outcome, undefined);
  assert.is(txn.attempt, 1);
  assert.is(txn.isDoomed(), false);
  for (const hooks of [
    txn.getBeforeCommitHooks(),
    txn.getAfterCommitHooks(),
    txn.getBeforeAbortHooks(),
    txn.getAfterAbortHooks(),
  ]) {
    assert.equal(hooks, []);
  }
});

test('zope 48: committing is set only after before-commit hooks and beforeCompletion', async () => {
  const seen: string[] = [];
  const manager = new TransactionManager();
  manager.registerSynch({
    beforeCompletion: (txn) => void seen.push(`beforeCompletion ${txn.status}`),
    afterCompletion: (txn) => void seen.push(`afterCompletion ${txn.status}`),
  });
  const txn = await manager.begin();
  txn.addBeforeCommitHook(() => seen.push(`hook ${txn.status}`));
  const note = (step: string) => (): void => void seen.push(`${step} ${txn.status}`);
  txn.join(
    recording([], 'a', {
      does: { tpcBegin: note('tpcBegin'), tpcVote: note('tpcVote'), tpcFinish: note('tpcFinish') },
    }),
  );
  await txn.commit();
  assert.equal(seen, [
    'hook active',
    'beforeCompletion active',
    'tpcBegin committing',
    'tpcVote committing',
    'tpcFinish committing',
    'afterCompletion committed',
  ]);
});

test('zope 49: success sets committed and frees the manager', async () => {
  const manager = new TransactionManager();
  const txn = await manager.begin();
  await txn.commit();
  assert.is(txn.status, 'committed');
  assert.equal(txn.outcome, { result: 'committed', way: 'read-only' });
  assert.is(manager.current, undefined);
});

test('departure from zope 50: abort sets aborted', async () => {
  const seen: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  txn.join(recording([], 'a', { does: { abort: () => seen.push(txn.status) } }));
  await txn.abort();
  assert.equal(seen, ['aborting']);
  assert.is(txn.status, 'aborted');
  assert.equal(txn.outcome, { result: 'aborted' });
  assert.is(manager.current, undefined);
});

test('zope 51: doom makes active doomed, and may be repeated', async () => {
  const txn = await new TransactionManager().begin();
  txn.doom();
  txn.doom();
  assert.is(txn.status, 'doomed');
  assert.is(txn.isDoomed(), true);
});

test('zope 51: doom throws TransactionStateError while committing or aborting and after a failed commit', async () => {
  const thrown: unknown[] = [];
  const doom = (txn: Transaction): void => void thrown.push(thrownBy(() => txn.doom()));
  for (const step of ['tpcVote', 'abort'] as const) {
    const txn = await new TransactionManager().begin();
    txn.join(recording([], 'a', { does: { [step]: doom } }));
    await (step === 'abort' ? txn.abort() : txn.commit());
  }
  doom(await failed());
  assert.is(thrown.length, 3);
  for (const error of thrown) assert.instance(error, TransactionStateError);
});

test('departure from zope 51, 57: doom on a finished transaction throws TransactionClosed', async () => {
  for (const txn of [await committed(), await aborted(), await inDoubt()]) {
    assert.instance(
      thrownBy(() => txn.doom()),
      TransactionClosed,
    );
    assert.is(txn.isDoomed(), false);
  }
});

test('zope 52: a doomed commit throws DoomedTransaction every time and calls no data manager', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  txn.join(recording(log, 'a'));
  txn.doom();
  for (let time = 0; time < 2; time++) await assert.rejects(txn.commit(), DoomedTransaction);
  assert.equal(log, []);
  assert.is(txn.status, 'doomed');
  assert.is(manager.current, txn);
});

test('a doomed commit names the reason it was doomed for, and has it as its cause', async () => {
  const reason = new Error('insufficient funds');
  const txn = await new TransactionManager().begin();
  txn.doom(reason);
  txn.doom(new Error('a later reason'));
  const error = await assert.rejects(txn.commit(), DoomedTransaction);
  assert.is(error.cause, reason);
  assert.match(error.message, 'insufficient funds');
});

test('zope 53: a doomed transaction may be joined, savepointed and aborted', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.doom();
  txn.join(recording(log, 'a', { savepoints: true }));
  const savepoint = await txn.savepoint();
  await savepoint.rollback();
  await txn.abort();
  assert.equal(log, ['a.savepoint', 'a.rollback', 'a.abort']);
  assert.is(txn.status, 'aborted');
});

test('zope 54: after a failed commit, commit, join and savepoint throw TransactionFailedError', async () => {
  const txn = await failed();
  assert.is(txn.status, 'commit failed');
  assert.equal(txn.outcome, { result: 'aborted' });
  await assert.rejects(txn.commit(), TransactionFailedError);
  await assert.rejects(txn.savepoint(), TransactionFailedError);
  assert.instance(
    thrownBy(() => txn.join(recording([], 'b'))),
    TransactionFailedError,
  );
  assert.instance(
    thrownBy(() => txn.getOrJoin('key', () => recording([], 'b'))),
    TransactionFailedError,
  );
});

test('zope 55: its message embeds the stack of the original error, which is its cause', async () => {
  const original = new TypeError('the original failure');
  const error = await assert.rejects((await failed(original)).commit(), TransactionFailedError);
  assert.is(error.cause, original);
  assert.match(error.message, original.stack!.split('\n')[1]!.trim());
  assert.match(error.message, 'TypeError: the original failure');
});

test('zope 56: a failed transaction stays current until abort', async () => {
  const manager = new TransactionManager();
  const txn = await manager.begin();
  txn.join(recording([], 'a', { fails: { commit: new Error('no') } }));
  await assert.rejects(txn.commit());
  assert.is(manager.current, txn);
  await manager.abort();
  assert.is(manager.current, undefined);
  assert.is(txn.status, 'aborted');
});

test('zope 56: implicit begin ends a failed transaction', async () => {
  const manager = new TransactionManager({ explicit: false });
  const first = await manager.begin();
  first.join(recording([], 'a', { fails: { commit: new Error('no') } }));
  await assert.rejects(manager.commit());
  const second = await manager.begin();
  assert.is(first.status, 'aborted');
  assert.is(manager.current, second);
});

for (const [name, finish] of Object.entries({ committed, aborted, 'in doubt': inDoubt })) {
  test(`departure from zope 57, 60, 111, 127: everything but abort on a transaction that is ${name} throws TransactionClosed`, async () => {
    const txn = await finish();
    const calls: (() => unknown)[] = [
      () => txn.join(recording([], 'late')),
      () => txn.getOrJoin('late', () => recording([], 'late')),
      () => txn.note('late'),
      () => txn.setUser('late'),
      () => (txn.user = 'late'),
      () => (txn.description = 'late'),
      () => txn.setExtendedInfo('late', 1),
      () => txn.setData('late', 1),
      () => txn.isRetryableError(new Error('late')),
      () => txn.addBeforeCommitHook(() => undefined),
      () => txn.addAfterCommitHook(() => undefined),
      () => txn.addBeforeAbortHook(() => undefined),
      () => txn.addAfterAbortHook(() => undefined),
    ];
    for (const call of calls) assert.instance(thrownBy(call), TransactionClosed, String(call));
    await assert.rejects(txn.commit(), TransactionClosed);
    await assert.rejects(txn.savepoint(), TransactionClosed);
    assert.is(txn.status, name);
  });
}

test('zope 58: abort of a finished transaction does nothing', async () => {
  const log: string[] = [];
  for (const end of ['commit', 'abort'] as const) {
    const manager = new TransactionManager();
    const txn = await manager.begin();
    txn.join(recording(log, 'a'));
    await txn[end]();
    const before = log.length;
    const next = await manager.begin();
    await txn.abort();
    assert.is(log.length, before);
    assert.is(manager.current, next);
    assert.is(next.status, 'active');
  }
  const doubtful = await inDoubt();
  await doubtful.abort();
  assert.is(doubtful.status, 'in doubt');
});

test('a second abort while the first is under way waits for its end, and calls nobody twice', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { waits: { abort: wait.promise } }));
  const first = txn.abort();
  let second = 'pending';
  const done = txn.abort().then(() => (second = txn.status));
  await new Promise(setImmediate);
  assert.is(second, 'pending');
  wait.open();
  await Promise.all([first, done]);
  assert.is(second, 'aborted');
  assert.equal(log, ['a.abort']);
});

test('abort, a second commit and a savepoint are refused while a commit is under way, which goes on', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { waits: { tpcVote: wait.promise } }));
  const committing = txn.commit();
  await assert.rejects(txn.abort(), TransactionStateError);
  await assert.rejects(txn.commit(), TransactionStateError);
  await assert.rejects(txn.savepoint(), TransactionStateError);
  wait.open();
  await committing;
  assert.is(txn.status, 'committed');
  assert.equal(log, wholeCommit('a'));
});

test('a commit is refused while an abort is under way', async () => {
  const wait = gate();
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { waits: { abort: wait.promise } }));
  const aborting = txn.abort();
  await assert.rejects(txn.commit(), TransactionStateError);
  wait.open();
  await aborting;
  assert.is(txn.status, 'aborted');
});

test('a data manager that answers synchronously costs no tick: the commit is over before it is awaited', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  txn.join(recording(log, 'b'));
  txn.join(recording(log, 'a', { vote: 'read-only' }));
  txn.addBeforeCommitHook(() => log.push('before'));
  txn.addAfterCommitHook(() => log.push('after'));
  const done = txn.commit();
  assert.is(txn.status, 'committed');
  assert.is(manager.current, undefined);
  assert.equal(log, [
    'before',
    'a.tpcBegin',
    'b.tpcBegin',
    'a.commit',
    'b.commit',
    'a.tpcVote',
    'b.tpcVote',
    'b.tpcFinish',
    'after',
  ]);
  await done;
});

test('a data manager that answers synchronously costs no tick: so is the abort', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  txn.join(recording(log, 'a'));
  txn.addBeforeAbortHook(() => log.push('before'));
  txn.addAfterAbortHook(() => log.push('after'));
  const done = manager.abort();
  assert.is(txn.status, 'aborted');
  assert.equal(log, ['before', 'a.abort', 'after']);
  await done;
});

test('only what is a promise is awaited: one data manager among synchronous ones is waited for in its place', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  for (const name of ['c', 'a']) txn.join(recording(log, name));
  txn.join(recording(log, 'b', { async: true }));
  const done = txn.commit();
  assert.is(txn.status, 'committing');
  assert.equal(log, ['a.tpcBegin', 'b.tpcBegin']);
  await done;
  assert.equal(log, wholeCommit('a', 'b', 'c'));
});

test('a failure keeps its first error, also when its abort fails', async () => {
  const log: string[] = [];
  const no = new Error('no');
  const inAbort = new Error('abort failed');
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { fails: { commit: no, abort: inAbort } }));
  assert.is(await assert.rejects(txn.commit()), no);
  assert.equal(suppressedBy(no), [inAbort]);
  assert.is(await assert.rejects(txn.abort()), inAbort);
  assert.is(txn.status, 'aborted');
});
