import {
  ConfigurationError,
  InDoubtError,
  MemoryStore,
  SavepointsUnsupportedError,
  TransientError,
  transaction,
  type DataManager,
} from 'unanimous';
import { FaultyDataManager, RecordingDataManager, faulty, recording } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';

const test = suite('data managers that record and fail');
const attempts = { attempts: 1 };

/** The calls of a whole commit. */
const wholeCommit = (...names: string[]): string[] =>
  ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'].flatMap((phase) => names.map((name) => `${name}.${phase}`));

test('a recording one writes down its calls, and several share a log in the order of their sort keys', async () => {
  const log: string[] = [];
  await transaction.run((txn) => {
    for (const name of ['b', 'a']) txn.join(new RecordingDataManager({ name, log }));
  }, attempts);
  assert.equal(log, wholeCommit('a', 'b'));
});

test('a recording one makes savepoints, and is aborted by an older one', async () => {
  const manager = new RecordingDataManager();
  await transaction.run(async (txn) => {
    const older = await txn.savepoint();
    txn.join(manager);
    const savepoint = await txn.savepoint();
    await savepoint.rollback();
    await older.rollback();
  }, attempts);
  assert.equal(manager.log, ['recording.savepoint', 'recording.rollback', 'recording.abort']);
});

test('a recording one has the capabilities that it is given, and no others', async () => {
  const bare: DataManager = new RecordingDataManager({ savepoints: false });
  for (const capability of ['savepoint', 'hold', 'shouldRetry', 'changed', 'lastResource', 'onePhase', 'recoverable']) {
    assert.not.ok(capability in bare, capability);
  }
  const manager: DataManager = new RecordingDataManager({ holds: true, changed: false, shouldRetry: () => true });
  assert.type(manager.hold, 'function');
  assert.is(manager.changed, false);
  await assert.rejects(
    transaction.run(async (txn) => {
      txn.join(bare);
      await txn.savepoint();
    }, attempts),
    SavepointsUnsupportedError,
  );
});

test('what a recording one does in a phase fails that phase, synchronously or not', async () => {
  for (const fail of [() => Promise.reject(new Error('no')), () => raise(new Error('no'))]) {
    const manager = new RecordingDataManager({ name: 'a', does: { commit: fail } });
    await assert.rejects(
      transaction.run((txn) => txn.join(manager), attempts),
      { message: 'no' },
    );
    assert.equal(manager.log, ['a.tpcBegin', 'a.commit', 'a.abort', 'a.tpcAbort', 'a.abort']);
  }
});

test('a data manager that joined by itself is recorded in place', async () => {
  const store = new MemoryStore();
  const log: string[] = [];
  await transaction.run(async (txn) => {
    store.set('a', 1);
    recording(txn.joined(store)!, log, 'store');
    const savepoint = await txn.savepoint();
    store.set('b', 1);
    await savepoint.rollback();
  }, attempts);
  assert.equal(log, ['store.savepoint', 'store.rollback', ...wholeCommit('store')]);
  assert.equal([...store.committed.keys()], ['a']);
});

for (const phase of ['tpcBegin', 'commit', 'tpcVote'] as const) {
  test(`a faulty one that fails in ${phase} takes everything along, and its failing call is in its log`, async () => {
    const store = new MemoryStore();
    const manager = new FaultyDataManager({ phase });
    await assert.rejects(
      transaction.run((txn) => {
        store.set('a', 1);
        txn.join(manager);
      }, attempts),
      { message: `a fault was injected into ${phase}` },
    );
    assert.is(store.committed.size, 0);
    assert.ok(manager.log.includes(`faulty.${phase}`));
    assert.ok(manager.log.includes('faulty.tpcAbort'));
  });
}

test('a faulty one that fails to finish leaves the others to finish', async () => {
  const store = new MemoryStore();
  const error = await assert.rejects(
    transaction.run((txn) => {
      store.set('a', 1);
      txn.join(new FaultyDataManager({ phase: 'tpcFinish' }, { sortKey: 'a' }));
    }, attempts),
    InDoubtError,
  );
  assert.equal(error.unfinished, ['a']);
  assert.is(store.committed.size, 1);
});

