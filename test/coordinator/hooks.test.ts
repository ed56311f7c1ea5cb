// Protects the hooks: when each kind runs, in which order, what its errors do, and in whose transaction it runs.
import {
  ConfigurationError,
  TransactionClosed,
  TransactionCoordinator,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { listening, recording, suppressedBy, thrownBy, turns, wholeCommit } from './recording.ts';

const test = suite('hooks');

const no = (): Error => new Error('no');

const KINDS = ['BeforeCommit', 'AfterCommit', 'BeforeAbort', 'AfterAbort'] as const;

function reporting(): { manager: TransactionManager; told: Error[] } {
  const told: Error[] = [];
  return { manager: new TransactionManager({ onError: (error) => void told.push(error) }), told };
}

for (const kind of KINDS) {
  test(`zope 89: add${kind}Hook registers, and get${kind}Hooks lists hooks and arguments in order`, async () => {
    const txn = await new TransactionManager().begin();
    const first = (): void => undefined;
    const second = (): void => undefined;
    txn[`add${kind}Hook`](first);
    Reflect.apply(txn[`add${kind}Hook`], txn, [second, 1, 'two']);
    const listed = txn[`get${kind}Hooks`]();
    assert.equal(
      listed.map(({ hook, args }) => [hook === first ? 'first' : 'second', ...args]),
      [['first'], ['second', 1, 'two']],
    );
    for (const other of KINDS) assert.is(txn[`get${other}Hooks`]().length, other === kind ? 2 : 0);
    (listed as unknown[]).pop();
    assert.is(txn[`get${kind}Hooks`]().length, 2);
  });

  test(`zope 90, 91: ${kind} hooks run first in, first out, those that a hook adds in the same pass, and once`, async () => {
    const log: string[] = [];
    const manager = new TransactionManager();
    const txn = await manager.begin();
    const add = (name: string, then?: () => unknown): void =>
      txn[`add${kind}Hook`](() => {
        log.push(name);
        return then?.();
      });
    add('first', () => add('added'));
    add('second', () => Promise.resolve().then(() => add('added later')));
    add('third');
    await (kind.endsWith('Commit') ? txn.commit() : txn.abort());
    assert.equal(log, ['first', 'second', 'third', 'added', 'added later']);
    assert.equal(txn[`get${kind}Hooks`](), []);
  });

  test(`a ${kind} hook must be a function`, async () => {
    const txn = await new TransactionManager().begin();
    for (const hook of [undefined, null, 'hook', {}]) {
      const error = thrownBy(() => txn[`add${kind}Hook`](hook as never));
      assert.instance(error, ConfigurationError);
      assert.match(error.message, 'a hook must be a function, not ');
    }
  });
}

test('zope 91: the before-commit hooks of a commit that failed are not called again', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a', { fails: { commit: no() } }));
  txn.addBeforeCommitHook(() => log.push('before'));
  txn.addAfterCommitHook((committed) => log.push(`after ${committed}`));
  await assert.rejects(txn.commit());
  assert.equal(txn.getBeforeCommitHooks(), []);
  assert.equal(txn.getAfterCommitHooks(), []);
  await txn.abort();
  assert.equal(
    log.filter((call) => !call.startsWith('a.')),
    ['before', 'after false'],
  );
});

test('zope 92: a savepoint and its rollback call no hooks', async () => {
  const txn = await new TransactionManager().begin();
  const called: string[] = [];
  for (const kind of KINDS) txn[`add${kind}Hook`](() => called.push(kind));
  await (await txn.savepoint()).rollback();
  assert.equal(called, []);
  await txn.abort();
  assert.equal(called, ['BeforeAbort', 'AfterAbort']);
});

test('zope 93: abort skips commit hooks and clears them', async () => {
  const called: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.addBeforeCommitHook(() => called.push('before'));
  txn.addAfterCommitHook(() => called.push('after'));
  await txn.abort();
  assert.equal(called, []);
  assert.equal(txn.getBeforeCommitHooks(), []);
  assert.equal(txn.getAfterCommitHooks(), []);
});

for (const async of [false, true]) {
  test(`departure from zope 94: an error in a before-commit hook is a failed commit and drops the remaining hooks (${async ? 'promises' : 'at once'})`, async () => {
    const log: string[] = [];
    const error = no();
    const manager = new TransactionManager();
    const txn = await manager.begin();
    manager.registerSynch({ afterCompletion: () => void log.push('afterCompletion') });
    for (const name of ['b', 'a']) txn.join(recording(log, name));
    txn.addBeforeCommitHook(async () => {
      if (async) await Promise.resolve();
    });
    txn.addBeforeCommitHook(() => {
      if (async) return Promise.reject(error);
      throw error;
    });
    txn.addBeforeCommitHook(() => log.push('never'));
    txn.addAfterCommitHook((committed) => log.push(`after ${committed}`));
    assert.is(await assert.rejects(txn.commit()), error);
    assert.equal(log, ['b.abort', 'a.abort', 'afterCompletion', 'after false']);
    assert.is(txn.status, 'commit failed');
    assert.is(manager.current, txn);
    assert.equal(txn.getBeforeCommitHooks(), []);
  });
}

