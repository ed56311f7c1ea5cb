import { transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Database, held, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`keepSession (zope 145, 153, and the departure from 146), on ${product}`);
  const db = await Database.open(server, {
    name: 'keep',
    register: { keepSession: true },
    pool: { connectionLimit: 3 },
  });
  const { pool, session } = db;
  // MySQL can't have temporary tables in a branch.
  const plain = db.another({ name: 'plain', register: { keepSession: true, twoPhase: false } });
  test.after(() => db.close());
  test.after.each(async () => {
    await db.assertClean();
    await db.reset();
    assert.equal(warnings, []);
  });
  const thread = async (): Promise<number> => (await session.query('select connection_id() as id'))[0][0].id;

  test('the next transaction of the context has the same connection, with variables and temporary tables', async () => {
    await transaction.context(async () => {
      const threads: number[] = [];
      await transaction.run(async () => {
        await session.query('set @mine = 7');
        await plain.session.query('create temporary table kept (i int)');
        threads.push(await thread());
      }, attempts);
      assert.is(held(pool), 1);
      await transaction.run(async () => {
        assert.equal((await session.query('select @mine as mine'))[0], [{ mine: 7 }]);
        await plain.session.query('insert into kept values (1)');
        threads.push(await thread());
      }, attempts);
      await transaction.begin();
      threads.push(await thread());
      await transaction.abort();
      assert.is(new Set(threads).size, 1);
      session.close();
      plain.session.close();
    });
    assert.equal([held(pool), held(plain.pool)], [0, 0]);
  });

  test('between the transactions it is rolled back and clean, also behind an abort and a failed statement', async () => {
    await transaction.context(async () => {
      for (const work of [
        () => session.query('insert into accounts values (3, 0)'),
        () => session.query('select 1'),
        () => session.query('selectt'),
        () => session.query('insert into accounts values (1, 0)').catch(() => undefined),
        async () => {
          await session.query('insert into accounts values (4, 0)');
          throw new Error('aborted');
        },
      ]) {
        await transaction.run(work, attempts).catch(() => undefined);
        // Nobody would be kept waiting by it.
        await db.admin.query('update accounts set balance = balance + 1');
      }
      await transaction.run(() => session.query('insert into accounts values (5, 0)'), attempts);
      session.close();
    });
    assert.equal(await db.ids(), [1, 2, 3, 5]);
  });

  test('contexts side by side keep a connection each, and what a context keeps isn’t left for the next one', async () => {
    await Promise.all(
      [1, 2, 3].map((i) =>
        transaction.context(async () => {
          await transaction.run(() => session.query('set @mine = ?', [i]));
          for (let round = 0; round < 5; round++) {
            await transaction.run(async () => {
              assert.equal((await session.query('select @mine as i'))[0], [{ i }]);
            });
          }
        }),
      ),
    );
    assert.is(held(pool), 0);
    await transaction.run(async () => {
      assert.equal((await session.query('select @mine as i'))[0], [{ i: null }]);
    });
  });

  test('a kept connection that dies while nobody uses it is no uncaught exception, and is replaced', async () => {
    await transaction.context(async () => {
      const first = await transaction.run(thread);
      await db.terminate(() => true);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.is.not(await transaction.run(thread), first);
      session.close();
    });
  });

  test('two phases with a kept connection', async () => {
    const other = db.another({ name: 'other', register: { keepSession: true } });
    await transaction.context(async () => {
      for (const id of [3, 4, 5]) {
        await transaction.run(async () => {
          await session.query('insert into accounts values (?, 0)', [id]);
          await other.session.query('insert into accounts values (?, 0)', [id + 10]);
        }, attempts);
      }
      session.close();
      other.session.close();
    });
    assert.equal(await db.ids(), [1, 2, 3, 4, 5, 13, 14, 15]);
  });

  test('requires-new inside of a kept one has a connection of its own; close() within a transaction lets it end first', async () => {
    await transaction.context(async () => {
      await transaction.run(async () => {
        const outer = await thread();
        assert.is.not(await transaction.run(thread, { propagation: 'requires-new' }), outer);
        session.close();
        await session.query('insert into accounts values (3, 0)');
      }, attempts);
    });
    assert.equal(await db.ids(), [1, 2, 3]);
    assert.is(held(pool), 0);
  });
}
