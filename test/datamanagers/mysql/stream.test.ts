import { setTimeout as sleep } from 'node:timers/promises';
import { ConcurrentUseError, TransactionClosed, transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { says } from '../sql/helpers.ts';
import { Database, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`queryStream, on ${product}`);
  const db = await Database.open(server, { name: 'stream', pool: { multipleStatements: true } });
  const other = await Database.open(server, { name: 'other' });
  const { session } = db;
  test.after(() => Promise.all([db.close(), other.close()]));
  test.after.each(async () => {
    await db.assertClean();
    await other.assertClean();
    await db.reset();
    await other.reset();
    assert.equal(warnings, []);
  });
  const numbers = (count: number): string =>
    `with recursive n as (select 1 as i union all select i + 1 from n where i < ${count}) select i from n`;
  await db.admin.query('set global cte_max_recursion_depth = 1000000').catch(() => undefined);
  await db.admin.query('set global max_recursive_iterations = 4294967295').catch(() => undefined);

  test('is read in the transaction, and others wait for its end', async () => {
    await transaction.run(async () => {
      await session.query('insert into accounts values (3, 0)');
      const ids: number[] = [];
      const stream = session.queryStream('select id from accounts where id > ? order by id', [1]);
      const behind = session.query('select count(*) as n from accounts');
      for await (const { id } of stream) ids.push(id);
      assert.equal(ids, [2, 3]);
      assert.equal((await behind)[0], [{ n: 3 }]);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('100,000 rows through a slow reader: no more is read ahead than was asked for', async () => {
    await transaction.run(async () => {
      const stream = session.queryStream(numbers(100_000), [], { highWaterMark: 10 });
      let count = 0;
      let longest = 0;
      for await (const _row of stream) {
        count++;
        longest = Math.max(longest, stream.readableLength);
        if (count % 10_000 === 0) await sleep(5);
      }
      assert.is(count, 100_000);
      assert.ok(longest <= 20, `${longest} rows were waiting`);
    }, attempts);
  });

  test('read to its end just before the commit doesn’t refuse it', async () => {
    for (let i = 0; i < 20; i++) {
      await transaction.run(async () => {
        await session.query('update accounts set balance = balance + 1 where id = 1');
        for await (const _row of session.queryStream(numbers(50)));
      }, attempts);
    }
    assert.is(await db.balance(1), 120);
  });

  /** Leaves streams of so many rows, and commits behind them, or behind a last statement. */
  const leaveAndCommit = async (count: number, last?: string): Promise<void> => {
    await transaction.run(async () => {
      await session.query('insert into accounts values (3, 3)');
      for await (const { i } of session.queryStream(numbers(count))) if (i === 15) break;
      await session.query('insert into accounts values (4, 4)');
      for await (const { i } of session.queryStream(numbers(count))) if (i === 15) break;
      if (last !== undefined) await session.query(last);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
    await db.reset();
  };

  test('left in the middle by break, with little left: the transaction goes on and commits', async () => {
    // A commit gives a stream one second to be through, which may be too little where the machine has much else to do.
    await assert.eventually(() => leaveAndCommit(100), 20_000);
  });

  test(
    'left in the middle by break, with much left: the transaction goes on, and commits behind a statement, which waits for as long as it takes',
    { timeoutMs: 120_000 },
    () => leaveAndCommit(500_000, 'select 1'),
  );

  test('left open refuses the commit, and is through with the abort (pitfall 12)', async () => {
    await assert.rejects(
      transaction.run(async () => {
        await session.query('insert into accounts values (3, 3)');
        const stream = session.queryStream(numbers(500_000));
        stream.on('error', () => undefined);
        await new Promise((resolve) => stream.once('readable', () => resolve(undefined)));
      }, attempts),
      ConcurrentUseError,
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  test('is stopped by an abort, whether it was read or not', async () => {
    for (const isRead of [true, false]) {
      await transaction.run(async () => {
        await session.query('insert into accounts values (3, 3)');
        const stream = session.queryStream(numbers(500_000), [], { highWaterMark: 5 });
        stream.on('error', () => undefined);
        if (isRead) await new Promise((resolve) => stream.once('readable', () => resolve(undefined)));
        await transaction.abort();
      }, attempts);
      assert.equal(await db.ids(), [1, 2]);
      await db.assertClean();
    }
  });

  test('its error reaches the reader once, and dooms the transaction', async () => {
    for (const sql of ['selectt', 'select * from nothing', 'select 1; select * from nothing']) {
      const errors: Error[] = [];
      await assert.rejects(
        transaction.run(async () => {
          await session.query('insert into accounts values (3, 3)');
          const stream = session.queryStream(sql);
          stream.on('error', (error) => errors.push(error));
          stream.resume();
          await new Promise((resolve) => stream.once('close', resolve));
        }, attempts),
        { code: 'ERR_TXN_SILENT_ROLLBACK' },
      );
      assert.is(errors.length, 1);
      assert.type((errors[0] as { errno?: number }).errno, 'number');
      assert.equal(await db.ids(), [1, 2]);
    }
  });

  test('an error in the middle of the rows, which some were read before', async () => {
    let count = 0;
    const rows = `select i, (select id from accounts where id < case when i > 30 then 10 else 2 end) as one from (${numbers(60)}) as t`;
    await assert.rejects(
      transaction.run(async () => {
        for await (const _row of session.queryStream(rows)) count++;
      }, attempts),
      { errno: 1242 },
    );
    assert.ok(count <= 30);
  });

  test('a value that throws while it is read is an error of the stream', async () => {
    await assert.rejects(
      transaction.run(async () => {
        const typeCast = (): never => {
          throw new Error('refused by a type cast');
        };
        for await (const _row of session.queryStream({ sql: 'select 1 as one', typeCast }));
      }, attempts),
    );
  });

  test('what it writes is committed, alone and among others, and rolled back', async () => {
    await db.admin.query('create procedure adds(id int) begin insert into accounts values (id, 0); select id; end');
    for (const sql of [
      'insert into accounts values (3, 0)',
      'call adds(3)',
      'select 1; insert into accounts values (3, 0)',
      'with x as (select 1) update accounts set id = 3 where id = 2',
    ]) {
      if (sql.startsWith('with') && product === 'MariaDB') continue;
      const expected = sql.startsWith('with') ? [1, 3] : [1, 2, 3];
      const read = async (): Promise<void> => {
        for await (const _row of session.queryStream(sql));
      };
      await transaction.run(read, attempts);
      assert.equal(await db.ids(), expected, sql);
      await db.reset();
      const txn = await transaction.run(async (txn) => {
        await read();
        await other.session.query('insert into accounts values (3, 0)');
        return txn;
      }, attempts);
      assert.is(txn.outcome?.way, 'two-phase', sql);
      assert.equal([await db.ids(), await other.ids()], [expected, [1, 2, 3]], sql);
      await db.reset();
      await other.reset();
      await assert.rejects(transaction.run(() => read().then(() => Promise.reject(new Error('no'))), attempts));
      assert.equal(await db.ids(), [1, 2], sql);
    }
    await db.admin.query('drop procedure adds');
  });

  test('a procedure that commits is noticed in a stream too', async () => {
    await db.admin.query('create procedure commits() begin insert into accounts values (9, 0); commit; end');
    const plain = db.another({ name: 'plain', register: { twoPhase: false } });
    await assert.rejects(
      transaction.run(async () => {
        await plain.session.query('insert into accounts values (3, 0)');
        for await (const _row of plain.session.queryStream('call commits()'));
        await plain.session.query('insert into accounts values (4, 0)');
      }, attempts),
      { code: 'ERR_TXN_STATE' },
    );
    assert.not.ok((await db.ids()).includes(4));
    await db.admin.query('drop procedure commits');
  });

  test('options as of the driver: rows as arrays, nested tables', async () => {
    await transaction.run(async () => {
      for await (const row of session.queryStream({ sql: 'select 1 as a, 2 as a', rowsAsArray: true }))
        assert.equal(row, [1, 2]);
      for await (const row of session.queryStream(
        { sql: 'select id from accounts where id = ?', nestTables: true },
        [1],
      ))
        assert.equal(row, { accounts: { id: 1 } });
    }, attempts);
  });

  test('without a transaction, or too late, is refused', async () => {
    assert.throws(() => session.queryStream('select 1'), says(/transaction/));
    let late!: Promise<unknown>;
    await transaction.run(async () => {
      late = assert.rejects(
        sleep(30).then(() => session.queryStream('select 1')),
        TransactionClosed,
      );
    }, attempts);
    await late;
  });
}
