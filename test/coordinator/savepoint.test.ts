// Protects savepoints: what they return to, which of them are valid when, and what is undone where they fail.
import {
  InvalidSavepointRollbackError,
  type Savepoint,
  SavepointsUnsupportedError,
  type Transaction,
  TransactionClosed,
  TransactionFailedError,
  TransactionManager,
  TransactionStateError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { each, gate, recording, suppressedBy, turns, wholeCommit } from './recording.ts';

const test = suite('savepoint');

const no = (): Error => new Error('no');
const begin = (): Promise<Transaction> => new TransactionManager().begin();

for (const async of [false, true]) {
  const answering = async ? 'promises' : 'at once';
  const able = { async, savepoints: true };

  test(`zope 114: savepoint calls savepoint on all that have joined, and rollback on what they made (${answering})`, async () => {
    const log: string[] = [];
    const txn = await begin();
    for (const name of ['b', 'a']) txn.join(recording(log, name, able));
    const savepoint = await txn.savepoint();
    await savepoint.rollback();
    assert.equal(log, [...each('savepoint', 'b', 'a'), ...each('rollback', 'b', 'a')]);
    await txn.commit();
  });

  test(`zope 115: one that has no savepoints fails the transaction, and all are aborted and tpcAborted (${answering})`, async () => {
    const log: string[] = [];
    const txn = await begin();
    txn.join(recording(log, 'c', able));
    txn.join(recording(log, 'b', { async }));
    txn.join(recording(log, 'a', able));
    const error = await assert.rejects(txn.savepoint(), SavepointsUnsupportedError);
    assert.is(error.resource, 'b');
    assert.is(error.phase, 'savepoint');
    assert.equal(log, ['c.savepoint', ...each('abort', 'c', 'b', 'a'), ...each('tpcAbort', 'c', 'b', 'a')]);
    assert.is(txn.status, 'commit failed');
    const later = await assert.rejects(txn.commit(), TransactionFailedError);
    assert.is(later.cause, error);
  });

  test(`zope 116: an error in savepoint does the same, and what fails in the cleanup hangs on it (${answering})`, async () => {
    const log: string[] = [];
    const error = no();
    const inAbort = new Error('abort failed');
    const txn = await begin();
    txn.join(recording(log, 'a', { ...able, fails: { abort: inAbort } }));
    txn.join(recording(log, 'b', { ...able, fails: { savepoint: error } }));
    assert.is(await assert.rejects(txn.savepoint()), error);
    assert.equal(suppressedBy(error), [inAbort]);
    assert.equal(log, [...each('savepoint', 'a', 'b'), ...each('abort', 'a', 'b'), ...each('tpcAbort', 'a', 'b')]);
    assert.is(txn.status, 'commit failed');
  });

  test(`zope 119: rollback may be repeated, and invalidates later savepoints only (${answering})`, async () => {
    const log: string[] = [];
    const txn = await begin();
    txn.join(recording(log, 'a', able));
    const savepoints: Savepoint[] = [];
    for (let index = 0; index < 3; index++) savepoints.push(await txn.savepoint());
    const valid = (): boolean[] => savepoints.map((savepoint) => savepoint.valid);
    await savepoints[1]!.rollback();
    assert.equal(valid(), [true, true, false]);
    await savepoints[1]!.rollback();
    assert.equal(valid(), [true, true, false]);
    await savepoints[0]!.rollback();
    assert.equal(valid(), [true, false, false]);
    assert.equal(log, ['a.savepoint', 'a.savepoint', 'a.savepoint', 'a.rollback', 'a.rollback', 'a.rollback']);
    savepoints.push(await txn.savepoint());
    assert.equal(valid(), [true, false, false, true]);
    await txn.commit();
  });

  test(`zope 122, departure from zope 123: a rollback error fails the transaction and the savepoint; later data managers are not rolled back, nothing is cleaned up (${answering})`, async () => {
    const log: string[] = [];
    const error = no();
    const txn = await begin();
    txn.join(recording(log, 'a', able));
    txn.join(recording(log, 'b', { ...able, fails: { rollback: error } }));
    txn.join(recording(log, 'c', able));
    const savepoint = await txn.savepoint();
    log.length = 0;
    assert.is(await assert.rejects(savepoint.rollback()), error);
    assert.equal(log, each('rollback', 'a', 'b'));
    assert.is(txn.status, 'commit failed');
    assert.is(savepoint.valid, false);
    const later = await assert.rejects(txn.commit(), TransactionFailedError);
    assert.is(later.cause, error);
    await txn.abort();
    assert.equal(log, [...each('rollback', 'a', 'b'), ...each('abort', 'a', 'b', 'c')]);
  });

  test(`zope 124, 125: one that joined later is aborted by the rollback and leaves; it can rejoin and commits once (${answering})`, async () => {
    const log: string[] = [];
    const txn = await begin();
    txn.join(recording(log, 'a', able));
    const savepoint = await txn.savepoint();
    const later = recording(log, 'b', { async });
    txn.join(later);
    log.length = 0;
    await savepoint.rollback();
    assert.equal(log, ['a.rollback', 'b.abort']);
    assert.equal(txn.resources.includes(later), false);
    log.length = 0;
    txn.join(later);
    await txn.commit();
    assert.equal(log, wholeCommit('a', 'b'));
  });

  test(`departure from zope 126: repeating the rollback aborts nobody who has left, and once who has rejoined (${answering})`, async () => {
    const log: string[] = [];
    const txn = await begin();
    const savepoint = await txn.savepoint();
    const later = recording(log, 'a', { async });
    txn.join(later);
    await savepoint.rollback();
    await savepoint.rollback();
    assert.equal(log, ['a.abort']);
    txn.join(later);
    await savepoint.rollback();
    assert.equal(log, ['a.abort', 'a.abort']);
    await savepoint.rollback();
    assert.equal(log, ['a.abort', 'a.abort']);
    assert.is(txn.resources.length, 0);
    await txn.commit();
  });
}

test('zope 124: who has left leaves the order of the others as it was', async () => {
  const log: string[] = [];
  const txn = await begin();
  txn.join(recording(log, 'c', { savepoints: true }));
  const savepoint = await txn.savepoint();
  const key = {};
  txn.getOrJoin(key, () => recording(log, 'z'));
  await savepoint.rollback();
  assert.is(txn.joined(key), undefined);
  txn.getOrJoin(key, () => recording(log, 'a'));
  log.length = 0;
  await txn.commit();
  assert.equal(log, wholeCommit('a', 'c'));
});

test('zope 117: an optimistic savepoint leaves out those that have none, and can be committed over', async () => {
  const log: string[] = [];
  const txn = await begin();
  txn.join(recording(log, 'a'));
  txn.join(recording(log, 'b', { savepoints: true }));
  const savepoint = await txn.savepoint(true);
  assert.is(savepoint.valid, true);
  assert.equal(log, ['b.savepoint']);
  await txn.commit();
  assert.equal(log, ['b.savepoint', ...wholeCommit('a', 'b')]);
});

test('zope 118: rolling an optimistic savepoint back throws and fails the transaction', async () => {
  const log: string[] = [];
  const txn = await begin();
  txn.join(recording(log, 'a'));
  const savepoint = await txn.savepoint(true);
  const error = await assert.rejects(savepoint.rollback(), SavepointsUnsupportedError);
  assert.is(error.resource, 'a');
  assert.is(txn.status, 'commit failed');
  await assert.rejects(savepoint.rollback(), TransactionFailedError);
});

test('zope 120: an invalid rollback throws InvalidSavepointRollbackError and harms nothing', async () => {
  const log: string[] = [];
  const txn = await begin();
  txn.join(recording(log, 'a', { savepoints: true }));
  const first = await txn.savepoint();
  const second = await txn.savepoint();
  await first.rollback();
  log.length = 0;
  await assert.rejects(second.rollback(), InvalidSavepointRollbackError);
  assert.equal(log, []);
  assert.is(txn.status, 'active');
  await txn.commit();
});

test('zope 121: commit and abort invalidate all', async () => {
  for (const end of ['commit', 'abort'] as const) {
    const log: string[] = [];
    const txn = await begin();
    txn.join(recording(log, 'a', { savepoints: true }));
    const savepoints = [await txn.savepoint(), await txn.savepoint()];
    await txn[end]();
    log.length = 0;
    for (const savepoint of savepoints) {
      assert.is(savepoint.valid, false);
      await assert.rejects(savepoint.rollback(), InvalidSavepointRollbackError);
    }
    assert.equal(log, []);
  }
});

test('zope 121: also those that are made while a commit or an abort begins', async () => {
  for (const [end, kind] of [
    ['commit', 'BeforeCommit'],
    ['abort', 'BeforeAbort'],
  ] as const) {
    const log: string[] = [];
    const made: Savepoint[] = [];
    const txn = await begin();
    txn.join(recording(log, 'a', { savepoints: true }));
    txn[`add${kind}Hook`](async () => {
      const savepoint = await txn.savepoint().catch(() => undefined);
      if (savepoint !== undefined) made.push(savepoint);
    });
    await txn[end]();
    assert.is(txn.status, end === 'commit' ? 'committed' : 'aborted');
    for (const savepoint of made) await assert.rejects(savepoint.rollback(), InvalidSavepointRollbackError);
    assert.is(log.includes('a.rollback'), false);
    assert.is(made.length, end === 'commit' ? 1 : 0);
  }
});

test('departure from zope 127: savepoint on a finished transaction throws TransactionClosed', async () => {
  for (const end of ['commit', 'abort'] as const) {
    const txn = await begin();
    await txn[end]();
    await assert.rejects(txn.savepoint(), TransactionClosed);
  }
});

test('departure from zope 128: a savepoint that nobody holds still undoes what was registered after an earlier one', async () => {
  const log: string[] = [];
  const txn = await begin();
  txn.join(recording(log, 'a', { savepoints: true }));
  const first = await txn.savepoint();
  for (let index = 0; index < 100; index++) await txn.savepoint();
  await first.rollback();
  assert.is(first.valid, true);
  await txn.commit();
  assert.is(log.filter((call) => call === 'a.savepoint').length, 101);
});

test('a savepoint of a doomed transaction can be rolled back, and it stays doomed', async () => {
  const log: string[] = [];
  const txn = await begin();
  txn.join(recording(log, 'a', { savepoints: true }));
  const savepoint = await txn.savepoint();
  txn.doom();
  await savepoint.rollback();
  assert.equal(log, ['a.savepoint', 'a.rollback']);
  assert.is(txn.status, 'doomed');
  await txn.abort();
});

test('one that joins while a savepoint is being made is one that joined later', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await begin();
  txn.join(recording(log, 'a', { savepoints: true, waits: { savepoint: wait.promise } }));
  const making = txn.savepoint();
  txn.join(recording(log, 'b', { savepoints: true }));
  wait.open();
  const savepoint = await making;
  await savepoint.rollback();
  assert.equal(log, ['a.savepoint', 'b.abort', 'a.rollback']);
  await txn.commit();
});

