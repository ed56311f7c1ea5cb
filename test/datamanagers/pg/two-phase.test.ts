import {
  ConfigurationError,
  ConnectionLostError,
  InDoubtError,
  TooManyLastResourcesError,
  TransactionCoordinator,
  transaction,
  type DataManager,
  type Transaction,
} from 'unanimous';
import type { PgSession } from 'unanimous/pg';
import { postgres, startPostgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText } from './setup.ts';

const test = suite('two phases on PostgreSQL (zope 138-142)', { timeoutMs: 60_000 });
const server = await postgres();
const a = await Database.open(server, { name: 'a' });
const b = await Database.open(server, { name: 'b' });
test.after(() => Promise.all([a.close(), b.close()]));
test.after.each(async () => {
  for (const each of [a, b]) {
    each.proxy.onClientData = undefined;
    await each.assertClean();
    await each.reset();
  }
});

const attempts = { attempts: 1 };
const insert = (id: number, target: PgSession): Promise<unknown> =>
  target.query('insert into accounts values ($1, 0)', [id]);

/** A data manager without a database, that may act in a call of it. */
function plain(sortKey: string, acts: Partial<DataManager> = {}): DataManager {
  const nothing = (): void => undefined;
  const methods = {
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: nothing,
    tpcAbort: nothing,
    abort: nothing,
  };
  return { sortKey, ...methods, ...acts };
}

/** What is sent to the databases that ends something, in order. */
async function endsOf(work: (txn: Transaction) => Promise<unknown>): Promise<string[]> {
  const ends: string[] = [];
  for (const [name, { proxy }] of Object.entries({ a, b })) {
    proxy.onClientData = (data) => {
      const found = /(prepare transaction|commit prepared|rollback prepared|commit|rollback)/i.exec(
        data.toString('latin1'),
      );
      if (found !== null) ends.push(`${name}: ${found[0].toLowerCase()}`);
    };
  }
  try {
    await transaction.run(work, attempts).catch(() => undefined);
  } finally {
    for (const { proxy } of [a, b]) proxy.onClientData = undefined;
  }
  return ends;
}

test('two that changed are prepared before any is committed (zope 141)', async () => {
  const ends = await endsOf(async () => {
    await insert(3, b.session);
    await insert(3, a.session);
  });
  assert.equal(ends.slice(0, 2).toSorted(), ['a: prepare transaction', 'b: prepare transaction']);
  assert.equal(ends.slice(2).toSorted(), ['a: commit prepared', 'b: commit prepared']);
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  );
});

test('one that changed commits in one phase, and one that only read is released before (zope 137)', async () => {
  const ends = await endsOf(async () => {
    await insert(3, a.session);
    await b.session.query('select * from accounts');
  });
  assert.equal(ends, ['b: rollback', 'a: commit']);
});

test('one that only read is released in phase one, while the others are prepared', async () => {
  const c = a.another({ name: 'c' });
  let held: number | undefined;
  await transaction.run(async (txn) => {
    await insert(3, a.session);
    await insert(3, b.session);
    await c.session.query('select * from accounts');
    txn.join(plain('~~', { tpcVote: () => void (held = c.pool.totalCount - c.pool.idleCount) }));
  }, attempts);
  assert.is(held, 0);
});

test('another data manager’s no rolls both back, before and after they have voted', async () => {
  for (const sortKey of ['!', '~sql:aa', '~~']) {
    for (const phase of ['tpcBegin', 'commit', 'tpcVote'] as const) {
      const no = new Error(`no in ${phase}`);
      const refuse = (): never => {
        throw no;
      };
      await assert.rejects(
        transaction.run(async (txn) => {
          txn.join(plain(sortKey, { [phase]: refuse }));
          await insert(3, a.session);
          await insert(3, b.session);
        }, attempts),
        (error: unknown) => error === no,
      );
      for (const each of [a, b]) {
        assert.equal(await each.ids(), [1, 2], `${sortKey} ${phase}`);
        assert.equal(await each.prepared(), []);
      }
    }
  }
});

test('a session alone beside a data manager without a database commits last, and rolls back when that says no', async () => {
  const order: string[] = [];
  onText(a.proxy, 'commit', () => void order.push('a commits'));
  await transaction.run(async (txn) => {
    txn.join(
      plain('~~~', {
        tpcVote: () => void order.push('plain votes'),
        tpcFinish: () => void order.push('plain finishes'),
      }),
    );
    await insert(3, a.session);
  }, attempts);
  assert.equal(order, ['plain votes', 'a commits', 'plain finishes']);
  await assert.rejects(
    transaction.run(async (txn) => {
      txn.join(plain('~~~', { tpcVote: () => Promise.reject(new Error('no')) }));
      await insert(4, a.session);
    }, attempts),
    { message: 'no' },
  );
  assert.equal(await a.ids(), [1, 2, 3]);
});

test('one database that says no (a deferred constraint at PREPARE) rolls the other back', async () => {
  await b.admin.query('create table late (i int unique deferrable initially deferred)');
  await assert.rejects(
    transaction.run(async () => {
      await insert(3, a.session);
      await b.session.query('insert into late values (1), (1)');
    }, attempts),
    { code: '23505' },
  );
  await b.admin.query('drop table late');
  assert.equal(await a.ids(), [1, 2]);
});