test('departure from zope 94: errors of the aborts that follow hang on the error of the hook', async () => {
  const error = no();
  const inAbort = new Error('abort failed');
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { abort: inAbort } }));
  txn.addBeforeCommitHook(() => Promise.reject(error));
  assert.is(await assert.rejects(txn.commit()), error);
  assert.equal(suppressedBy(error), [inAbort]);
});

test('a before-commit hook that dooms the transaction fails its commit', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording(log, 'a'));
  txn.addBeforeCommitHook(() => txn.doom(new Error('found out late')));
  const error = await assert.rejects(txn.commit(), { code: 'ERR_TXN_DOOMED' });
  assert.match(error.message, 'found out late');
  assert.equal(log, ['a.abort']);
  assert.is(txn.status, 'commit failed');
});

test('zope 95: after-commit hooks are given first whether it was committed, then their arguments', async () => {
  for (const fails of [{}, { commit: no() }]) {
    const given: unknown[][] = [];
    const txn = await new TransactionManager().begin();
    txn.join(recording([], 'a', { fails }));
    txn.addAfterCommitHook((...all: unknown[]) => given.push(all), 1, 'two');
    await txn.commit().catch(() => undefined);
    assert.equal(given, [[!('commit' in fails), 1, 'two']]);
  }
});

for (const kind of ['AfterCommit', 'BeforeAbort', 'AfterAbort'] as const) {
  const item = { AfterCommit: 'zope 96', BeforeAbort: 'zope 99', AfterAbort: 'departure from zope 100' }[kind];
  test(`${item}: errors of ${kind} hooks are reported, the others run, and the outcome stands`, async () => {
    const { manager, told } = reporting();
    const first = new Error('first');
    const second = new Error('second');
    const log: string[] = [];
    const txn = await manager.begin();
    manager.registerSynch({ afterCompletion: () => void log.push('afterCompletion') });
    txn.join(recording(log, 'a'));
    txn[`add${kind}Hook`](() => {
      throw first;
    });
    txn[`add${kind}Hook`](() => Promise.reject(second));
    txn[`add${kind}Hook`](() => Promise.reject('a text'));
    txn[`add${kind}Hook`](() => log.push('last'));
    const commit = kind === 'AfterCommit';
    await (commit ? txn.commit() : txn.abort());
    assert.equal(told.slice(0, 2), [first, second]);
    assert.is(told[2]?.cause, 'a text');
    assert.is(told.length, 3);
    const ended = [...(commit ? wholeCommit('a') : ['a.abort']), 'afterCompletion'];
    assert.equal(log, kind === 'BeforeAbort' ? ['last', ...ended] : [...ended, 'last']);
    assert.is(txn.status, commit ? 'committed' : 'aborted');
    assert.is(manager.current, undefined);
  });
}

test('departure from zope 100: without onError, the error of an after-hook is a process warning', async () => {
  const warnings: Error[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listener);
  const error = new Error('reported as a warning');
  const txn = await new TransactionManager().begin();
  txn.addAfterAbortHook(() => Promise.reject(error));
  await txn.abort();
  await turns(2);
  process.off('warning', listener);
  assert.equal(warnings, [error]);
});

test('departure from zope 97, 101: after-hooks lead to no second abort of the data managers', async () => {
  for (const end of ['commit', 'abort'] as const) {
    const log: string[] = [];
    const txn = await new TransactionManager().begin();
    txn.join(recording(log, 'a'));
    txn.addAfterCommitHook(() => undefined);
    txn.addAfterAbortHook(() => undefined);
    await txn[end]();
    assert.equal(log, end === 'commit' ? wholeCommit('a') : ['a.abort']);
  }
});

test('departure from zope 98: after-hooks run in order once the manager is free, and may begin the next transaction', async () => {
  for (const [end, kind] of [
    ['commit', 'AfterCommit'],
    ['abort', 'AfterAbort'],
  ] as const) {
    const log: string[] = [];
    const manager = new TransactionManager();
    const txn = await manager.begin();
    txn[`add${kind}Hook`](async () => {
      log.push(`first ${txn.status} ${manager.current === undefined}`);
      const next = await manager.begin();
      await new Promise(setImmediate);
      await next.commit();
      log.push(`next ${next.status}`);
    });
    txn[`add${kind}Hook`](() => log.push('second'));
    txn[`add${kind}Hook`](() => log.push(thrownBy(() => txn.join(recording([], 'late'))).code));
    await txn[end]();
    const ended = end === 'commit' ? 'committed' : 'aborted';
    assert.equal(log, [`first ${ended} true`, 'next committed', 'second', 'ERR_TXN_CLOSED']);
  }
});

