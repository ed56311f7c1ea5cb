import {
  ConfigurationError,
  NoTransaction,
  TransactionClosed,
  TransactionCoordinator,
  TransactionManager,
  TransactionStateError,
  joinTransaction,
  markChanged,
  register,
  sessionState,
  transaction,
} from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, says } from './setup.ts';

const test = suite('a session in transactions (zope 132-156)');
const db = await Database.open(await postgres(), { name: 'join', pool: { max: 4 } });
const { pool, session } = db;
await db.admin.query(`
  create sequence counter;
  create function writes(id int) returns int language sql volatile as $$ insert into accounts values (id, 0) returning id $$;
  create function reads() returns bigint language sql volatile as $$ select count(*) from accounts $$;
  create procedure adds(id int) language sql as $$ insert into accounts values (id, 0) $$`);
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const second = db.another({ name: 'second' });
const third = db.another({ name: 'third' });
const attempts = { attempts: 1 };
const insert = (id: number, target = session): Promise<unknown> =>
  target.query('insert into accounts values ($1, 0)', [id]);

test('isn’t joined until its first statement, which joins it once (zope 132)', async () => {
  await transaction.run(async (txn) => {
    assert.is(sessionState(session), undefined);
    assert.is(txn.joined(session), undefined);
    await session.query('select 1');
    const joined = txn.joined(session);
    assert.is(sessionState(session), 'active');
    await session.query('select 1');
    assert.is(txn.joined(session), joined);
  });
  assert.is(session.state, undefined);
});

test('joins synchronously with query(), before its first await (zope 155)', async () => {
  await transaction.run(async () => {
    const pending = session.query('select 1');
    assert.is(session.state, 'active');
    await pending;
  });
});

test('markChanged joins a session that wasn’t used, and costs no connection (zope 133)', async () => {
  const before = pool.totalCount;
  await transaction.run(async () => {
    markChanged(session);
    assert.is(session.state, 'changed');
  });
  assert.is(pool.totalCount, before);
  assert.is(session.state, undefined);
});

test('joinTransaction joins in the state that it is told (zope 133, 147)', async () => {
  for (const initialState of ['active', 'changed', 'readonly'] as const) {
    await transaction.run(async () => {
      joinTransaction(session, { initialState });
      assert.is(session.state, initialState);
      await session.query('select 1');
    });
  }
});

test('joinTransaction doesn’t make a session writable or readonly that has joined otherwise', async () => {
  await transaction.run(async () => {
    joinTransaction(session, { initialState: 'readonly' });
    joinTransaction(session, { initialState: 'active' });
    assert.is(session.state, 'readonly');
    assert.throws(
      () => joinTransaction(session, { initialState: 'changed' }),
      (error: unknown) => error instanceof TransactionStateError,
    );
  });
});

