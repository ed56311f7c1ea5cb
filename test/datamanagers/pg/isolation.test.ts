import { ConfigurationError, transaction, type TransactionOptions } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, Gate } from './setup.ts';

const test = suite('isolation and retries on PostgreSQL');
const server = await postgres();
const db = await Database.open(server, { name: 'isolation' });
const { session } = db;
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const show = async (setting: string): Promise<string> =>
  (await session.query(`select current_setting('${setting}') as value`)).rows[0].value;

for (const isolation of ['read uncommitted', 'read committed', 'repeatable read', 'serializable'] as const) {
  test(`${isolation} is really in force, whatever the first statement is`, async () => {
    const firsts = [
      () => show('transaction_isolation'),
      () => session.query('select 1; select 2'),
      () => session.query('select $1::int', [1]),
    ];
    for (const first of firsts) {
      await transaction.run(
        async () => {
          await first();
          assert.is(await show('transaction_isolation'), isolation);
          assert.is(await show('transaction_read_only'), 'off');
        },
        { isolation },
      );
    }
  });
}

test('readOnly and deferrable are in force, together and alone', async () => {
  for (const options of [
    { readOnly: true },
    { deferrable: true },
    { isolation: 'serializable', readOnly: true, deferrable: true },
    { readOnly: false, deferrable: false },
  ] as TransactionOptions[]) {
    await transaction.run(async () => {
      assert.is(await show('transaction_read_only'), options.readOnly === true ? 'on' : 'off');
      assert.is(await show('transaction_deferrable'), options.deferrable === true ? 'on' : 'off');
    }, options);
  }
});

test('the options of one transaction don’t reach the next on the same connection', async () => {
  await transaction.run(() => session.query('select 1'), { isolation: 'serializable', readOnly: true });
  await transaction.run(async () => {
    assert.is(await show('transaction_isolation'), 'read committed');
    assert.is(await show('transaction_read_only'), 'off');
  });
});

test('a transaction that takes part can’t ask for another isolation', async () => {
  await transaction.run(
    async () => {
      await assert.rejects(
        transaction.run(() => session.query('select 1'), { isolation: 'serializable' }),
        ConfigurationError,
      );
      await transaction.run(() => session.query('select 1'), { isolation: 'repeatable read' });
    },
    { isolation: 'repeatable read' },
  );
});

test('a serialization failure is tried again, whole, and both writers are in (40001, zope 154)', async () => {
  const attemptsOf: number[] = [];
  const bothRead = new Gate();
  let readers = 0;
  const increment = (): Promise<unknown> =>
    transaction.run(
      async (txn) => {
        const { rows } = await session.query<{ balance: number }>('select balance from accounts where id = 1');
        if (txn.attempt === 1 && ++readers === 2) bothRead.open();
        await bothRead.opened;
        await session.query('update accounts set balance = $1 where id = 1', [rows[0]!.balance + 1]);
        attemptsOf.push(txn.attempt);
      },
      { isolation: 'repeatable read', attempts: 5 },
    );
  await Promise.all([increment(), increment()]);
  assert.is(await db.balance(1), 102);
  assert.ok(Math.max(...attemptsOf) > 1);
});

test('write skew under serializable, which only COMMIT may show, is tried again', async () => {
  const bothRead = new Gate();
  let readers = 0;
  const withdraw = (id: number): Promise<unknown> =>
    transaction.run(
      async (txn) => {
        const { rows } = await session.query<{ sum: string }>('select sum(balance) as sum from accounts');
        if (txn.attempt === 1 && ++readers === 2) bothRead.open();
        await bothRead.opened;
        if (Number(rows[0]!.sum) >= 200)
          await session.query('update accounts set balance = balance - 150 where id = $1', [id]);
      },
      { isolation: 'serializable', attempts: 5 },
    );
  await Promise.all([withdraw(1), withdraw(2)]);
  assert.is((await db.balance(1))! + (await db.balance(2))!, 50);
});