test('departure from zope 98: in an after-commit hook of the coordinator get throws TransactionClosed', async () => {
  const coordinator = new TransactionCoordinator();
  const seen: unknown[] = [];
  await coordinator.run((txn) => {
    txn.addAfterCommitHook(async () => {
      seen.push(coordinator.current, thrownBy(() => coordinator.get()).code);
      await coordinator.run((next) => seen.push(next !== txn));
    });
  });
  assert.equal(seen, [undefined, 'ERR_TXN_CLOSED', true]);
});

test('zope 102: a successful commit clears abort hooks uncalled, a failed one keeps them for its abort', async () => {
  for (const fails of [{}, { tpcVote: no() }]) {
    const called: string[] = [];
    const txn = await new TransactionManager().begin();
    txn.join(recording([], 'a', { fails }));
    txn.addBeforeAbortHook(() => called.push('before'));
    txn.addAfterAbortHook(() => called.push('after'));
    const failing = 'tpcVote' in fails;
    await txn.commit().catch(() => undefined);
    assert.equal(called, []);
    assert.is(txn.getBeforeAbortHooks().length, failing ? 1 : 0);
    assert.is(txn.getAfterAbortHooks().length, failing ? 1 : 0);
    await txn.abort();
    assert.equal(called, failing ? ['before', 'after'] : []);
  }
});

test('departure from zope 103: a before-commit hook that was added in beforeCompletion runs', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  manager.registerSynch(
    listening(log, 'sync', {
      does: { beforeCompletion: () => txn.addBeforeCommitHook(() => log.push(`hook ${txn.status}`)) },
    }),
  );
  log.length = 0;
  txn.join(recording(log, 'a'));
  await txn.commit();
  assert.equal(log, ['sync.beforeCompletion', 'hook active', ...wholeCommit('a'), 'sync.afterCompletion']);
});

test('afterCompletion may add an after-hook, whether or not there are others', async () => {
  for (const others of [false, true]) {
    for (const [end, kind] of [
      ['commit', 'AfterCommit'],
      ['abort', 'AfterAbort'],
    ] as const) {
      const log: string[] = [];
      const manager = new TransactionManager();
      const txn = await manager.begin();
      manager.registerSynch({
        afterCompletion: (ended) => ended[`add${kind}Hook`](() => log.push(`added for ${end}`)),
      });
      if (others) txn[`add${kind}Hook`](() => log.push('other'));
      await txn[end]();
      assert.equal(log, [...(others ? ['other'] : []), `added for ${end}`]);
      assert.instance(
        thrownBy(() => txn[`add${kind}Hook`](() => undefined)),
        TransactionClosed,
      );
    }
  }
});

test('pitfall 7: no commit hook is told of success when the commit fails', async () => {
  const told: boolean[] = [];
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { tpcVote: no() } }));
  txn.addAfterCommitHook((committed) => told.push(committed));
  await assert.rejects(txn.commit());
  await txn.abort();
  assert.equal(told, [false]);
});

test('pitfall 7: the hooks that were registered after a savepoint are dropped by its rollback, those of an abort as well', async () => {
  for (const [end, called] of [
    ['commit', ['BeforeCommit', 'AfterCommit']],
    ['abort', ['BeforeAbort', 'AfterAbort']],
  ] as const) {
    const log: string[] = [];
    const txn = await new TransactionManager().begin();
    for (const kind of KINDS) txn[`add${kind}Hook`](() => log.push(`${kind} kept`));
    const savepoint = await txn.savepoint();
    for (const kind of KINDS) txn[`add${kind}Hook`](() => log.push(`${kind} dropped`));
    await savepoint.rollback();
    for (const kind of KINDS) txn[`add${kind}Hook`](() => log.push(`${kind} later`));
    await txn[end]();
    assert.equal(
      log,
      called.flatMap((kind) => [`${kind} kept`, `${kind} later`]),
    );
  }
});

test('a hook that would commit or abort the transaction which is ending is refused', async () => {
  for (const call of ['commit', 'abort'] as const) {
    const txn = await new TransactionManager().begin();
    txn.addBeforeCommitHook(() => txn[call]());
    await assert.rejects(txn.commit(), TransactionStateError);
    assert.is(txn.status, 'commit failed');
    await txn.abort();
  }
});

test('what is over takes no hooks of a kind that is not called any more, also while others are called', async () => {
  for (const [end, kind, late] of [
    ['commit', 'AfterCommit', ['BeforeCommit', 'BeforeAbort', 'AfterAbort']],
    ['abort', 'AfterAbort', ['BeforeCommit', 'AfterCommit', 'BeforeAbort']],
  ] as const) {
    const txn = await new TransactionManager().begin();
    const refused: string[] = [];
    txn[`add${kind}Hook`](() => {
      for (const other of late) {
        const error: unknown = thrownBy(() => txn[`add${other}Hook`](() => undefined));
        if (error instanceof TransactionClosed) refused.push(other);
      }
    });
    await txn[end]();
    assert.equal(refused, late);
  }
});