const writes: Record<string, () => Promise<unknown>> = {
  insert: () => session.query('insert into accounts values (3, 0)'),
  'insert with values': () => insert(3),
  'a CTE that inserts': () =>
    session.query('with a as (insert into accounts values (3, 0) returning id) select * from a'),
  'a CTE behind a comment and brackets': () =>
    session.query('/* x */ with a as (insert into accounts values ($1, 0) returning id) (select * from a)', [3]),
  merge: () =>
    session.query(
      'merge into accounts a using (values (3)) as v (id) on a.id = v.id when not matched then insert values (v.id, 0)',
    ),
  'select into': async () => {
    await session.query('select 3 as id into made');
    await session.query('insert into accounts select id, 0 from made; drop table made');
  },
  'a DO block': () => session.query('do $$ begin insert into accounts values (3, 0); end $$'),
  'CALL of a procedure': () => session.query('call adds(3)'),
  'several statements, the last a SELECT': () => session.query('insert into accounts values (3, 0); select 1'),
  'a function called in a SELECT (departure from zope 135)': () => session.query('select writes(3)'),
  'a function called in VALUES': () => session.query('values (writes(3))'),
  'EXPLAIN ANALYZE': () => session.query('explain analyze insert into accounts values (3, 0)'),
  'EXECUTE of a prepared statement': async () => {
    await session.query('prepare adding as insert into accounts values (3, 0)');
    await session.query('execute adding; deallocate adding');
  },
  'a declared cursor that calls a function': async () => {
    await session.query('declare c cursor for select writes(3)');
    await session.query('fetch all from c');
  },
  'a failing statement that was rolled back to a savepoint, then a function': async () => {
    const savepoint = await transaction.savepoint();
    await session.query('selectt').catch(() => undefined);
    await savepoint.rollback();
    await session.query('select writes(3)');
  },
  'a write before a savepoint that is rolled back': async () => {
    await insert(3);
    const savepoint = await transaction.savepoint();
    await insert(4);
    await savepoint.rollback();
  },
  'a function before a savepoint that is rolled back': async () => {
    await session.query('select writes(3)');
    const savepoint = await transaction.savepoint();
    await insert(4);
    await savepoint.rollback();
  },
};
for (const [what, write] of Object.entries(writes)) {
  test(`a write is found by itself and committed, alone: ${what}`, async () => {
    await transaction.run(write, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
  });
  test(`a write is found by itself and committed, among several databases: ${what}`, async () => {
    await transaction.run(async () => {
      await second.session.query('insert into accounts values (100, 0)');
      await write();
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 100]);
  });
  test(`a write is found by itself and prepared behind one that only read: ${what}`, async () => {
    const txn = await transaction.run(async (txn) => {
      await third.session.query('select * from accounts');
      await second.session.query('select writes(100)');
      await write();
      return txn;
    }, attempts);
    assert.is(txn.outcome?.way, 'two-phase');
    assert.equal(await db.ids(), [1, 2, 3, 100]);
  });
}

test('a notification from a SELECT is sent, alone and among several databases: no write is dropped in silence', async () => {
  const listener = await db.admin.connect();
  const heard: (string | undefined)[] = [];
  listener.on('notification', ({ payload }) => heard.push(payload));
  await listener.query('listen news');
  await transaction.run(() => session.query("select pg_notify('news', 'alone')"), attempts);
  const together = transaction.run(async () => {
    await insert(3, second.session);
    await session.query("select pg_notify('news', 'together')");
  }, attempts);
  // PostgreSQL can't prepare a transaction that notifies: an error that says so is right too, silence isn't.
  const error = await together.then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  await transaction.run(async () => {
    await third.session.query('select 1');
    await session.query("select pg_notify('news', 'beside a reader')");
  }, attempts);
  await transaction.run(() => session.query("notify news, 'end'"), attempts);
  await assert.eventually(() => heard.includes('end'));
  await listener.query('unlisten news');
  listener.release();
  if (error === undefined) assert.equal(heard, ['alone', 'together', 'beside a reader', 'end']);
  else assert.equal(heard, ['alone', 'beside a reader', 'end'], error.message);
});

test('what only read is released without a commit (zope 137)', async () => {
  const txn = await transaction.run(async (txn) => {
    await session.query('select 1');
    await second.session.query('select reads()');
    return txn;
  });
  assert.equal(txn.outcome, { result: 'committed', way: 'read-only' });
});

test('SET survives the commit of its transaction as it does in PostgreSQL, SET LOCAL doesn’t', async () => {
  const kept = db.another({ name: 'kept', register: { keepSession: true } });
  await transaction.context(async () => {
    await transaction.run(() => kept.session.query("set statement_timeout = '7s'"));
    await transaction.run(async () => {
      assert.equal((await kept.session.query('show statement_timeout')).rows, [{ statement_timeout: '7s' }]);
      await kept.session.query("set local statement_timeout = '8s'");
    });
    await transaction.run(async () => {
      assert.equal((await kept.session.query('show statement_timeout')).rows, [{ statement_timeout: '7s' }]);
    });
    kept.session.close();
  });
});

test('state follows what is known: active, changed by a tag, active again by a savepoint (zope 134)', async () => {
  await transaction.run(async () => {
    await session.query('select 1');
    assert.is(session.state, 'active');
    const savepoint = await transaction.savepoint();
    await insert(3);
    assert.is(session.state, 'changed');
    await savepoint.rollback();
    assert.is(session.state, 'active');
  });
});

test('detectWrites: false commits what is marked, and rolls back what isn’t (zope 135 to the letter)', async () => {
  const strict = db.another({ name: 'strict', register: { detectWrites: false } });
  await transaction.run(() => insert(3, strict.session), attempts);
  assert.equal(await db.ids(), [1, 2]);
  await transaction.run(async () => {
    await insert(3, strict.session);
    assert.is(strict.session.state, 'active');
    markChanged(strict.session);
    assert.is(strict.session.state, 'changed');
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('detectWrites: false with a failed statement swallowed: nothing was promised, nothing is stored', async () => {
  const strict = db.another({ name: 'strict', register: { detectWrites: false } });
  await transaction.run(async () => {
    await strict.session.query('selectt').catch(() => undefined);
  }, attempts);
  await assert.rejects(
    transaction.run(async () => {
      await insert(3, strict.session);
      markChanged(strict.session);
      await strict.session.query('selectt').catch(() => undefined);
    }, attempts),
    { code: 'ERR_TXN_SILENT_ROLLBACK' },
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('initialState changed always commits (zope 147), readonly opens READ ONLY and refuses markChanged (148)', async () => {
  const changed = db.another({ name: 'changed', register: { initialState: 'changed', detectWrites: false } });
  await transaction.run(() => insert(3, changed.session), attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
  const readonly = db.another({ name: 'readonly', register: { initialState: 'readonly' } });
  await assert.rejects(
    transaction.run(() => insert(4, readonly.session), attempts),
    { code: '25006' },
  );
  await transaction.run(async () => {
    assert.equal((await readonly.session.query('show transaction_read_only')).rows, [{ transaction_read_only: 'on' }]);
    assert.is(readonly.session.state, 'readonly');
    const error = await assert.rejects(async () => markChanged(readonly.session), TransactionStateError);
    assert.match(error.message, /read-only/);
  });
});

test('a read-only transaction makes its sessions readonly', async () => {
  await assert.rejects(
    transaction.run(() => insert(3), { ...attempts, readOnly: true }),
    { code: '25006' },
  );
  await transaction.run(
    async () => {
      await session.query('select 1');
      assert.is(session.state, 'readonly');
    },
    { readOnly: true },
  );
});

test('a statement that ends the transaction is refused before it is sent, and the transaction goes on (zope 149)', async () => {
  await transaction.run(async () => {
    await insert(3);
    for (const text of [
      'commit',
      'COMMIT;',
      ' end',
      'rollback',
      'abort',
      'ROLLBACK WORK',
      'commit and chain',
      'begin',
      'start transaction',
      "prepare transaction 'x'",
      "commit prepared 'x'",
      "rollback prepared 'x'",
      '/* a */ commit',
      '-- a\ncommit',
      'select 1; commit',
      "select ';'; commit",
      'select 1;;commit',
      'insert into accounts values (4, 0); rollback and chain',
      'END TRANSACTION',
      'abort work',
    ]) {
      const error = await assert.rejects(session.query(text), TransactionStateError, text);
      assert.match(error.message, /coordinator/);
      await assert.rejects(session.query({ text, name: 'ending' }), TransactionStateError, text);
    }
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('a procedure or function that tries to end the transaction is refused by the server, and nothing is stored', async () => {
  await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      await session.query('do $$ begin commit; end $$');
    }, attempts),
    { code: '2D000' },
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('SAVEPOINT, RELEASE and ROLLBACK TO as text are the application’s own (zope 150)', async () => {
  await transaction.run(async () => {
    await insert(3);
    await session.query('savepoint mine');
    await insert(4);
    await session.query('savepoint inner_one');
    await session.query('insert into accounts values (1, 0)').catch(() => undefined);
    await session.query('rollback to savepoint inner_one');
    await session.query('release savepoint inner_one');
    await session.query('rollback work to mine');
    await insert(5);
    await session.query('release mine');
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('without a transaction: NoTransaction, the first time and the second (departure from zope 156)', async () => {
  const before = pool.totalCount;
  for (let i = 0; i < 3; i++) await assert.rejects(session.query('insert into accounts values (3, 0)'), NoTransaction);
  assert.throws(
    () => markChanged(session),
    (error: unknown) => error instanceof NoTransaction,
  );
  assert.throws(
    () => joinTransaction(session),
    (error: unknown) => error instanceof NoTransaction,
  );
  assert.is(pool.totalCount, before);
  assert.equal(await db.ids(), [1, 2]);
});

test('after the end: TransactionClosed, also in the hooks after it, and nothing is written (pitfall 2)', async () => {
  let late: Promise<unknown> | undefined;
  await transaction.run(async (txn) => {
    await insert(3);
    txn.addAfterCommitHook(() => {
      late = assert.rejects(insert(4), NoTransaction);
    });
  });
  await late;
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('in a before-commit hook the session works, and what it writes is committed', async () => {
  await transaction.run(async (txn) => {
    txn.addBeforeCommitHook(() => insert(3));
  });
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('in a before-abort hook the session works, and nothing of it is stored', async () => {
  await transaction.run(async (txn) => {
    txn.addBeforeAbortHook(() => insert(3));
    await transaction.abort();
  });
  assert.equal(await db.ids(), [1, 2]);
});

test('a join that fails leaves nothing open, and the next one works (zope 155)', async () => {
  const twin = db.another({ name: 'join' });
  await transaction.run(async () => {
    await insert(3);
    const error = await assert.rejects(insert(4, twin.session), ConfigurationError);
    assert.match(error.message, /different names.*'join'/);
    await assert.rejects(insert(4, twin.session), ConfigurationError);
    assert.is(twin.pool.totalCount, 0);
    await insert(5);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3, 5]);
});

test('a connection that can’t be had fails the statement, holds nothing, and the next statement may try again', async () => {
  db.proxy.refuse = true;
  const cold = new (await import('pg')).default.Pool({ connectionString: db.proxy.url(db.url) });
  const late = new PgSession(cold, { name: 'late' });
  await transaction.run(async () => {
    await assert.rejects(insert(3, late));
    db.proxy.refuse = false;
    await insert(3, late);
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 3]);
  assert.is(cold.totalCount, cold.idleCount);
  await cold.end();
});

test('register refuses what is no session, unknown options and impossible values, by name', () => {
  for (const wrong of [undefined, null, {}, pool, 'bank', () => session]) {
    assert.throws(
      () => register(wrong as never),
      (error: unknown) => error instanceof ConfigurationError,
    );
  }
  for (const [options, said] of [
    [{ initialState: 'dirty' }, /initialState.*'active'.*'dirty'/],
    [{ keepSession: 1 }, /keepSession.*true or false.*1/],
    [{ twoPhase: 'yes' }, /twoPhase.*'auto'.*'yes'/],
    [{ detectWrites: null }, /detectWrites.*null/],
    [{ coordinator: {} }, /coordinator/],
    [{ isolation: 'serializable' }, /no option 'isolation'.*initialState/],
    [7, /object of options, not 7/],
  ] as const) {
    assert.throws(
      () => register(session, options as never),
      (error: unknown) => error instanceof ConfigurationError && said.test(error.message),
    );
  }
  assert.throws(() => markChanged(session, { keep: true } as never), says(/no option 'keep'/));
  assert.throws(() => joinTransaction(session, { state: 1 } as never), says(/no option 'state'/));
});

test('a session joins the coordinator or the manager that it was registered with, and no other', async () => {
  const coordinator = new TransactionCoordinator();
  const own = db.another({ name: 'own', register: { coordinator } });
  await assert.rejects(
    transaction.run(() => insert(3, own.session), attempts),
    NoTransaction,
  );
  await coordinator.run(() => insert(3, own.session));
  const manager = new TransactionManager();
  const plain = db.another({ name: 'plain', register: { coordinator: manager } });
  await manager.run(() => insert(4, plain.session));
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('one shared session takes part in begin(), run() and attempts() alike', async () => {
  await transaction.context(async () => {
    await transaction.begin();
    await insert(3);
    await transaction.commit();
  });
  for await (const attempt of transaction.attempts(2)) await attempt(() => insert(4));
  await transaction.context(async () => {
    await transaction.begin();
    await insert(5);
    await transaction.abort();
    await assert.rejects(insert(6), TransactionClosed);
    await transaction.begin();
    await insert(7);
    await transaction.commit();
  });
  assert.equal(await db.ids(), [1, 2, 3, 4, 7]);
});
