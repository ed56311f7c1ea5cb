import { InvalidSavepointRollbackError, TransactionClosed, transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Store } from './setup.ts';

const test = suite('savepoints of a Redis session');
const store = await Store.open();
const { session, admin } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());

test('a rollback drops the writes since, whose results say so, and may be repeated', async () => {
  const [kept, dropped, again] = await transaction.run(async () => {
    const first = session.set('a', '1');
    const savepoint = await transaction.savepoint();
    const second = session.set('b', '1');
    await savepoint.rollback();
    const third = session.set('c', '1');
    await savepoint.rollback();
    session.set('d', '1');
    return [first, second, third] as const;
  });
  assert.is(await kept.result, 'OK');
  for (const each of [dropped, again]) {
    const error = await assert.rejects(each.result, TransactionClosed);
    assert.match(error.message, /undone by the rollback to a savepoint/);
  }
  assert.equal(await store.contents(), { a: '1', d: '1' });
});

test('the state is what it was', async () => {
  await transaction.run(async (txn) => {
    await session.get('k');
    const savepoint = await transaction.savepoint();
    session.set('k', '1');
    assert.is(session.state, 'changed');
    await savepoint.rollback();
    assert.is(session.state, 'active');
    session.markChanged();
    assert.is(session.state, 'changed');
    await savepoint.rollback();
    assert.is(session.state, 'active');
    txn.addAfterCommitHook(() => assert.is(txn.outcome?.way, 'read-only'));
  });
  assert.equal(await store.contents(), {});
});

test('where the session joined after the savepoint, it leaves the transaction and may join again', async () => {
  await transaction.run(async () => {
    const savepoint = await transaction.savepoint();
    session.set('a', '1');
    await session.watch('w');
    await savepoint.rollback();
    assert.is(session.state, undefined);
    session.set('b', '1');
    await session.watch('x');
  });
  assert.equal(await store.contents(), { b: '1' });
  await store.assertClean();
});

test('an inner savepoint ends with the outer one', async () => {
  await transaction.run(async () => {
    session.set('a', '1');
    const outer = await transaction.savepoint();
    session.set('b', '1');
    const inner = await transaction.savepoint();
    session.set('c', '1');
    await outer.rollback();
    await assert.rejects(inner.rollback(), InvalidSavepointRollbackError);
  });
  assert.equal(await store.contents(), { a: '1' });
});

test('a nested run that fails drops what it wrote, and only that', async () => {
  await transaction.run(async () => {
    session.set('a', '1');
    await transaction
      .run(
        () => {
          session.set('b', '1');
          throw new Error('thrown');
        },
        { propagation: 'nested' },
      )
      .catch(() => undefined);
    await transaction.run(() => session.set('c', '1'), { propagation: 'nested' });
  });
  assert.equal(await store.contents(), { a: '1', c: '1' });
});

test('a savepoint costs no flight', async () => {
  await transaction.run(() => session.get('warm'));
  store.proxy.resetFlights();
  await transaction.run(async () => {
    session.set('a', '1');
    const savepoint = await transaction.savepoint();
    session.set('b', '1');
    await savepoint.rollback();
    assert.is(store.proxy.flights, 0);
  });
});