test('an abort while a savepoint is being made ends it: nobody is asked for one any more', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await begin();
  txn.join(recording(log, 'a', { savepoints: true, waits: { savepoint: wait.promise } }));
  txn.join(recording(log, 'b', { savepoints: true }));
  const making = txn.savepoint();
  await txn.abort();
  wait.open();
  await assert.rejects(making, TransactionClosed);
  assert.equal(log, ['a.savepoint', ...each('abort', 'a', 'b')]);
  assert.is(txn.status, 'aborted');
});

test('a savepoint that fails because of an abort meanwhile throws its own error, and the transaction stays aborted', async () => {
  const error = no();
  const wait = gate();
  const txn = await begin();
  txn.join(recording([], 'a', { savepoints: true, waits: { savepoint: wait.promise }, fails: { savepoint: error } }));
  const making = txn.savepoint();
  await txn.abort();
  wait.open();
  assert.is(await assert.rejects(making), error);
  assert.is(txn.status, 'aborted');
});

test('a commit while a savepoint is being made or rolled back is refused, and leaves the transaction active', async () => {
  for (const step of ['savepoint', 'rollback'] as const) {
    const log: string[] = [];
    const wait = gate();
    const txn = await begin();
    txn.join(recording(log, 'a', { savepoints: true, waits: { [step]: wait.promise } }));
    const making = txn.savepoint();
    const working = step === 'rollback' ? (await making).rollback() : making;
    await turns();
    await assert.rejects(txn.commit(), { code: 'ERR_TXN_CONCURRENT_USE' });
    assert.is(txn.status, 'active');
    wait.open();
    await working;
    await txn.commit();
    assert.is(txn.status, 'committed');
  }
});

