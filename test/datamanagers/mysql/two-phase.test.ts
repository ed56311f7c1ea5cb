import {
  ConfigurationError,
  ConnectionLostError,
  InDoubtError,
  TooManyLastResourcesError,
  transaction,
  type Transaction,
} from 'unanimous';
import type { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { onText, plain } from '../sql/helpers.ts';
import { Database, held, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };

for (const { product, server } of await products()) {
  const test = suite(`two phases (zope 138-142), on ${product}`, { timeoutMs: 60_000 });
  const a = await Database.open(server, { name: 'a' });
  const b = await Database.open(server, { name: 'b' });
  const both = [a, b];
  test.after(() => Promise.all([a.close(), b.close()]));
  test.after.each(async () => {
    for (const each of both) {
      each.proxy.onClientData = undefined;
      await each.assertClean();
      await each.reset();
    }
    assert.equal(warnings, []);
  });
  const insert = (id: number, target: MysqlSession): Promise<unknown> =>
    target.execute('insert into accounts values (?, 0)', [id]);
  const ids = (): Promise<number[][]> => Promise.all(both.map((each) => each.ids()));

  /** What is sent to the databases that ends something, in order. */
  const endsOf = async (work: (txn: Transaction) => Promise<unknown>): Promise<string[]> => {
    const ends: string[] = [];
    for (const [name, { proxy }] of Object.entries({ a, b })) {
      proxy.onClientData = (data) => {
        for (const [found] of data
          .toString('latin1')
          .matchAll(/xa (?:prepare|commit|rollback)| one phase|commit|rollback/gi))
          ends.push(`${name}: ${found}`);
      };
    }
    try {
      await transaction.run(work, attempts).catch(() => undefined);
    } finally {
      for (const { proxy } of both) proxy.onClientData = undefined;
    }
    return ends;
  };

  test('two that changed are prepared before any is committed (zope 141)', async () => {
    const ends = await endsOf(async () => {
      await insert(3, b.session);
      await insert(3, a.session);
    });
    assert.equal(ends.slice(0, 2).toSorted(), ['a: xa prepare', 'b: xa prepare']);
    assert.equal(ends.slice(2).toSorted(), ['a: xa commit', 'b: xa commit']);
    assert.equal(await ids(), [
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  test('one that changed commits in one phase, and one that only read is released before (zope 137)', async () => {
    const ends = await endsOf(async () => {
      await insert(3, a.session);
      await b.session.query('select * from accounts');
    });
    assert.equal(ends, ['b: xa rollback', 'a: xa commit', 'a:  one phase']);
  });

  test('one that only read is released in phase one, while the others are prepared', async () => {
    const c = a.another({ name: 'c' });
    let stillHeld: number | undefined;
    await transaction.run(async (txn) => {
      await insert(3, a.session);
      await insert(3, b.session);
      await c.session.query('select * from accounts');
      txn.join(plain('~~', { tpcVote: () => void (stillHeld = held(c.pool)) }));
    }, attempts);
    assert.is(stillHeld, 0);
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
        for (const each of both) {
          assert.equal(await each.ids(), [1, 2], `${sortKey} ${phase}`);
          assert.equal(await each.prepared(), []);
        }
      }
    }
  });

  test('a statement that has failed in one and was swallowed rolls the other back too', async () => {
    for (const [first, second] of [
      [a, b],
      [b, a],
    ] as const) {
      await assert.rejects(
        transaction.run(async () => {
          await insert(3, first.session);
          await insert(3, second.session);
          await insert(1, first.session).catch(() => undefined);
        }, attempts),
        { code: 'ERR_TXN_SILENT_ROLLBACK' },
      );
      assert.equal(await ids(), [
        [1, 2],
        [1, 2],
      ]);
    }
  });

  test('a deadlock that one has met makes its PREPARE impossible, and rolls the other back', async () => {
    await assert.rejects(
      transaction.run(async () => {
        await insert(3, a.session);
        await b.session.query('update accounts set balance = 5 where id = 1');
        const holder = await b.admin.getConnection();
        await holder.query(
          'start transaction; update accounts set balance = 6 where id = 2; insert into accounts values (50, 0), (51, 0), (52, 0)',
        );
        const other = holder.query('update accounts set balance = 6 where id = 1').catch(() => undefined);
        await assert.eventually(() =>
          b
            .rows(
              "select 1 from information_schema.processlist where command = 'Query' and info like 'update accounts set balance = 6 where id = 1%'",
            )
            .then((rows) => rows.length > 0),
        );
        await b.session.query('update accounts set balance = 5 where id = 2').catch(() => undefined);
        await other;
        await holder.query('rollback');
        holder.release();
      }, attempts),
      { code: 'ERR_TXN_SILENT_ROLLBACK' },
    );
    assert.equal(await ids(), [
      [1, 2],
      [1, 2],
    ]);
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
    assert.equal(await ids(), [
      [1, 2, 3],
      [1, 2, 3],
    ]);
    await assert.rejects(
      transaction.run(async () => {
        await insert(4, a.session);
        await insert(3, last.session).catch(() => undefined);
      }, attempts),
      { code: 'ERR_TXN_SILENT_ROLLBACK' },
    );
    assert.equal(await a.ids(), [1, 2, 3]);
  });

  test('two sessions with twoPhase: false that both changed are refused before anyone votes (departure from zope 140)', async () => {
    const one = a.another({ name: 'one', register: { twoPhase: false } });
    const two = b.another({ name: 'two', register: { twoPhase: false } });
    await assert.rejects(
      transaction.run(async () => {
        await insert(3, one.session);
        await insert(3, two.session);
      }, attempts),
      TooManyLastResourcesError,
    );
    assert.equal(await ids(), [
      [1, 2],
      [1, 2],
    ]);
  });

  test('two sessions on one database, as a pool for each role has it, are two branches', async () => {
    const other = a.another({ name: 'other' });
    await transaction.run(async () => {
      await insert(3, a.session);
      await insert(4, other.session);
    }, attempts);
    assert.equal(await a.ids(), [1, 2, 3, 4]);
  });

  test('temporary tables: MySQL has none in a branch, and its error aborts the others; MariaDB has', async () => {
    const work = transaction.run(async () => {
      await insert(3, a.session);
      await b.session.query('create temporary table t (i int) engine=innodb');
      await b.session.query('insert into t values (1)');
    }, attempts);
    if (product === 'MySQL') {
      await assert.rejects(work, { errno: 4091 });
      assert.equal(await a.ids(), [1, 2]);
    } else {
      await work;
      assert.equal(await a.ids(), [1, 2, 3]);
    }
  });

  test('listPrepared lists this session’s and no others; commitPrepared and rollbackPrepared end them, twice', async () => {
    const names = ['app:-:0123:1', 'app:-:0123:2', 'somebody else'];
    for (const [index, gid] of names.entries()) await prepareByHand(a, gid, 'a', 50 + index);
    await prepareByHand(a, 'app:-:0123:3', 'ba', 60);
    const listed = await a.session.listPrepared();
    assert.equal(
      listed
        .map(({ gid }) => gid)
        .filter((gid) => gid.startsWith('app:-:0123'))
        .toSorted(),
      names.slice(0, 2),
    );
    for (let i = 0; i < 2; i++) {
      await a.session.commitPrepared({ gid: names[0]!, branch: 'a' });
      await a.session.rollbackPrepared({ gid: names[1]!, branch: 'a' });
    }
    assert.equal(await a.ids(), [1, 2, 50]);
    await a.admin.query("xa rollback 'somebody else','a'; xa rollback 'app:-:0123:3','ba'");
  });

  /** Prepares a branch as another process would that has died since. */
  async function prepareByHand(db: Database, gid: string, branch: string, id: number): Promise<void> {
    const connection = await db.admin.getConnection();
    const xid = `'${gid}','${branch}'`;
    await connection.query(`xa start ${xid}; insert into accounts values (${id}, 0); xa end ${xid}; xa prepare ${xid}`);
    connection.destroy();
    await assert.eventually(() =>
      db.rows('xa recover').then((rows) => rows.some(({ data }) => String(data) === gid + branch)),
    );
  }

  test('what can’t be an identity is no way into the database', async () => {
    for (const gid of ["x'; drop table accounts; --", '', 'x'.repeat(65), 'a b']) {
      await assert.rejects(a.session.rollbackPrepared({ gid, branch: 'a' }), ConfigurationError);
    }
    assert.equal(await a.ids(), [1, 2]);
  });

  test('the longest names can be prepared', async () => {
    const [one, two] = ['x', 'y'].map((letter) => a.another({ name: letter.repeat(63) }).session);
    await transaction.run(async () => {
      await insert(3, one!);
      await insert(4, two!);
    });
    assert.equal(await a.ids(), [1, 2, 3, 4]);
  });

  test('another data manager that fails to finish leaves both committed, and the error says who did and who didn’t (departure from zope 72)', async () => {
    const error = await assert.rejects(
      transaction.run(async (txn) => {
        txn.join(plain('mail', { tpcFinish: () => Promise.reject(new Error('no mail')) }));
        await insert(3, a.session);
        await insert(3, b.session);
      }, attempts),
      InDoubtError,
    );
    assert.equal([error.finished, error.unfinished], [['a', 'b'], ['mail']]);
    assert.equal(await ids(), [
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  test('100 transactions at once over two databases keep what they move, with noes among them', async () => {
    // Whoever is last waits for the connections and for the row until all others have been through.
    const [from, to] = both.map((each) => each.another({ name: `${each.session.name}100`, acquireTimeoutMs: 50_000 }));
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        transaction
          .run(
            async (txn) => {
              await from!.session.execute('update accounts set balance = balance - 1 where id = 1');
              await to!.session.execute('update accounts set balance = balance + 1 where id = 1');
              if (i % 4 === 0) txn.join(plain('~~', { tpcVote: () => Promise.reject(new Error('no')) }));
              if (i % 10 === 3) throw new Error('thrown');
            },
            { attempts: 10 },
          )
          .catch(() => undefined),
      ),
    );
    assert.equal([await a.balance(1), await b.balance(1)], [35, 165]);
  });

  test('a connection that is lost between the phases is no reason to lose the decision', async () => {
    await transaction.run(async (txn) => {
      txn.join(plain('!', { tpcFinish: async () => void (await b.terminate()) }));
      await insert(3, a.session);
      await insert(3, b.session);
    }, attempts);
    assert.equal(await ids(), [
      [1, 2, 3],
      [1, 2, 3],
    ]);
    await assert.rejects(
      transaction.run(async (txn) => {
        txn.join(plain('!', { tpcVote: async () => void (await b.terminate()) }));
        await insert(4, a.session);
        await insert(4, b.session);
      }, attempts),
      ConnectionLostError,
    );
    // Prepared already when somebody else says no, and its connection gone: rolled back over another one.
    await assert.rejects(
      transaction.run(async (txn) => {
        txn.join(
          plain('~~', {
            tpcVote: async () => {
              await b.terminate();
              throw new Error('no');
            },
          }),
        );
        await insert(4, a.session);
        await insert(4, b.session);
      }, attempts),
      { message: 'no' },
    );
    assert.equal(await ids(), [
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  test('XA END or XA PREPARE that is refused rolls both back, and nothing is left', async () => {
    for (const text of ['xa end', 'xa prepare']) {
      for (const each of both) {
        onText(each.proxy, text, (_link, data) => {
          data.write(text.replace('xa', 'xb'), data.toString('latin1').indexOf(text), 'latin1');
        });
        await assert.rejects(
          transaction.run(async () => {
            await insert(3, a.session);
            await insert(3, b.session);
          }, attempts),
        );
        for (const one of both) {
          assert.equal(await one.prepared(), []);
          assert.equal(await one.ids(), [1, 2]);
        }
      }
    }
  });

  test('two branches may be named alike on two servers, not in one transaction', async () => {
    const twin = b.another({ name: 'a' });
    await transaction.run(async () => {
      await insert(3, a.session);
      await assert.rejects(insert(3, twin.session), ConfigurationError);
    }, attempts);
  });
}
