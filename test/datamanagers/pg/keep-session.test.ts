import { transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from './setup.ts';

const test = suite('keepSession (zope 145, 153, and the departure from 146)');
const db = await Database.open(await postgres(), {
  name: 'keep',
  register: { keepSession: true },
  pool: { max: 3 },
});
const { pool, session } = db;
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const attempts = { attempts: 1 };
const pid = async (): Promise<number> => (await session.query('select pg_backend_pid() as pid')).rows[0].pid;
const held = (): number => pool.totalCount - pool.idleCount;

test('the next transaction of the context has the same connection, with temp tables and prepared statements', async () => {
  await transaction.context(async () => {
    const pids: number[] = [];
    await transaction.run(async () => {
      await session.query('create temp table kept (i int)');
      await session.query('insert into kept values (1)');
      await session.query('prepare mine as select i + 1 as i from kept');
      pids.push(await pid());
    }, attempts);
    assert.is(held(), 1);
    await transaction.run(async () => {
      assert.equal((await session.query('execute mine')).rows, [{ i: 2 }]);
      pids.push(await pid());
    }, attempts);
    await transaction.begin();
    pids.push(await pid());
    await transaction.abort();
    assert.is(new Set(pids).size, 1);
    session.close();
  });
  assert.is(held(), 0);
});

test('between the transactions it is rolled back and clean, also behind an abort and a failed statement (departure from zope 146)', async () => {
  await transaction.context(async () => {
    for (const work of [
      () => session.query('insert into accounts values (3, 0)'),
      () => session.query('select 1'),
      () => session.query('selectt'),
      async () => {
        await session.query('insert into accounts values (4, 0)');
        throw new Error('aborted');
      },
    ]) {
      await transaction.run(work, attempts).catch(() => undefined);
      await assert.eventually(async () => (await db.activity()).every(({ state }) => state === 'idle'));
    }
    session.close();
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('contexts side by side keep a connection each, and never share', async () => {
  await Promise.all(
    [1, 2, 3].map((i) =>
      transaction.context(async () => {
        await transaction.run(() => session.query(`create temp table mine as select ${i} as i`));
        await new Promise((resolve) => setTimeout(resolve, 20));
        for (let round = 0; round < 5; round++) {
          await transaction.run(async () => assert.equal((await session.query('select i from mine')).rows, [{ i }]));
        }
      }),
    ),
  );
  assert.is(held(), 0);
});

test('what a context keeps isn’t left for the next one: no temp table, no setting', async () => {
  await transaction.context(() =>
    transaction.run(async () => {
      await session.query('create temp table left_over (i int)');
      await session.query("set statement_timeout = '7s'");
      await session.query('insert into accounts values (3, 0)');
    }),
  );
  assert.is(held(), 0);
  await transaction.context(() =>
    transaction.run(async () => {
      await assert.rejects(session.query('select * from left_over'), { code: '42P01' });
      await transaction.abort();
    }),
  );
  await transaction.context(() =>
    transaction.run(async () => {
      assert.equal((await session.query('show statement_timeout')).rows, [{ statement_timeout: '0' }]);
    }),
  );
});

test('a context that ends gives its connection back by itself; close() before that, twice or without one', async () => {
  await transaction.context(() => transaction.run(() => session.query('select 1')));
  assert.is(held(), 0);
  await transaction.context(async () => {
    session.close();
    await transaction.run(() => session.query('select 1'));
    assert.is(held(), 1);
    session.close();
    session.close();
    assert.is(held(), 0);
    await transaction.run(() => session.query('select 1'));
  });
  assert.is(held(), 0);
  session.close();
});

test('run() outside of any context keeps nothing behind its end', async () => {
  await transaction.run(() => session.query('select 1'));
  assert.is(held(), 0);
});

test('close() within a transaction lets it end first', async () => {
  await transaction.context(async () => {
    await transaction.run(async () => {
      await session.query('insert into accounts values (3, 0)');
      session.close();
      await session.query('insert into accounts values (4, 0)');
    }, attempts);
    assert.is(held(), 0);
  });
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('a kept connection that dies while nobody uses it is no uncaught exception, and is replaced', async () => {
  await transaction.context(async () => {
    const first = await transaction.run(pid);
    await db.terminate('true');
    await new Promise((resolve) => setTimeout(resolve, 50));
    const second = await transaction.run(pid);
    assert.is.not(second, first);
    session.close();
  });
});

test('two phases with a kept connection', async () => {
  const other = db.another({ name: 'other', register: { keepSession: true } });
  await transaction.context(async () => {
    for (const id of [3, 4]) {
      await transaction.run(async () => {
        await session.query('insert into accounts values ($1, 0)', [id]);
        await other.session.query('insert into accounts values ($1, 0)', [id + 10]);
      }, attempts);
    }
    session.close();
    other.session.close();
  });
  assert.equal(await db.ids(), [1, 2, 3, 4, 13, 14]);
  assert.is(other.pool.idleCount, other.pool.totalCount);
});

test('requires-new inside of a kept one has a connection of its own', async () => {
  await transaction.context(async () => {
    await transaction.run(async () => {
      const outer = await pid();
      const inner = await transaction.run(pid, { propagation: 'requires-new' });
      assert.is.not(inner, outer);
    });
    session.close();
  });
  assert.is(held(), 0);
});

test('markChanged({ keepSession: true }) and joinTransaction({ keepSession }) say so for one transaction', async () => {
  const plain = db.another({ name: 'plain' });
  await transaction.context(async () => {
    await transaction.run(async () => {
      await plain.session.query('select 1');
      plain.session.markChanged({ keepSession: true });
    });
    assert.is(plain.pool.totalCount - plain.pool.idleCount, 1);
    await transaction.run(() => plain.session.query('select 1'));
    assert.is(plain.pool.totalCount - plain.pool.idleCount, 0);
    await transaction.run(async () => {
      session.joinTransaction({ keepSession: false });
      await session.query('select 1');
    });
    assert.is(held(), 0);
  });
});