test('what PostgreSQL can’t prepare (a temp table) is an error, not half a commit', async () => {
  await assert.rejects(
    transaction.run(async () => {
      await insert(3, a.session);
      await b.session.query('create temp table t (i int)');
      await insert(3, b.session);
    }, attempts),
    { code: '0A000' },
  );
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2],
      [1, 2],
    ],
  );
});

test('twoPhase: true prepares alone too; a name says which branch is whose', async () => {
  const always = a.another({ name: 'always', register: { twoPhase: true } });
  let listed: unknown;
  const id = await transaction.run(async (txn) => {
    await insert(3, always.session);
    txn.join(
      plain('!', {
        tpcFinish: async () => void (listed = [await always.session.listPrepared(), await a.session.listPrepared()]),
      }),
    );
    return txn.id;
  }, attempts);
  assert.equal(listed, [[{ gid: id, branch: 'always' }], []]);
  assert.equal(await a.ids(), [1, 2, 3]);
});

test('twoPhase: false is a last resource: the other is prepared, this one decides, then the other commits', async () => {
  const last = b.another({ name: 'last', register: { twoPhase: false } });
  const txn = await transaction.run(async (txn) => {
    await insert(3, last.session);
    await insert(3, a.session);
    return txn;
  }, attempts);
  assert.is(txn.outcome?.way, 'last-resource');
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  );
  await assert.rejects(
    transaction.run(async () => {
      await insert(4, a.session);
      await insert(3, last.session).catch(() => undefined);
    }, attempts),
    { code: 'ERR_TXN_SILENT_ROLLBACK' },
  );
  assert.equal(await a.prepared(), []);
  assert.equal(await a.ids(), [1, 2, 3]);
});

test('two sessions with twoPhase: false that both changed are refused before anyone votes (departure from zope 140)', async () => {
  const one = a.another({ name: 'one', register: { twoPhase: false } });
  const two = b.another({ name: 'two', register: { twoPhase: false } });
  const error = await assert.rejects(
    transaction.run(async () => {
      await insert(3, one.session);
      await insert(3, two.session);
    }, attempts),
    TooManyLastResourcesError,
  );
  assert.match(error.message, /one and two/);
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2],
      [1, 2],
    ],
  );
  await transaction.run(async () => {
    await insert(3, one.session);
    await two.session.query('select 1');
  }, attempts);
  const unsafe = new TransactionCoordinator({ allowUnsafeLastResources: true });
  const three = a.another({ name: 'three', register: { twoPhase: false, coordinator: unsafe } });
  const four = b.another({ name: 'four', register: { twoPhase: false, coordinator: unsafe } });
  await unsafe.run(async () => {
    await insert(4, three.session);
    await insert(4, four.session);
  }, attempts);
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2, 3, 4],
      [1, 2, 4],
    ],
  );
});

test('two sessions of one name are refused when the second joins, so that their branches are told apart', async () => {
  const twin = b.another({ name: 'a' });
  await transaction.run(async () => {
    await insert(3, a.session);
    const error = await assert.rejects(insert(3, twin.session), ConfigurationError);
    assert.match(error.message, /'a' has joined/);
  }, attempts);
});

test('two sessions on one database, as a pool for each role has it, are two branches', async () => {
  const other = a.another({ name: 'other' });
  await transaction.run(async () => {
    await insert(3, a.session);
    await insert(4, other.session);
  }, attempts);
  assert.equal(await a.ids(), [1, 2, 3, 4]);
});

test('listPrepared lists this session’s and no others; commitPrepared and rollbackPrepared end them, over any connection, twice', async () => {
  await a.admin.query("begin; insert into accounts values (50, 0); prepare transaction 'somebody else:a'");
  await a.admin.query("begin; insert into accounts values (51, 0); prepare transaction 'app:-:0123:1:a'");
  await a.admin.query("begin; insert into accounts values (52, 0); prepare transaction 'app:-:0123:2:a'");
  await a.admin.query("begin; insert into accounts values (53, 0); prepare transaction 'app:-:0123:2:ba'");
  const listed = await a.session.listPrepared();
  assert.equal(listed.map(({ gid }) => gid).toSorted(), ['app:-:0123:1', 'app:-:0123:2']);
  assert.equal(await b.session.listPrepared(), [], 'a cluster lists all databases’; a session its own');
  for (let i = 0; i < 2; i++) {
    await a.session.commitPrepared({ gid: 'app:-:0123:1', branch: 'a' });
    await a.session.rollbackPrepared({ gid: 'app:-:0123:2', branch: 'a' });
  }
  assert.equal(await a.session.listPrepared(), []);
  assert.equal(await a.ids(), [1, 2, 51]);
  await a.admin.query("rollback prepared 'somebody else:a'");
  await a.admin.query("rollback prepared 'app:-:0123:2:ba'");
});

