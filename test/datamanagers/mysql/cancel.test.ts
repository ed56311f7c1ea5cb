import { setTimeout as sleep } from 'node:timers/promises';
import { DoomedTransaction, TransactionTimeoutError, transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { failureOf, onText, outcomes } from '../sql/helpers.ts';
import { Database, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`deadlines, signals and the driver’s timeout stop statements, on ${product}`);
  const db = await Database.open(server, { name: 'cancel', endTimeoutMs: 1_000 });
  const second = await Database.open(server, { name: 'second', endTimeoutMs: 1_000 });
  const { proxy, session } = db;
  test.after(() => Promise.all([db.close(), second.close()]));
  test.after.each(async () => {
    for (const each of [db, second]) {
      each.proxy.onClientData = undefined;
      each.proxy.onServerData = undefined;
      each.proxy.refuse = false;
      each.proxy.release();
      await each.assertClean();
      await each.reset();
    }
    assert.equal(warnings, []);
  });
  const insert = (id: number, target = session): Promise<unknown> =>
    target.execute('insert into accounts values (?, 0)', [id]);
  // Long enough that no test waits for its end, and no function that an interruption would end without an error.
  const slow = (mark: string): string =>
    `update accounts set balance = balance + sleep(20) where id = 1 /* mark ${mark} */`;

  test('timeoutMs stops the statement at the server, and run rejects with that', async () => {
    const works: Record<string, () => Promise<unknown>> = {
      query: () => session.query(slow('query')),
      select: () => session.query('select sleep(20) /* mark select */'),
      execute: () => session.execute('select sleep(20) /* mark execute */'),
      stream: async () => {
        for await (const _row of session.queryStream('select sleep(20) /* mark stream */'));
      },
    };
    for (const [mark, work] of Object.entries(works)) {
      const error = await assert.rejects(
        transaction.run(work, { ...attempts, timeoutMs: 100 }),
        TransactionTimeoutError,
        mark,
      );
      assert.match(error.message, /100 ms/);
      await assert.eventually(async () => !(await db.isRunning(`mark ${mark}`)));
      await db.assertClean();
    }
  });

  test('a signal stops the statement at the server, and run rejects with its reason as the cause', async () => {
    const controller = new AbortController();
    const signalled = transaction.run(() => session.query(slow('signal')), { ...attempts, signal: controller.signal });
    await assert.eventually(() => db.isRunning('mark signal'));
    const reason = Object.freeze(new Error('the client has gone'));
    controller.abort(reason);
    const error = await assert.rejects(signalled, DoomedTransaction);
    assert.is(error.cause, reason);
    await assert.eventually(async () => !(await db.isRunning('mark signal')));
  });

  test('what waits behind the statement that a deadline stops is never sent', async () => {
    const sent: string[] = [];
    proxy.onClientData = (data) => void sent.push(data.toString('latin1'));
    let errors: (Error | undefined)[] = [];
    await assert.rejects(
      transaction.run(
        async () => {
          const all = [session.query(slow('first')), session.query(slow('behind')), insert(3)];
          errors = await outcomes(...all);
          await all[0];
        },
        { ...attempts, timeoutMs: 100 },
      ),
      TransactionTimeoutError,
    );
    assert.instance(errors[0], TransactionTimeoutError);
    for (const error of errors) assert.instance(error, Error);
    assert.not.ok(sent.some((text) => text.includes('behind')));
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a deadline that passes while the transaction begins lets no statement follow', async () => {
    const sent: string[] = [];
    proxy.onClientData = (data) => {
      const text = data.toString('latin1');
      sent.push(text);
      if (!text.includes('xa start')) return;
      proxy.hold();
      setTimeout(() => proxy.release(), 300);
    };
    await assert.rejects(
      transaction.run(() => insert(3), { ...attempts, timeoutMs: 100 }),
      TransactionTimeoutError,
    );
    assert.ok(sent.some((text) => text.includes('xa start')));
    assert.not.ok(
      sent.some((text) => text.includes('insert')),
      sent.join(),
    );
    assert.equal(await db.ids(), [1, 2]);
  });

  test('a server that says nothing: the connection is cut within seconds, and the process lives', async () => {
    for (const reason of [undefined, Object.freeze(new Error('frozen'))]) {
      const controller = new AbortController();
      onText(proxy, 'silent', (link) => void (link.dropReplies = true));
      // KILL QUERY takes a connection too, which isn't answered either.
      const ended = transaction.run(
        () => {
          const working = session.query('select sleep(0.01) /* silent */');
          proxy.hold();
          return working;
        },
        { ...attempts, ...(reason === undefined ? { timeoutMs: 100 } : { signal: controller.signal }) },
      );
      if (reason !== undefined) setTimeout(() => controller.abort(reason), 100);
      const error = await assert.rejects(ended, reason === undefined ? TransactionTimeoutError : DoomedTransaction);
      if (reason !== undefined) assert.is(error.cause, reason);
      proxy.release();
      await db.assertClean();
    }
  });

  test('a deadline during PREPARE and during the votes rolls both back', async () => {
    for (const text of ['xa end', 'xa prepare']) {
      onText(proxy, text, () => {
        proxy.hold();
        setTimeout(() => proxy.release(), 300);
      });
      await assert.rejects(
        transaction.run(
          async () => {
            await insert(3);
            await insert(3, second.session);
          },
          { ...attempts, timeoutMs: 150 },
        ),
        TransactionTimeoutError,
      );
      for (const each of [db, second]) {
        assert.equal(await each.ids(), [1, 2]);
        await each.assertClean();
      }
    }
  });

  test('a deadline with a kept connection cancels in each of its transactions, and never the next one', async () => {
    const kept = db.another({ name: 'kept', register: { keepSession: true } });
    await transaction.context(async () => {
      for (let i = 0; i < 5; i++) {
        await assert.rejects(
          transaction.run(() => kept.session.query('select sleep(20)'), { ...attempts, timeoutMs: 50 }),
          TransactionTimeoutError,
        );
        await transaction.run(() => insert(10 + i, kept.session), attempts);
      }
      kept.session.close();
    });
    assert.equal(await db.ids(), [1, 2, 10, 11, 12, 13, 14]);
  });

  test('a deadline that passes between statements refuses the next one, and stops nothing of anybody else', async () => {
    for (let i = 0; i < 5; i++) {
      await assert.rejects(
        transaction.run(
          async () => {
            await insert(3);
            await sleep(60);
            await insert(4);
          },
          { ...attempts, timeoutMs: 40 },
        ),
        TransactionTimeoutError,
      );
      await transaction.run(() => session.query('select sleep(0.02)'), attempts);
    }
    assert.equal(await db.ids(), [1, 2]);
  });

  test('the driver’s timeout stops the statement at the server; it is an error like any other, which a savepoint heals', async () => {
    for (const [method, run] of Object.entries({
      query: (options: { sql: string; timeout: number }) => session.query(options),
      execute: (options: { sql: string; timeout: number }) => session.execute(options),
      stream: async (options: { sql: string; timeout: number }) => {
        for await (const _row of session.queryStream(options));
      },
    })) {
      for (const sql of [slow(method), `select sleep(20) /* mark ${method} */`]) {
        await transaction.run(async () => {
          await insert(3);
          for (let i = 0; i < 2; i++) {
            const savepoint = await transaction.savepoint();
            await assert.rejects(run({ sql, timeout: 100 }), { code: 'PROTOCOL_SEQUENCE_TIMEOUT' }, sql);
            await assert.eventually(async () => !(await db.isRunning(`mark ${method}`)));
            await savepoint.rollback();
          }
          await insert(4);
        }, attempts);
        assert.equal(await db.ids(), [1, 2, 3, 4], sql);
        await db.reset();
      }
      await assert.rejects(
        transaction.run(async () => {
          await insert(3);
          await run({ sql: slow(method), timeout: 100 }).catch(() => undefined);
        }, attempts),
        { code: 'ERR_TXN_SILENT_ROLLBACK' },
      );
      assert.equal(await db.ids(), [1, 2]);
    }
  });

  test('a timeout that isn’t reached changes nothing', async () => {
    await transaction.run(async () => {
      await session.query({ sql: 'insert into accounts values (3, 0)', timeout: 10_000 });
      await session.execute({ sql: 'insert into accounts values (4, 0)', timeout: 10_000 });
      for await (const _row of session.queryStream({ sql: 'select 1', timeout: 10_000 }));
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
  });

  test('statements that end just when they are told to stop: nothing else is hit, whatever comes next', async () => {
    for (let round = 0; round < 30; round++) {
      const error = await failureOf(
        transaction.run(
          async () => {
            await insert(3);
            await session.query(`select sleep(${(30 + (round % 10)) / 1000})`);
            await session.query('select 1');
          },
          { ...attempts, timeoutMs: 40 },
        ),
      );
      if (error !== undefined) assert.instance(error, TransactionTimeoutError, String(error));
      assert.equal(await db.ids(), error === undefined ? [1, 2, 3] : [1, 2]);
      await db.reset();
    }
  });
}