test('a fault in a data manager that joined by itself happens as often as it is to, and is tried again where it is transient', async () => {
  const store = new MemoryStore();
  let tries = 0;
  await transaction.run(
    (txn) => {
      tries++;
      store.set('a', 1);
      if (tries < 3) faulty(txn.joined(store), { phase: 'tpcVote', error: new TransientError('busy'), times: 1 });
    },
    { attempts: 3, backoff: false },
  );
  assert.is(tries, 3);
  assert.is(store.committed.get('a'), 1);
});

test('a lost answer comes after the call was made, a fault otherwise instead of it', async () => {
  for (const after of [true, false]) {
    const store = new MemoryStore();
    await assert.rejects(
      transaction.run((txn) => {
        store.set('a', 1);
        faulty(txn.joined(store), { phase: 'tpcFinish', after });
      }, attempts),
      InDoubtError,
    );
    assert.is(store.committed.has('a'), after);
  }
});

test('a delay only takes its time, unless there is an error too', async () => {
  const store = new MemoryStore();
  for (const after of [true, false]) {
    await transaction.run((txn) => {
      store.set('a', after);
      faulty(txn.joined(store), { phase: 'tpcVote', delayMs: 5, after });
    }, attempts);
    assert.is(store.committed.get('a'), after);
  }
  await assert.rejects(
    transaction.run((txn) => {
      store.set('a', 2);
      faulty(txn.joined(store), { phase: 'tpcVote', delayMs: 5, error: new Error('too late') });
    }, attempts),
    { message: 'too late' },
  );
});

test('one that hangs never answers', async () => {
  const manager = new FaultyDataManager({ phase: 'abort', hang: true });
  const answer = await Promise.race([
    transaction.run((txn) => {
      txn.join(manager);
      throw new Error('an abort');
    }, attempts),
    new Promise((resolve) => setTimeout(resolve, 50, 'nothing')),
  ]);
  assert.is(answer, 'nothing');
});

test('what can be undefined, null or no Error is thrown as it is', async () => {
  for (const error of [undefined, null, 'text']) {
    const manager = faulty(new RecordingDataManager(), { phase: 'commit', error });
    const thrown = await assert.rejects(async () => manager.commit(undefined as never));
    assert.is(thrown, error);
  }
});

test('several faults, and what it does besides, all happen', async () => {
  const done: string[] = [];
  const manager = new FaultyDataManager(
    [
      { phase: 'tpcVote', times: 1 },
      { phase: 'abort', error: new Error('can not be undone'), times: 1 },
    ],
    { name: 'f', does: { abort: () => void done.push('abort'), commit: () => void done.push('commit') } },
  );
  const error = await assert.rejects(transaction.run((txn) => txn.join(manager), attempts));
  assert.match(String(error.suppressed[0]), /can not be undone/);
  assert.equal(done, ['commit', 'abort']);
  assert.equal(manager.log.slice(2), ['f.tpcVote', 'f.abort', 'f.tpcAbort', 'f.abort']);
});

test('a fault that could never happen, an unknown option and no data manager are refused', () => {
  const bare = new RecordingDataManager({ savepoints: false });
  const message = /has no method/;
  for (const phase of ['savepoint', 'rollback', 'hold'] as const) {
    assert.throws(() => faulty(bare, { phase }), message);
    assert.throws(() => new FaultyDataManager({ phase }, { savepoints: false }), message);
  }
  assert.throws(() => faulty(bare, { phase: 'vote' as never }), isConfigurationError);
  assert.throws(() => faulty(bare, { phase: 'commit', delay: 5 } as never), isConfigurationError);
  assert.throws(() => faulty(undefined, { phase: 'commit' }), /once it has joined it/);
  assert.throws(() => new RecordingDataManager({ savepoint: true } as never), isConfigurationError);
  assert.throws(() => new RecordingDataManager({ vote: 'yes' as never }), isConfigurationError);
});

function isConfigurationError(error: unknown): boolean {
  return error instanceof ConfigurationError;
}

function raise(error: Error): never {
  throw error;
}
