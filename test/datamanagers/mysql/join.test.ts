import {
  ConfigurationError,
  NoTransaction,
  TransactionClosed,
  TransactionCoordinator,
  TransactionStateError,
  joinTransaction,
  markChanged,
  sessionState,
  transaction,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Database, poolState, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`a session in transactions (zope 132-156), on ${product}`);
  const db = await Database.open(server, { name: 'join', pool: { multipleStatements: true } });
  const { session } = db;
  const second = db.another({ name: 'second' });
  const third = db.another({ name: 'third' });
  const plain = db.another({ name: 'plain', register: { twoPhase: false }, pool: { multipleStatements: true } });
  await db.admin.query(
    'create function writes(id int) returns int deterministic modifies sql data begin insert into accounts values (id, 0); return id; end',
  );
  await db.admin.query(
    'create function counts() returns int deterministic reads sql data return (select count(*) from accounts)',
  );
  await db.admin.query('create procedure adds(id int) begin insert into accounts values (id, 0); end');
  await db.admin.query('create view writing as select writes(3) as id');
  test.after(() => db.close());
  test.after.each(async () => {
    await db.assertClean();
    await db.reset();
    assert.equal(warnings, []);
  });
  const insert = (id: number, target = session): Promise<unknown> =>
    target.execute('insert into accounts values (?, 0)', [id]);

  test('isn’t joined until its first statement, which joins it once, before its first await (zope 132, 155)', async () => {
    await transaction.run(async (txn) => {
      assert.is(sessionState(session), undefined);
      const pending = session.query('select 1');
      assert.is(sessionState(session), 'active');
      const joined = txn.joined(session);
      await pending;
      await session.query('select 1');
      assert.is(txn.joined(session), joined);
    });
    assert.is(session.state, undefined);
  });

  test('markChanged joins a session that wasn’t used, and costs no connection (zope 133)', async () => {
    const before = poolState(db.pool).all;
    await transaction.run(async () => {
      markChanged(session);
      assert.is(session.state, 'changed');
    });
    assert.is(poolState(db.pool).all, before);
  });

  const writes: Record<string, () => Promise<unknown>> = {
    insert: () => session.query('insert into accounts values (3, 0)'),
    'insert with values': () => insert(3),
    'insert behind comments and brackets': () =>
      session.query('# a\n-- b\n/* c */ /*!40000 insert */ into accounts (select 3, 0)'),
    replace: () => session.query('replace into accounts values (3, 0)'),
    'CALL of a procedure': () => session.query('call adds(3)'),
    'several statements, the last a SELECT': () => session.query('insert into accounts values (3, 0); select 1'),
    'a function called in a SELECT (departure from zope 135)': () => session.query('select writes(3)'),
    'a function in backticks, and qualified': () =>
      session.query(`select \`${new URL(db.url).pathname.slice(1)}\` . /* x */ \`writes\` (3)`),
    'a function called in DO': () => session.query('do writes(3)'),
    'a function called in SET': () => session.query('set @x = writes(3)'),
    'EXECUTE of a prepared text': async () => {
      await session.query("prepare adding from 'insert into accounts values (3, 0)'");
      await session.query('execute adding; deallocate prepare adding');
    },
    'a prepared statement': async () => {
      const statement = await session.prepare('insert into accounts values (?, 0)');
      await statement.execute([3]);
      await statement.close();
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
    'what only markChanged can know: a view that calls a function': async () => {
      await session.query('select * from writing');
      session.markChanged();
    },
  };
  if (product === 'MariaDB') {
    writes['BEGIN NOT ATOMIC'] = () => session.query('begin not atomic insert into accounts values (3, 0); end');
    writes['SET STATEMENT … FOR'] = () =>
      session.query('set statement max_statement_time = 10 for insert into accounts values (3, 0)');
    writes['SET STATEMENT … FOR SELECT of a function'] = () =>
      session.query('set statement max_statement_time = 10 for select writes(3)');
    writes['ANALYZE of an INSERT'] = () => session.query('analyze insert into accounts values (3, 0)');
  } else {
    writes['EXPLAIN ANALYZE of a function'] = () => session.query('explain analyze select writes(3)');
    writes['a common table expression'] = () =>
      session
        .query('with x as (select 3 as id) update accounts join x on accounts.id = 4 - x.id set accounts.id = 3')
        .then(() => insert(1));
    writes['INSERT … TABLE'] = () => session.query('insert into accounts values row(3, 0)');
  }
  for (const [what, write] of Object.entries(writes)) {
    test(`a write is found by itself and committed, alone: ${what}`, async () => {
      await transaction.run(write, attempts);
      assert.ok((await db.ids()).includes(3));
    });
    test(`a write is found by itself and committed, among several databases: ${what}`, async () => {
      const txn = await transaction.run(async (txn) => {
        await third.session.query('select * from accounts');
        await insert(100, second.session);
        await write();
        return txn;
      }, attempts);
      assert.is(txn.outcome?.way, 'two-phase');
      const ids = await db.ids();
      assert.ok(ids.includes(3) && ids.includes(100), ids.join());
    });
  }

  test('what only read is released without a commit (zope 137)', async () => {
    for (const text of [
      'select * from accounts for update',
      'show tables',
      'select sum(balance) from accounts',
      'explain select 1',
      'describe accounts',
    ]) {
      const txn = await transaction.run(async (txn) => {
        await session.query(text);
        await second.session.query('select 1');
        return txn;
      });
      assert.equal(txn.outcome, { result: 'committed', way: 'read-only' }, text);
    }
  });

  test('state follows what is known: active, changed, active again by a savepoint (zope 134)', async () => {
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
      markChanged(strict.session);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
    await assert.rejects(
      transaction.run(async () => {
        await insert(4, strict.session);
        markChanged(strict.session);
        await strict.session.query('selectt').catch(() => undefined);
      }, attempts),
      { code: 'ERR_TXN_SILENT_ROLLBACK' },
    );
  });

  test('initialState changed always commits (zope 147), readonly opens READ ONLY and refuses markChanged (148)', async () => {
    const changed = db.another({ name: 'changed', register: { initialState: 'changed', detectWrites: false } });
    await transaction.run(() => insert(3, changed.session), attempts);
    assert.equal(await db.ids(), [1, 2, 3]);
    const readonly = db.another({ name: 'readonly', register: { initialState: 'readonly' } });
    await assert.rejects(
      transaction.run(() => insert(4, readonly.session), attempts),
      { errno: 1792 },
    );
    await transaction.run(async () => {
      joinTransaction(readonly.session);
      assert.is(readonly.session.state, 'readonly');
      await assert.rejects(async () => markChanged(readonly.session), TransactionStateError);
    });
  });

  const refused: Record<string, readonly string[]> = {
    coordinator: [
      'commit',
      'COMMIT;',
      'rollback',
      'ROLLBACK WORK',
      'commit and chain',
      'commit release',
      'begin',
      'begin work',
      'start transaction',
      'start transaction with consistent snapshot',
      "xa start 'x'",
      "xa commit 'x'",
      'xa recover',
      'set autocommit = 1',
      'set @@session.autocommit = 0',
      '/* a */ commit',
      '/*! commit */',
      '-- a\ncommit',
      '#a\ncommit',
      'select 1; commit',
      "select ';'; commit",
      "select '\\';'; commit",
      'select 1;;commit',
      'insert into accounts values (4, 0); rollback and chain',
    ],
    implicitly: [
      'create table t (i int)',
      'create or replace table t (i int)',
      'CREATE INDEX i ON accounts (balance)',
      'alter table accounts add x int',
      'drop table accounts',
      'truncate accounts',
      'rename table accounts to others',
      'lock tables accounts write',
      'unlock tables',
      'flush tables',
      'analyze table accounts',
      'optimize table accounts',
      'grant select on accounts to somebody',
      "set password = 'x'",
      'create procedure x() begin end',
      'select 1; drop table accounts',
    ],
  };
  for (const [why, texts] of Object.entries(refused)) {
    test(`a statement that would end the transaction is refused before it is sent, and named (zope 149): ${why}`, async () => {
      await transaction.run(async () => {
        await insert(3);
        for (const text of texts) {
          for (const call of [
            () => session.query(text),
            () => session.execute(text),
            () => session.query({ sql: text }),
          ]) {
            const error = await assert.rejects(call, TransactionStateError, text);
            assert.match(error.message, new RegExp(why));
            assert.match(error.message, /[A-Z]{2,}.* not sent/);
          }
        }
      }, attempts);
      assert.equal(await db.ids(), [1, 2, 3]);
    });
  }

  test('what seems to end it and doesn’t is sent', async () => {
    for (const target of [plain.session]) {
      await transaction.run(async () => {
        await target.query('create temporary table temp (i int)');
        await target.query('create temporary table if not exists temp (i int)');
        await target.query('insert into temp values (1)');
        await target.query("select 'commit; drop table accounts', `id` as `drop table` from accounts -- ; commit");
        await target.query('select 1 /* ; commit */');
        await target.query('set @autocommit_ = 1');
        await target.query('drop temporary table temp');
        await insert(3, target);
      }, attempts);
    }
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('SAVEPOINT, RELEASE and ROLLBACK TO as text are the application’s own (zope 150), and heal as the coordinator’s do', async () => {
    for (const [base, target] of [
      [10, session],
      [20, plain.session],
    ] as const) {
      await transaction.run(async () => {
        await insert(base, target);
        await target.query('savepoint mine');
        await insert(base + 1, target);
        await target.query('savepoint inner_one');
        await assert.rejects(target.query('insert into accounts values (1, 0)'), { errno: 1062 });
        // A savepoint behind the error would keep what the error has left half done.
        await assert.rejects(target.query('savepoint late'), TransactionStateError);
        await target.query('rollback to savepoint inner_one');
        await target.query('release savepoint inner_one');
        await target.query('rollback work to mine');
        await insert(base + 2, target);
      }, attempts);
    }
    assert.equal(await db.ids(), [1, 2, 10, 12, 20, 22]);
  });

  test('without a transaction: NoTransaction, and after the end TransactionClosed, in hooks too (departure from zope 156)', async () => {
    for (let i = 0; i < 2; i++) await assert.rejects(insert(3), NoTransaction);
    let late: Promise<unknown> | undefined;
    await transaction.run(async (txn) => {
      await insert(3);
      txn.addAfterCommitHook(() => {
        late = assert.rejects(insert(4), NoTransaction);
      });
    });
    await late;
    await transaction.context(async () => {
      await transaction.begin();
      await insert(5);
      await transaction.abort();
      await assert.rejects(insert(6), TransactionClosed);
    });
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('in a before-commit hook the session works, and what it writes is committed', async () => {
    await transaction.run(async (txn) => {
      txn.addBeforeCommitHook(() => insert(3));
    });
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('two sessions of one name are refused when the second joins, and the first goes on', async () => {
    const twin = db.another({ name: 'join' });
    await transaction.run(async () => {
      await insert(3);
      const error = await assert.rejects(insert(4, twin.session), ConfigurationError);
      assert.match(error.message, /different names.*'join'/);
      await insert(5);
    }, attempts);
    assert.equal(await db.ids(), [1, 2, 3, 5]);
  });

  test('a session joins the coordinator that it was registered with, and no other', async () => {
    const coordinator = new TransactionCoordinator();
    const own = db.another({ name: 'own', register: { coordinator } });
    await assert.rejects(
      transaction.run(() => insert(3, own.session), attempts),
      NoTransaction,
    );
    await coordinator.run(() => insert(3, own.session));
    assert.equal(await db.ids(), [1, 2, 3]);
  });

  test('tables that no transaction protects are the application’s affair, and no obstacle', async () => {
    await db.admin.query('create table journal (i int) engine=myisam');
    await transaction.run(async () => {
      await session.query('insert into journal values (1)');
      await insert(3);
    }, attempts);
    await transaction.run(async () => {
      await session.query('insert into journal values (2)');
      await transaction.abort();
    }, attempts);
    await transaction.run(async () => {
      await session.query('insert into journal values (3)');
      await insert(4, second.session);
    }, attempts);
    assert.equal((await db.rows('select i from journal')).length, 3);
    assert.equal(await db.ids(), [1, 2, 3, 4]);
    await db.admin.query('drop table journal');
  });
}
