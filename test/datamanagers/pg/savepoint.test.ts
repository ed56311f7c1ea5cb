import {
  InvalidSavepointRollbackError,
  SavepointsUnsupportedError,
  TransactionClosed,
  transaction,
  type DataManager,
} from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, outcomes } from './setup.ts';

const test = suite('savepoints on PostgreSQL (zope 114-128, 151)');
const db = await Database.open(await postgres(), { name: 'savepoint' });
const { session } = db;
const second = db.another({ name: 'second' });
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const attempts = { attempts: 1 };
const insert = (id: number, target = session): Promise<unknown> =>
  target.query('insert into accounts values ($1, 0)', [id]);

test('a rollback undoes what came after it and nothing else (zope 119)', async () => {
  await transaction.run(async () => {
    await insert(3);
    const savepoint = await transaction.savepoint();
    await insert(4);
    await savepoint.rollback();
    await insert(5);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('a rollback can be repeated', async () => {
  await transaction.run(async () => {
    const savepoint = await transaction.savepoint();
    for (const id of [3, 4, 5]) {
      await insert(id);
      await savepoint.rollback();
    }
    await insert(6);
    await savepoint.rollback();
    await insert(7);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 7]);
});

test('nested savepoints: an outer rollback invalidates the inner ones, an inner one leaves the outer valid', async () => {
  await transaction.run(async () => {
    await insert(3);
    const outer = await transaction.savepoint();
    await insert(4);
    const inner = await transaction.savepoint();
    await insert(5);
    await inner.rollback();
    assert.ok(outer.valid && inner.valid);
    await insert(6);
    await outer.rollback();
    assert.not.ok(inner.valid);
    await assert.rejects(inner.rollback(), InvalidSavepointRollbackError);
    await insert(7);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 7]);
});

test('a rollback heals a transaction in which a statement has failed', async () => {
  await transaction.run(async () => {
    await insert(3);
    const savepoint = await transaction.savepoint();
    await assert.rejects(insert(3), { code: '23505' });
    await assert.rejects(insert(4), { code: '25P02' });
    await savepoint.rollback();
    await insert(5);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('a savepoint after a failed statement fails the transaction, and nothing is stored', async () => {
  await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      await insert(3).catch(() => undefined);
      await transaction.savepoint();
    }, attempts),
    { code: '25P02' },
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('a savepoint before the session has sent anything: its rollback undoes all, and the session works on', async () => {
  await transaction.run(async () => {
    session.joinTransaction();
    const savepoint = await transaction.savepoint();
    await insert(3);
    await savepoint.rollback();
    await insert(4);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('a session that joined behind the savepoint is aborted by its rollback, and may join again (zope 124)', async () => {
  await transaction.run(async (txn) => {
    await insert(3);
    const savepoint = await transaction.savepoint();
    await insert(4, second.session);
    await savepoint.rollback();
    assert.is(txn.joined(second.session), undefined);
    await insert(5, second.session);
    await savepoint.rollback();
    await insert(6, second.session);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 6]);
  assert.is(second.pool.idleCount, second.pool.totalCount);
});

test('savepoints run over all sessions', async () => {
  await transaction.run(async () => {
    await insert(3);
    await insert(4, second.session);
    const savepoint = await transaction.savepoint();
    await insert(5);
    await insert(6, second.session);
    await savepoint.rollback();
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('a data manager without savepoints refuses one, and the session is rolled back with the transaction (zope 115)', async () => {
  const nothing = (): void => undefined;
  const plain: DataManager = {
    sortKey: 'plain',
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: nothing,
    tpcAbort: nothing,
    abort: nothing,
  };
  await assert.rejects(
    transaction.run(async (txn) => {
      txn.join(plain);
      await insert(3);
      await transaction.savepoint();
    }, attempts),
    SavepointsUnsupportedError,
  );
  await transaction.run(async (txn) => {
    txn.join(plain);
    await insert(4);
    await transaction.savepoint(true);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('savepoints and statements at once stay in order', async () => {
  await transaction.run(async () => {
    const [, savepoint] = await Promise.all([insert(3), transaction.savepoint(), insert(4)]);
    await savepoint.rollback();
    await insert(5);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('a savepoint is invalid once its transaction is over, whichever way', async () => {
  const savepoint = await transaction.run(async () => {
    await insert(3);
    return transaction.savepoint();
  }, attempts);
  assert.not.ok(savepoint.valid);
  await assert.rejects(savepoint.rollback(), InvalidSavepointRollbackError);
  await assert.rejects(() => transaction.context(() => transaction.savepoint()));
});

test('a connection that dies fails the rollback to a savepoint, and the transaction', async () => {
  await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      const savepoint = await transaction.savepoint();
      await db.terminate();
      await savepoint.rollback();
    }, attempts),
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('abort beside a savepoint under way ends both, and nothing is stored', async () => {
  await transaction.context(async () => {
    await transaction.begin();
    await insert(3);
    const making = transaction.savepoint();
    const [made] = await outcomes(making, transaction.abort());
    if (made !== undefined) assert.ok(made instanceof Error);
    await assert.rejects(insert(4), TransactionClosed);
  });
  assert.equal(await db.ids(), [1, 2]);
});

test('the application’s own savepoints and the coordinator’s don’t get in each other’s way', async () => {
  await transaction.run(async () => {
    await insert(3);
    await session.query('savepoint mine');
    const savepoint = await transaction.savepoint();
    await insert(4);
    await session.query('savepoint mine');
    await insert(5);
    await savepoint.rollback();
    await session.query('rollback to mine');
    await insert(6);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 6]);
});

test('a rollback to the application’s own savepoint takes the coordinator’s inner one away: its rollback is an error, not silence', async () => {
  await assert.rejects(
    transaction.run(async () => {
      await session.query('savepoint mine');
      const savepoint = await transaction.savepoint();
      await insert(4);
      await session.query('rollback to mine');
      await savepoint.rollback();
    }, attempts),
    { code: '3B001' },
  );
  assert.equal(await db.ids(), [1, 2]);
});