test('a savepoint that fails lets nothing commit while it cleans up', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await begin();
  txn.join(recording(log, 'a', { waits: { abort: wait.promise } }));
  const making = txn.savepoint();
  await turns();
  assert.equal(log, ['a.abort']);
  await assert.rejects(txn.commit());
  wait.open();
  await assert.rejects(making, SavepointsUnsupportedError);
  assert.is(txn.status, 'commit failed');
  assert.is(log.includes('a.commit'), false);
  await txn.abort();
});

test('a rollback that an abort overtakes rolls nothing more back', async () => {
  const log: string[] = [];
  const wait = gate();
  const txn = await begin();
  txn.join(recording(log, 'a', { savepoints: true, waits: { rollback: wait.promise } }));
  txn.join(recording(log, 'b', { savepoints: true }));
  const savepoint = await txn.savepoint();
  const rolling = savepoint.rollback();
  await turns();
  await txn.abort();
  wait.open();
  await assert.rejects(rolling, TransactionClosed);
  assert.equal(log, [...each('savepoint', 'a', 'b'), 'a.rollback', ...each('abort', 'a', 'b')]);
  assert.is(txn.status, 'aborted');
});

test('a savepoint before the commit is refused in its phases', async () => {
  const thrown: unknown[] = [];
  const txn = await begin();
  txn.join(
    recording([], 'a', {
      async: true,
      does: { tpcVote: () => void txn.savepoint().catch((error: unknown) => thrown.push(error)) },
    }),
  );
  await txn.commit();
  assert.is(thrown.length, 1);
  assert.instance(thrown[0], TransactionStateError);
});

