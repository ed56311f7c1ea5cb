// Protects whoever reads an error of this package: a refusal names what was asked, what that requires and what is the case instead, and says which
// transaction it is about; and what is refused has changed nothing.
import {
  AlreadyInTransaction,
  ConcurrentUseError,
  ConfigurationError,
  DoomedTransaction,
  InvalidSavepointRollbackError,
  SavepointsUnsupportedError,
  type Transaction,
  TransactionClosed,
  TransactionCoordinator,
  TransactionFailedError,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, raise, recording, thrownBy, turns } from './recording.ts';

const test = suite('refusals');

const begin = (): Promise<Transaction> => new TransactionManager().begin();

/** What `call` is refused with, thrown or rejected. */
async function refusal(call: () => unknown): Promise<any> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}

const operations: [string, (txn: Transaction) => unknown][] = [
  ['set the user of', (txn) => (txn.user = 'jim')],
  ['set the user of', (txn) => txn.setUser('jim')],
  ['describe', (txn) => (txn.description = 'work')],
  ['note on', (txn) => txn.note('work')],
  ['extend', (txn) => txn.setExtendedInfo('key', 1)],
  ['keep data in', (txn) => txn.setData('key', 1)],
  ['hook into', (txn) => txn.addBeforeCommitHook(() => undefined)],
  ['hook into', (txn) => txn.addAfterCommitHook(() => undefined)],
  ['ask', (txn) => txn.isRetryableError(new Error('any'))],
  ['join', (txn) => txn.join(recording([], 'a'))],
  ['join', (txn) => txn.getOrJoin('key', () => recording([], 'a'))],
  ['make a savepoint of', (txn) => txn.savepoint()],
  ['doom', (txn) => txn.doom()],
  ['commit', (txn) => txn.commit()],
];

test('whoever works in a transaction that has ended is told what it did, and how that has ended', async () => {
  for (const end of ['commit', 'abort'] as const) {
    for (const [what, call] of operations) {
      const txn = await begin();
      await txn[end]();
      const error = await refusal(() => call(txn));
      assert.instance(error, TransactionClosed);
      const how = end === 'commit' ? 'committed' : 'aborted';
      assert.is(
        error.message,
        `to ${what} a transaction it must not have ended; this one has ended (${how}) and takes nothing more`,
      );
      assert.is(error.xid, txn.id);
    }
  }
});

test('whoever does while it commits, that it is being ended', async () => {
  const wait = gate();
  const txn = await begin();
  txn.join(recording([], 'a', { waits: { tpcVote: wait.promise } }));
  const committing = txn.commit();
  for (const [what, call] of [
    ['join', () => txn.join(recording([], 'b'))],
    ['make a savepoint of', () => txn.savepoint()],
    ['doom', () => txn.doom()],
    ['abort', () => txn.abort()],
    ['commit', () => txn.commit()],
  ] as const) {
    const error = await refusal(call);
    assert.is(error.message, `to ${what} a transaction it must be active; this one is being ended`);
    assert.equal([error.name, error.xid], ['TransactionStateError', txn.id]);
  }
  wait.open();
  await committing;
});

test('while the hooks hear that a commit has failed it is not over: nothing joins, and no abort goes beside it', async () => {
  const log: string[] = [];
  const txn = await begin();
  const no = new Error('no');
  txn.join(recording(log, 'a', { fails: { tpcVote: no } }));
  const refused: string[] = [];
  txn.addAfterCommitHook(async (isCommitted) => {
    for (const call of [() => txn.abort(), () => txn.join(recording(log, 'b')), () => txn.savepoint()]) {
      const error = await refusal(call);
      refused.push(`${isCommitted}, ${txn.status}: ${error.message}`);
    }
  });
  assert.is(await assert.rejects(txn.commit()), no);
  assert.equal(
    refused,
    ['abort', 'join', 'make a savepoint of'].map(
      (what) => `false, commit failed: to ${what} a transaction it must be active; this one is being ended`,
    ),
  );
  assert.equal(log.slice(-2), ['a.abort', 'a.tpcAbort']);
  assert.instance(await refusal(() => txn.savepoint()), TransactionFailedError);
  await txn.abort();
  assert.equal(log.slice(-2), ['a.tpcAbort', 'a.abort']);
});

test('a savepoint is refused of what has ended or failed, though nothing has joined it', async () => {
  const ended = await begin();
  await ended.commit();
  assert.instance(await refusal(() => ended.savepoint()), TransactionClosed);
  const failed = await begin();
  failed.fail(new Error('a step'));
  assert.instance(await refusal(() => failed.savepoint()), TransactionFailedError);
});