test('a gid with a quote in it is no way into the database', async () => {
  await a.session.rollbackPrepared({ gid: "x'; drop table accounts; --", branch: 'a' });
  assert.equal(await a.ids(), [1, 2]);
});

test('what a deadline interrupts before the decision is rolled back everywhere; after it, it is ignored', async () => {
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  await assert.rejects(
    transaction.run(
      async (txn) => {
        txn.join(plain('~~', { tpcVote: () => wait(150) }));
        await insert(3, a.session);
        await insert(3, b.session);
      },
      { ...attempts, timeoutMs: 100 },
    ),
    { code: 'ERR_TXN_TIMEOUT' },
  );
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2],
      [1, 2],
    ],
  );
  await transaction.run(
    async (txn) => {
      txn.join(plain('!', { tpcFinish: () => wait(400) }));
      await insert(3, a.session);
      await insert(3, b.session);
    },
    { ...attempts, timeoutMs: 300 },
  );
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  );
});

test('another data manager that fails to finish leaves both databases committed, and the error says who did and who didn’t (departure from zope 72)', async () => {
  const error = await assert.rejects(
    transaction.run(async (txn) => {
      txn.join(plain('mail', { tpcFinish: () => Promise.reject(new Error('no mail')) }));
      await insert(3, a.session);
      await insert(3, b.session);
    }, attempts),
    InDoubtError,
  );
  assert.equal([error.finished, error.unfinished], [['a', 'b'], ['mail']]);
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  );
});

test('100 transactions at once over two databases keep what they move, with noes among them', async () => {
  await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      transaction
        .run(async (txn) => {
          await a.session.query('update accounts set balance = balance - 1 where id = 1');
          await b.session.query('update accounts set balance = balance + 1 where id = 1');
          if (i % 4 === 0) txn.join(plain('~~', { tpcVote: () => Promise.reject(new Error('no')) }));
          if (i % 10 === 3) throw new Error('thrown');
        })
        .catch(() => undefined),
    ),
  );
  const [left, right] = [await a.balance(1), await b.balance(1)];
  assert.is(left! + right!, 200);
  assert.is(right, 100 + 65);
});

test('a server that can’t prepare: check() and the commit say which setting to set, and nothing is stored', async () => {
  const unset = await startPostgres({ settings: { max_prepared_transactions: 0 } });
  const none = await Database.open(unset, { name: 'none' });
  const says = /max_prepared_transactions.*postgresql\.conf.*twoPhase: false/;
  assert.match((await assert.rejects(none.session.check(), ConfigurationError)).message, says);
  await a.session.check();
  const error = await assert.rejects(
    transaction.run(async () => {
      await insert(3, none.session);
      await insert(3, a.session);
    }, attempts),
    ConfigurationError,
  );
  assert.match(error.message, says);
  assert.is((error.cause as { code: string }).code, '55000');
  assert.equal(
    [await none.ids(), await a.ids()],
    [
      [1, 2],
      [1, 2],
    ],
  );
  // Alone it needs no such setting.
  await transaction.run(() => insert(3, none.session), attempts);
  const always = none.another({ name: 'always', register: { twoPhase: true } });
  assert.match(
    (
      await assert.rejects(
        transaction.run(() => insert(4, always.session), attempts),
        ConfigurationError,
      )
    ).message,
    says,
  );
  const last = none.another({ name: 'last', register: { twoPhase: false } });
  await last.session.check();
  await transaction.run(async () => {
    await insert(4, last.session);
    await insert(4, a.session);
  }, attempts);
  assert.equal(
    [await none.ids(), await a.ids()],
    [
      [1, 2, 3, 4],
      [1, 2, 4],
    ],
  );
  await none.assertClean();
  await none.close();
  await unset.stop();
});

test('a server whose prepared transactions are all in use refuses, and the other is rolled back', async () => {
  const full = await startPostgres({ settings: { max_prepared_transactions: 1 } });
  const one = await Database.open(full, { name: 'one' });
  await one.admin.query("begin; insert into accounts values (9, 0); prepare transaction 'taken'");
  await assert.rejects(
    transaction.run(async () => {
      await insert(3, one.session);
      await insert(3, a.session);
    }, attempts),
    { code: '53200' },
  );
  assert.equal(await a.ids(), [1, 2]);
  await one.admin.query("rollback prepared 'taken'");
  await one.assertClean();
  await one.close();
  await full.stop();
});

test('a connection that is lost between the phases is no reason to lose the decision', async () => {
  await transaction.run(async (txn) => {
    txn.join(plain('!', { tpcFinish: async () => void (await b.terminate("query ilike 'prepare transaction%'")) }));
    await insert(3, a.session);
    await insert(3, b.session);
  }, attempts);
  assert.equal(
    [await a.ids(), await b.ids()],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  );
  await assert.rejects(
    transaction.run(async (txn) => {
      txn.join(plain('!', { tpcVote: async () => void (await b.terminate()) }));
      await insert(4, a.session);
      await insert(4, b.session);
    }, attempts),
    // The server's last word, where that has come before the statement was sent.
    (error: unknown) => error instanceof ConnectionLostError || (error as { code?: string }).code === '57P01',
  );
});
