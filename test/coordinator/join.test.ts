// Protects joining: what may join and when, how often, and under which key it is found again.
import {
  ConfigurationError,
  type DataManager,
  type Transaction,
  TransactionClosed,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording, thrownBy, wholeCommit } from './recording.ts';

const test = suite('join');

const begin = (): Promise<Transaction> => new TransactionManager().begin();

test('zope 59: join while committing throws TransactionStateError, once committed TransactionClosed', async () => {
  const thrown: Error[] = [];
  const manager = new TransactionManager();
  const late = (txn: Transaction): void => void thrown.push(thrownBy(() => txn.join(recording([], 'late'))));
  manager.registerSynch({ afterCompletion: late });
  const txn = await manager.begin();
  txn.join(recording([], 'a', { does: { tpcBegin: late, tpcFinish: late } }));
  await txn.commit();
  assert.is(thrown.length, 3);
  assert.instance(thrown[0], TransactionStateError);
  assert.instance(thrown[1], TransactionStateError);
  assert.instance(thrown[2], TransactionClosed);
});

test('departure from zope 60: join after an abort throws TransactionClosed and joins nothing', async () => {
  const txn = await begin();
  await txn.abort();
  assert.instance(
    thrownBy(() => txn.join(recording([], 'late'))),
    TransactionClosed,
  );
  assert.is(txn.resources.length, 0);
});

test('departure from zope 61: joining twice is the same as once, in every phase and in an abort', async () => {
  for (const end of ['commit', 'abort'] as const) {
    const log: string[] = [];
    const txn = await begin();
    const manager = recording(log, 'a');
    txn.join(manager);
    txn.join(manager);
    await txn[end]();
    assert.equal(log, end === 'commit' ? wholeCommit('a') : ['a.abort']);
  }
});

test('zope 62: what joins from a before-commit hook or from beforeCompletion takes part in this commit', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  manager.registerSynch({ beforeCompletion: (txn) => txn.join(recording(log, 'b')) });
  const txn = await manager.begin();
  txn.join(recording(log, 'c'));
  txn.addBeforeCommitHook(() => txn.join(recording(log, 'a')));
  await txn.commit();
  assert.equal(log, wholeCommit('a', 'b', 'c'));
});

test('what joins while an abort is under way is aborted too', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  manager.registerSynch({ beforeCompletion: (txn) => txn.join(recording(log, 'b')) });
  const txn = await manager.begin();
  txn.join(recording(log, 'a', { async: true, does: { abort: () => txn.join(recording(log, 'c')) } }));
  await txn.abort();
  assert.equal(log, ['a.abort', 'b.abort', 'c.abort']);
});

test('departure from zope 66, 67: a sort key that is no string is refused at join, by name', async () => {
  const txn = await begin();
  for (const [sortKey, shown] of [
    [undefined, 'not undefined'],
    [null, 'not null'],
    [7, 'not 7'],
    [() => 7, 'not 7'],
  ] as const) {
    const error = thrownBy(() => txn.join({ ...recording([], 'a'), sortKey: sortKey as never }));
    assert.instance(error, ConfigurationError);
    assert.match(error.message, 'sortKey of a data manager must be a string');
    assert.match(error.message, shown);
  }
  assert.is(txn.resources.length, 0);
  await txn.commit();
  assert.is(txn.status, 'committed');
});

test('departure from zope 66, 67: a sort key function that throws does so at join, and nothing has joined', async () => {
  const error = new Error('no key');
  const txn = await begin();
  const manager = recording([], 'a', {
    sortKey: () => {
      throw error;
    },
  });
  assert.is(
    thrownBy(() => txn.join(manager)),
    error,
  );
  assert.is(txn.resources.length, 0);
  await txn.commit();
});

test('departure from zope 66: the sort key is asked once, of the data manager itself', async () => {
  const asked: unknown[] = [];
  const txn = await begin();
  const manager: DataManager = {
    ...recording([], 'a'),
    sortKey(): string {
      asked.push(this);
      return 'a';
    },
  };
  txn.join(manager);
  txn.join(manager);
  await txn.commit();
  assert.equal(asked.length, 1);
  assert.is(asked[0], manager);
});

