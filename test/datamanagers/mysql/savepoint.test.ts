import { InvalidSavepointRollbackError, TransactionClosed, TransactionStateError, transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { outcomes } from '../sql/helpers.ts';
import { Database, held, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`savepoints (zope 114-128, 151), on ${product}`);
  const db = await Database.open(server, { name: 'savepoint' });
  const second = db.another({ name: 'second' });
  const plain = db.another({ name: 'plain', register: { twoPhase: false } });
  test.after(() => db.close());
  test.after.each(async () => {
    await db.assertClean();
    await db.reset();
    assert.equal(warnings, []);
  });

  for (const [kind, session] of [
    ['a branch', db.session],
    ['a plain transaction', plain.session],
  ] as const) {
    const insert = (id: number, target = session): Promise<unknown> =>
      target.execute('insert into accounts values (?, 0)', [id]);

    test(`a rollback undoes what came after it and nothing else, and can be repeated (zope 119), in ${kind}`, async () => {
      await transaction.run(async () => {
        await insert(3);
        const savepoint = await transaction.savepoint();
        for (const id of [4, 5]) {
          await insert(id);
          await savepoint.rollback();
        }
        await insert(6);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 6]);
    });

    test(`an outer rollback invalidates the inner ones, an inner one leaves the outer valid, in ${kind}`, async () => {
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
        await assert.rejects(inner.rollback(), InvalidSavepointRollbackError);
        await insert(7);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 7]);
    });

    test(`a rollback heals ${kind} in which a statement has failed`, async () => {
      await transaction.run(async () => {
        await insert(3);
        const savepoint = await transaction.savepoint();
        await assert.rejects(insert(3), { errno: 1062 });
        await insert(4);
        await savepoint.rollback();
        await insert(5);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 5]);
    });

    test(`a savepoint after a failed statement is refused, as its rollback could not heal ${kind}`, async () => {
      const error = await assert.rejects(
        transaction.run(async () => {
          await insert(3);
          await insert(3).catch(() => undefined);
          const savepoint = await transaction.savepoint();
          await savepoint.rollback();
        }, attempts),
        TransactionStateError,
      );
      assert.is((error.cause as { errno: number }).errno, 1062);
      assert.equal(await db.ids(), [1, 2]);
    });

    test(`a nested run that fails heals ${kind}, and one that swallows an error keeps it from committing`, async () => {
      const nested = (fn: () => Promise<unknown>): Promise<unknown> => transaction.run(fn, { propagation: 'nested' });
      await transaction.run(async () => {
        await insert(3);
        await assert.rejects(
          nested(() => insert(4).then(() => insert(3))),
          { errno: 1062 },
        );
        await nested(() => insert(6));
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 6]);
      await assert.rejects(
        transaction.run(() => nested(() => insert(5).then(() => insert(3).catch(() => undefined))), attempts),
        { code: 'ERR_TXN_SILENT_ROLLBACK' },
      );
      assert.equal(await db.ids(), [1, 2, 3, 6]);
    });

    test(`a savepoint before ${kind} has sent anything: its rollback undoes all`, async () => {
      await transaction.run(async () => {
        session.joinTransaction();
        const savepoint = await transaction.savepoint();
        await insert(3);
        await savepoint.rollback();
        await insert(4);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 4]);
    });

    test(`one that joined behind the savepoint is aborted by its rollback, and may join again (zope 124), beside ${kind}`, async () => {
      await transaction.run(async (txn) => {
        await insert(3);
        const savepoint = await transaction.savepoint();
        await insert(4, second.session);
        await savepoint.rollback();
        assert.is(txn.joined(second.session), undefined);
        await insert(6, second.session);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 6]);
      assert.is(held(second.pool), 0);
    });

    test(`savepoints and statements at once stay in order, in ${kind}`, async () => {
      await transaction.run(async () => {
        const [, savepoint] = await Promise.all([insert(3), transaction.savepoint(), insert(4)]);
        await savepoint.rollback();
        await insert(5);
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3, 5]);
    });

    test(`a connection that dies fails the rollback to a savepoint of ${kind}, and the transaction`, async () => {
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

    test(`abort beside a savepoint under way ends both, in ${kind}`, async () => {
      await transaction.context(async () => {
        await transaction.begin();
        await insert(3);
        await outcomes(transaction.savepoint(), transaction.abort());
        await assert.rejects(insert(4), TransactionClosed);
      });
      assert.equal(await db.ids(), [1, 2]);
    });

    test(`a rollback to the application’s own savepoint takes the coordinator’s inner one away: an error, not silence, in ${kind}`, async () => {
      await assert.rejects(
        transaction.run(async () => {
          await session.query('savepoint mine');
          const savepoint = await transaction.savepoint();
          await insert(4);
          await session.query('rollback to mine');
          await savepoint.rollback();
        }, attempts),
        { errno: 1305 },
      );
      assert.equal(await db.ids(), [1, 2]);
    });
  }
}