test('and where that abort comes from a data manager that answers at once, too', async () => {
  const log: string[] = [];
  const txn = await begin();
  const does = { savepoint: (current: Transaction) => void current.abort() };
  txn.join(recording(log, 'a', { savepoints: true, does }));
  txn.join(recording(log, 'b', { savepoints: true }));
  const error = await assert.rejects(txn.savepoint(), TransactionClosed);
  assert.match(error.message, 'to make a savepoint of a transaction it must not have ended');
  assert.equal(log, ['a.savepoint', ...each('abort', 'a', 'b')]);
});

test('a doomed transaction whose savepoint fails, or is not returned to, has failed, and everything is undone', async () => {
  const log: string[] = [];
  const making = await begin();
  making.join(recording(log, 'a', { savepoints: true, fails: { savepoint: no() } }));
  making.doom();
  await assert.rejects(making.savepoint(), { message: 'no' });
  assert.equal([making.status, log], ['commit failed', ['a.savepoint', 'a.abort', 'a.tpcAbort']]);
  const returning = await begin();
  returning.join(recording([], 'a', { savepoints: true, fails: { rollback: no() } }));
  returning.doom();
  const savepoint = await returning.savepoint();
  await assert.rejects(savepoint.rollback(), { message: 'no' });
  assert.is(returning.status, 'commit failed');
});

test('who leaves with a savepoint is found under its key no more; who stays, is', async () => {
  const txn = await begin();
  const stays = txn.getOrJoin('stays', () => recording([], 'a', { savepoints: true }));
  const savepoint = await txn.savepoint();
  txn.getOrJoin('leaves', () => recording([], 'b'));
  await savepoint.rollback();
  assert.equal([txn.joined('stays') === stays, txn.joined('leaves')], [true, undefined]);
  assert.equal(txn.resources, [stays]);
});