test('in the synchronizers of an abort a savepoint is refused, of a doomed transaction as well, as what is being ended', async () => {
  for (const isDoomed of [true, false]) {
    const manager = new TransactionManager();
    const refused: unknown[] = [];
    manager.registerSynch({
      beforeCompletion: async (txn) => void refused.push(await refusal(() => txn.savepoint())),
    });
    const txn = await manager.begin();
    if (isDoomed) txn.doom();
    await txn.abort();
    assert.equal(
      refused.map((error) => (error as Error).message),
      ['to make a savepoint of a transaction it must be active; this one is being ended'],
    );
  }
});

test('who is doomed says why, where somebody has said so', async () => {
  const txn = await begin();
  txn.doom();
  const error = await assert.rejects(txn.commit(), DoomedTransaction);
  assert.is(
    error.message,
    "a transaction can be committed while it isn't doomed; this one was doomed and can only be aborted",
  );
  assert.equal([Object.hasOwn(error, 'cause'), error.xid], [false, txn.id]);
});

test('what is neither a hook nor makes a data manager is named', async () => {
  const txn = await begin();
  const noHook = await refusal(() => txn.addAfterCommitHook(7 as never));
  assert.instance(noHook, ConfigurationError);
  assert.equal([noHook.message, noHook.xid], ['a hook must be a function, not 7', txn.id]);
  const noFactory = await refusal(() => txn.getOrJoin('key', 7 as never));
  assert.instance(noFactory, ConfigurationError);
  assert.equal(
    [noFactory.message, noFactory.xid],
    ['getOrJoin() takes a function that makes a data manager, not 7', txn.id],
  );
});

test('a text that is missing is named', async () => {
  const txn = await begin();
  for (const [what, set] of [
    ['user', () => txn.setUser(null as never)],
    ['path', () => txn.setUser('jim', null as never)],
  ] as const) {
    const error = await refusal(set);
    assert.equal(
      [error.name, error.message],
      ['RangeError', `the ${what} of a transaction must be a string, not null`],
    );
  }
});

test('a commit beside a savepoint says that it has to wait for that', async () => {
  const wait = gate();
  const txn = await begin();
  txn.join(recording([], 'a', { savepoints: true, waits: { savepoint: wait.promise } }));
  const making = txn.savepoint();
  const error = await assert.rejects(txn.commit(), ConcurrentUseError);
  assert.match(error.message, 'every savepoint() and rollback() in it must have ended');
  assert.equal([error.phase, error.xid], ['savepoint', txn.id]);
  wait.open();
  await making;
  await txn.commit();
});

test('an impossible transition is named with its transaction', async () => {
  const txn = await begin();
  const error = thrownBy(() => txn.transition('committed'));
  assert.instance(error, TransactionStateError);
  assert.equal([error.message, error.xid], ["a transaction can't go from 'active' to 'committed'", txn.id]);
});

test('who has no savepoints is told what to do: to ask for an optimistic one, or to abort where that was rolled back', async () => {
  const one = await begin();
  one.join(recording([], 'a'));
  const error = await assert.rejects(one.savepoint(), SavepointsUnsupportedError);
  assert.is(
    error.message,
    "every joined data manager must be able to make a savepoint; 'a' has no method savepoint; ask for an optimistic one, savepoint(true), where it will not be rolled back",
  );
  const other = await begin();
  other.join(recording([], 'a'));
  const savepoint = await other.savepoint(true);
  const later = await assert.rejects(savepoint.rollback(), SavepointsUnsupportedError);
  assert.is(
    later.message,
    "every joined data manager must be able to roll back to a savepoint; 'a' has no method savepoint; the transaction has failed and must be aborted",
  );
});

test('a savepoint that can’t be returned to any more says why', async () => {
  const txn = await begin();
  const [first, second] = [await txn.savepoint(), await txn.savepoint()];
  await first.rollback();
  const error = await assert.rejects(second.rollback(), InvalidSavepointRollbackError);
  assert.match(error.message, 'because an earlier one was rolled back or its transaction is active');
  assert.is(error.xid, txn.id);
});

test('work that has outlived its transaction is told to take one of its own', async () => {
  const coordinator = new TransactionCoordinator();
  const txn = await coordinator.begin();
  await txn.commit();
  const error = await refusal(() => coordinator.get());
  assert.instance(error, TransactionClosed);
  assert.is(
    error.message,
    'a transaction must be active in this asynchronous context; the one that was begun here has ended (committed): ' +
      'begin another, or give work that outlives its transaction its own with run() inside detached()',
  );
  assert.is(error.xid, txn.id);
});