test('a deadlock is tried again, and both are done (40P01)', async () => {
  const bothHold = new Gate();
  let holders = 0;
  const move = (from: number, to: number): Promise<unknown> =>
    transaction.run(
      async (txn) => {
        await session.query("set local deadlock_timeout = '20ms'");
        await session.query('update accounts set balance = balance - 1 where id = $1', [from]);
        if (txn.attempt === 1 && ++holders === 2) bothHold.open();
        await bothHold.opened;
        await session.query('update accounts set balance = balance + 1 where id = $1', [to]);
      },
      { attempts: 5 },
    );
  await Promise.all([move(1, 2), move(2, 1)]);
  assert.equal([await db.balance(1), await db.balance(2)], [100, 100]);
});

test('a lock that can’t be had in time is tried again (55P03), as is one inside of a wrapped error', async () => {
  for (const wrap of [
    (error: unknown) => error,
    (cause: unknown) => new Error('wrapped', { cause: new Error('twice', { cause }) }),
  ]) {
    const holder = await db.admin.connect();
    await holder.query('begin; select 1 from accounts where id = 1 for update');
    let calls = 0;
    await transaction.run(
      async () => {
        calls++;
        await session.query("set local lock_timeout = '20ms'");
        if (calls === 2) await holder.query('rollback');
        try {
          await session.query('update accounts set balance = 1 where id = 1');
        } catch (error) {
          throw wrap(error);
        }
      },
      { attempts: 3 },
    );
    holder.release();
    assert.is(calls, 2);
    await db.reset();
  }
});

test('what no repetition helps isn’t tried again', async () => {
  for (const text of [
    'insert into accounts values (1, 1)',
    'selectt',
    'select 1 / 0',
    "set local statement_timeout = '10ms'; select pg_sleep(1)",
  ]) {
    let calls = 0;
    await assert.rejects(
      transaction.run(() => {
        calls++;
        return session.query(text);
      }),
    );
    assert.is(calls, 1, text);
  }
});

test('the attempts are bounded, and the last error is thrown', async () => {
  let calls = 0;
  await assert.rejects(
    transaction.run(
      () => {
        calls++;
        return session.query("do $$ begin raise exception 'again' using errcode = '40001'; end $$");
      },
      { attempts: 4, backoff: false },
    ),
    { code: '40001' },
  );
  assert.is(calls, 4);
});

test('a transient error that was swallowed is tried again by way of the commit’s error', async () => {
  let calls = 0;
  await transaction.run(
    async () => {
      calls++;
      await session.query('insert into accounts values ($1, 0)', [10 + calls]);
      if (calls === 1) {
        await session
          .query("do $$ begin raise exception 'again' using errcode = '40001'; end $$")
          .catch(() => undefined);
      }
    },
    { attempts: 3, backoff: false },
  );
  assert.equal(await db.ids(), [1, 2, 12]);
});

for (const [title, declared] of [
  ['declared read-only', { readOnly: true }],
  ['that has only read', {}],
] as const) {
  test(`serializable: what a transaction ${title} has read counts, so that who would make it wrong is refused`, async () => {
    await db.admin.query(
      'drop table if exists control, receipts; create table control (batch int); create table receipts (batch int, amount int); insert into control values (1)',
    );
    const clerk = await db.admin.connect();
    try {
      await clerk.query('begin isolation level serializable');
      const { rows } = await clerk.query<{ batch: number }>('select batch from control');
      await db.admin.query('begin isolation level serializable; update control set batch = 2; commit');
      const report = await transaction.run(
        async () => {
          await session.query('select batch from control');
          return (await session.query('select count(*)::int as n from receipts where batch = 1')).rows[0].n;
        },
        { isolation: 'serializable', ...declared },
      );
      assert.is(report, 0);
      // Into the batch that was closed, and reported to be empty.
      const late = async (): Promise<void> => {
        await clerk.query('insert into receipts values ($1, 10)', [rows[0]!.batch]);
        await clerk.query('commit');
      };
      assert.is((await assert.rejects(late)).code, '40001');
    } finally {
      await clerk.query('rollback');
      clerk.release();
    }
  });
}
