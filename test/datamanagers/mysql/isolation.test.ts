import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigurationError, transaction, type TransactionOptions } from 'unanimous';
import type { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { Gate } from '../sql/helpers.ts';
import { Database, products, warnings } from './setup.ts';

for (const { product, server } of await products()) {
  const test = suite(`isolation and retries, on ${product}`);
  const db = await Database.open(server, { name: 'isolation' });
  const plain = db.another({ name: 'plain', register: { twoPhase: false } });
  test.after(() => db.close());
  test.after.each(async () => {
    await db.assertClean();
    await db.reset();
    assert.equal(warnings, []);
  });
  const kinds = [
    ['a branch', db.session],
    ['a plain transaction', plain.session],
  ] as const;

  /** What InnoDB says of the transaction of a session. */
  const inForce = async (session: MysqlSession): Promise<{ level: string; readOnly: number }> => {
    await session.query('select * from accounts');
    const [[{ id }]] = await session.query('select connection_id() as id');
    // What it has told is told again to whoever asks within a tenth of a second.
    await sleep(150);
    const [row] = await db.rows<{ level: string; readOnly: number }>(
      'select trx_isolation_level as level, trx_is_read_only as readOnly from information_schema.innodb_trx where trx_mysql_thread_id = ?',
      [id],
    );
    return row!;
  };

  for (const isolation of ['read uncommitted', 'read committed', 'repeatable read', 'serializable'] as const) {
    test(`${isolation} is really in force, for one transaction`, async () => {
      for (const [kind, session] of kinds) {
        await transaction.run(
          async () => assert.equal(await inForce(session), { level: isolation.toUpperCase(), readOnly: 0 }, kind),
          { isolation },
        );
        await transaction.run(async () => assert.is((await inForce(session)).level, 'REPEATABLE READ', kind));
      }
    });
  }

  test('readOnly is in force, with and without a level, and refuses a write', async () => {
    for (const [kind, session] of kinds) {
      for (const options of [{}, { isolation: 'serializable' }] as TransactionOptions[]) {
        await transaction.run(async () => assert.is((await inForce(session)).readOnly, 1, kind), {
          ...options,
          readOnly: true,
        });
        await assert.rejects(
          transaction.run(() => session.query('update accounts set balance = 1'), {
            ...options,
            readOnly: true,
            attempts: 1,
          }),
          { errno: 1792 },
        );
      }
    }
  });

  test('a transaction that takes part can’t ask for another isolation', async () => {
    await transaction.run(
      async () => {
        await assert.rejects(
          transaction.run(() => db.session.query('select 1'), { isolation: 'serializable' }),
          ConfigurationError,
        );
        await transaction.run(() => db.session.query('select 1'), { isolation: 'repeatable read' });
      },
      { isolation: 'repeatable read' },
    );
  });

  for (const [kind, session] of kinds) {
    test(`a deadlock is tried again, and both are done (1213), in ${kind}`, async () => {
      for (const wrap of [
        (work: () => Promise<unknown>) => work(),
        (work: () => Promise<unknown>) => transaction.run(work, { propagation: 'nested' }),
        (work: () => Promise<unknown>) =>
          work().catch((cause: unknown) => Promise.reject(new Error('wrapped', { cause }))),
      ]) {
        const bothHold = new Gate();
        let holders = 0;
        const move = (from: number, to: number): Promise<unknown> =>
          transaction.run(
            async (txn) => {
              await session.query('update accounts set balance = balance - 1 where id = ?', [from]);
              if (txn.attempt === 1 && ++holders === 2) bothHold.open();
              await bothHold.opened;
              await wrap(() => session.query('update accounts set balance = balance + 1 where id = ?', [to]));
            },
            { attempts: 5 },
          );
        await Promise.all([move(1, 2), move(2, 1)]);
        assert.equal([await db.balance(1), await db.balance(2)], [100, 100]);
      }
    });

    test(`a swallowed deadlock is tried again by way of the commit’s error, in ${kind}`, async () => {
      const bothHold = new Gate();
      let holders = 0;
      let swallowed = 0;
      const move = (from: number, to: number): Promise<unknown> =>
        transaction.run(
          async (txn) => {
            await session.query('update accounts set balance = balance - 1 where id = ?', [from]);
            if (txn.attempt === 1 && ++holders === 2) bothHold.open();
            await bothHold.opened;
            await session
              .query('update accounts set balance = balance + 1 where id = ?', [to])
              .catch(() => swallowed++);
          },
          { attempts: 5 },
        );
      await Promise.all([move(1, 2), move(2, 1)]);
      assert.ok(swallowed > 0);
      assert.equal([await db.balance(1), await db.balance(2)], [100, 100]);
    });

    test(`a lock that is not to be had is tried again: by NOWAIT, and in time (1205), in ${kind}`, async () => {
      for (const [setting, text] of [
        ['do 0', 'select * from accounts where id = 1 for update nowait'],
        ['set session innodb_lock_wait_timeout = 1', 'update accounts set balance = 7 where id = 1'],
      ] as const) {
        const holder = await db.admin.getConnection();
        await holder.query('start transaction');
        await holder.query('select * from accounts where id = 1 for update');
        let calls = 0;
        await transaction.run(
          async () => {
            calls++;
            await session.query(setting);
            if (calls === 2) await holder.query('rollback');
            await session.query(text);
          },
          { attempts: 3 },
        );
        holder.release();
        assert.is(calls, 2);
      }
    });
  }

  test('retriesLockTimeouts: false doesn’t try again what waited in vain', async () => {
    const once = db.another({ name: 'once', retriesLockTimeouts: false });
    const holder = await db.admin.getConnection();
    await holder.query('start transaction');
    await holder.query('select * from accounts where id = 1 for update');
    let calls = 0;
    await assert.rejects(
      transaction.run(async () => {
        calls++;
        await once.session.query('set session innodb_lock_wait_timeout = 1');
        await once.session.query('update accounts set balance = 7 where id = 1');
      }),
      { errno: 1205 },
    );
    await holder.query('rollback');
    holder.release();
    assert.is(calls, 1);
  });

  test('a row that was changed since the snapshot is tried again (1020, innodb_snapshot_isolation)', async () => {
    if (product !== 'MariaDB') return;
    let calls = 0;
    await transaction.run(async () => {
      calls++;
      await db.session.query('set session innodb_snapshot_isolation = on');
      await db.session.query('select * from accounts');
      if (calls === 1) await db.admin.query('update accounts set balance = 5 where id = 1');
      await db.session.query('update accounts set balance = balance + 1 where id = 1');
    });
    assert.equal([calls, await db.balance(1)], [2, 6]);
  });

  test('what no repetition helps isn’t tried again', async () => {
    for (const [text, errno] of [
      ['insert into accounts values (1, 1)', 1062],
      ['selectt', 1064],
      ['insert into accounts values (null, 1)', 1048],
      ["signal sqlstate '45000'", 1644],
    ] as const) {
      let calls = 0;
      await assert.rejects(
        transaction.run(() => {
          calls++;
          return db.session.query(text);
        }),
        { errno },
      );
      assert.is(calls, 1, text);
    }
  });

  test('SQLSTATE 40… is tried again, within bounds, and the last error is thrown', async () => {
    let calls = 0;
    await assert.rejects(
      transaction.run(
        () => {
          calls++;
          return db.session.query("signal sqlstate '40001' set message_text = 'again'");
        },
        { attempts: 4, backoff: false },
      ),
      { sqlState: '40001' },
    );
    assert.is(calls, 4);
  });

  test('a killed connection is tried again, a killed statement isn’t', async () => {
    for (const [kind, expected] of [
      ['connection', 2],
      ['query', 1],
    ] as const) {
      let calls = 0;
      const ended = transaction.run(async (txn) => {
        calls++;
        await db.session.query('insert into accounts values (?, 0)', [10 + txn.attempt]);
        if (txn.attempt === 1) await db.session.query('update accounts set balance = sleep(20) where id = 1');
      });
      ended.catch(() => undefined);
      const running = await assert.eventually(async () => {
        const found = (await db.activity()).find(({ info }) => info?.includes('sleep(20)'));
        return found ?? false;
      });
      await db.admin.query(`kill ${kind} ${(running as { id: number }).id}`);
      const error = await ended.then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      await sleep(10);
      if (kind === 'query') assert.is((error as { errno?: number }).errno, 1317);
      else if (product === 'MariaDB') assert.is(error, undefined);
      // MySQL says of both that the statement was interrupted.
      else if (error !== undefined) assert.is((error as { errno?: number }).errno, 1317);
      if (error === undefined || kind === 'query') assert.is(calls, expected, kind);
      await db.reset();
    }
  });
}