test('of what is thrown only errors are shown to data managers, which may not expect anything else', async () => {
  const asked: unknown[] = [];
  const shouldRetry = (error: Error): boolean => {
    asked.push(error);
    return true;
  };
  let runs = 0;
  const work = new TransactionManager().run((txn) => {
    runs++;
    txn.join(recording([], 'a', { shouldRetry }));
    return raise('a text');
  });
  assert.is(await refusal(() => work), 'a text');
  assert.equal([runs, asked], [1, []]);
});

test('who begins in a transaction is told which one is there, and what to do', async () => {
  const manager = new TransactionManager();
  const txn = await manager.begin();
  const error = await assert.rejects(manager.begin(), AlreadyInTransaction);
  assert.is(
    error.message,
    `begin() needs a context without a transaction; this one's is active (${txn.id}): ` +
      'commit or abort it first, or give concurrent work its own context with run() or context()',
  );
  assert.equal([error.phase, error.xid], ['begin', txn.id]);
  await txn.commit();
  const freed = thrownBy(() => manager.free(txn));
  assert.instance(freed, TransactionStateError);
  assert.equal(
    [freed.message, freed.xid],
    ['only the current transaction can be freed; this one is not current', txn.id],
  );
  assert.match(thrownBy(() => manager.get()).message, 'there is none: call begin(), or do the work inside run()');
  assert.match(thrownBy(() => new TransactionManager({ typo: 1 } as never)).message, 'new TransactionManager()');
  assert.match(thrownBy(() => manager.unregisterSynch({})).message, 'is not registered with this manager');
});

test('work beside a nested run, and work that has outlived one, is told why it is refused', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.run(async (txn) => {
    const wait = gate();
    let outlived: unknown;
    const later = gate();
    const nested = coordinator.run(
      async () => {
        void later.promise.then(async () => (outlived = await refusal(() => coordinator.enlist())));
        await wait.promise;
      },
      { propagation: 'nested' },
    );
    await turns();
    const beside = await refusal(() => coordinator.enlist());
    assert.instance(beside, ConcurrentUseError);
    assert.match(beside.message, 'while a nested run is open, only what it calls may work in its transaction');
    assert.equal([beside.phase, beside.xid], ['work', txn.id]);
    wait.open();
    await nested;
    later.open();
    await turns();
    assert.instance(outlived, TransactionClosed);
    const { message, phase, xid } = outlived as TransactionClosed;
    assert.match(message, 'work in a nested run must be done before the run ends');
    assert.equal([phase, xid], ['work', txn.id]);
  });
});

test('who waits for the turn of a nested run in a transaction that ends is told so', async () => {
  const coordinator = new TransactionCoordinator();
  const wait = gate();
  const txn = await coordinator.begin();
  const first = coordinator.run(() => wait.promise, { propagation: 'nested' });
  const second = coordinator.run(() => undefined, { propagation: 'nested' });
  await turns();
  await txn.abort();
  const error = await assert.rejects(second, TransactionClosed);
  assert.match(error.message, 'to nest a run in a transaction it must not have ended');
  wait.open();
  await first.catch(() => undefined);
});

test('a nested run is told which error of a function in it keeps it from ending well', async () => {
  const coordinator = new TransactionCoordinator();
  const cause = new Error('half of it');
  await coordinator.run(async (txn) => {
    const nested = coordinator.run(
      async () => {
        await assert.rejects(coordinator.run(() => raise(cause)));
      },
      { propagation: 'nested' },
    );
    const error = await assert.rejects(nested, DoomedTransaction);
    assert.match(error.message, 'a function that took part in it threw (half of it), so the nested run is rolled back');
    assert.equal([error.cause === cause, error.xid], [true, txn.id]);
  });
});

test('who takes part and wants another isolation is told what was asked and what there is', async () => {
  for (const [outer, had] of [
    [{}, "the active one has the database's default: use"],
    [{ isolation: 'read committed' }, "the active one has 'read committed': use"],
  ] as const) {
    const coordinator = new TransactionCoordinator();
    await coordinator.run(async (txn) => {
      const joined = coordinator.run(() => undefined, { isolation: 'serializable' });
      const error = await assert.rejects(joined, ConfigurationError);
      assert.match(error.message, `'serializable' was asked as isolation, ${had} the propagation 'requires-new'`);
      assert.is(error.xid, txn.id);
    }, outer);
  }
});