test('what is no data manager is refused, and the message says what is missing', async () => {
  const txn = await begin();
  for (const value of [undefined, null, 'a', 1, () => undefined]) {
    const error = thrownBy(() => txn.join(value as never));
    assert.instance(error, ConfigurationError);
    assert.match(error.message, 'tpcBegin, commit, tpcVote, tpcFinish, tpcAbort and abort');
  }
  const { tpcVote: _tpcVote, tpcAbort: _tpcAbort, ...partial } = recording([], 'a');
  const error = thrownBy(() => txn.join(partial as never));
  assert.instance(error, ConfigurationError);
  assert.match(error.message, 'lacks tpcVote and tpcAbort');
  assert.is(txn.resources.length, 0);
});

test('a data manager is called as a method of itself', async () => {
  class Counting implements DataManager {
    readonly sortKey = 'counting';
    calls = 0;
    tpcBegin(): void {
      this.calls++;
    }
    commit(): void {
      this.calls++;
    }
    tpcVote(): void {
      this.calls++;
    }
    tpcFinish(): void {
      this.calls++;
    }
    tpcAbort(): void {
      this.calls++;
    }
    abort(): void {
      this.calls++;
    }
  }
  const manager = new Counting();
  const txn = await begin();
  txn.join(manager);
  await txn.commit();
  assert.is(manager.calls, 4);
});

test('getOrJoin makes and joins a data manager once for each key, by identity', async () => {
  const log: string[] = [];
  const txn = await begin();
  const key = {};
  const first = txn.getOrJoin(key, (given) => {
    assert.is(given, txn);
    return recording(log, 'a');
  });
  assert.is(
    txn.getOrJoin(key, () => recording(log, 'never')),
    first,
  );
  const other = txn.getOrJoin({}, () => recording(log, 'b'));
  assert.is.not(other, first);
  assert.is(txn.joined(key), first);
  assert.is(txn.joined({}), undefined);
  await txn.commit();
  assert.equal(log, wholeCommit('a', 'b'));
});

test('getOrJoin joins nothing when its factory throws', async () => {
  const error = new Error('no connection');
  const txn = await begin();
  const key = {};
  assert.is(
    thrownBy(() =>
      txn.getOrJoin(key, () => {
        throw error;
      }),
    ),
    error,
  );
  assert.is(txn.joined(key), undefined);
  assert.is(txn.resources.length, 0);
});

test('getOrJoin finds a data manager that its own factory joined', async () => {
  const log: string[] = [];
  const txn = await begin();
  const key = {};
  const join = (): DataManager =>
    txn.getOrJoin(key, () => {
      const manager = recording(log, 'a');
      txn.join(manager);
      return manager;
    });
  assert.is(join(), join());
  assert.is(txn.resources.length, 1);
});

test('getOrJoin takes a function', async () => {
  const txn = await begin();
  assert.instance(
    thrownBy(() => txn.getOrJoin({}, 7 as never)),
    ConfigurationError,
  );
});

test('getOrJoin never calls its factory where nothing may join', async () => {
  const txn = await begin();
  await txn.commit();
  let called = false;
  const factory = (): DataManager => {
    called = true;
    return recording([], 'a');
  };
  assert.instance(
    thrownBy(() => txn.getOrJoin({}, factory)),
    TransactionClosed,
  );
  assert.is(called, false);
});

test('zope 130: after an abort a data manager joins the next transaction anew', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const resource = recording(log, 'a');
  (await manager.begin()).join(resource);
  await manager.abort();
  const next = await manager.begin();
  await manager.commit();
  assert.equal(log, ['a.abort']);
  assert.is(next.status, 'committed');
  (await manager.begin()).join(resource);
  await manager.commit();
  assert.equal(log, ['a.abort', ...wholeCommit('a')]);
});
