import {
  CommitOutcomeUnknownError,
  ConnectionLostError,
  HeuristicError,
  InDoubtError,
  transaction,
  type Transaction,
} from 'unanimous';
import type { Link } from '../../support/proxy.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf, onText, plain } from '../sql/helpers.ts';
import { Database, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };
const short = { endTimeoutMs: 300, resolveTimeoutMs: 3_000 };

for (const { product, server } of await products()) {
  const test = suite(`an outcome whose reply was lost (pitfall 9), on ${product}`);
  const db = await Database.open(server, { name: 'unknown', ...short });
  const other = await Database.open(server, { name: 'second', ...short });
  const lone = await Database.open(server, { name: 'lone', ...short, register: { twoPhase: false } });
  const { session, proxy } = db;
  const all = [db, other, lone];
  test.after(() => Promise.all(all.map((each) => each.close())));
  test.after.each(async () => {
    for (const each of all) {
      each.proxy.onClientData = undefined;
      each.proxy.onServerData = undefined;
      each.proxy.refuse = false;
      each.proxy.release();
      await each.cut();
      await each.assertClean();
      await each.reset();
    }
    assert.equal(warnings, []);
  });
  const insert = (id: number, target = session): Promise<unknown> =>
    target.execute('insert into accounts values (?, 0)', [id]);

  /** Ways to lose a reply, or what is sent. */
  const losses: Record<string, (link: Link) => void | false> = {
    'the reply is lost with the link': (link) => {
      link.dropReplies = true;
      link.server.once('data', () => link.cut());
    },
    'the reply is lost, and nothing more comes': (link) => void (link.dropReplies = true),
    'the link is cut before it arrives': (link) => {
      link.cut();
      return false;
    },
    'it is swallowed, and the link stays': () => false,
  };

  for (const [how, lose] of Object.entries(losses)) {
    for (const [what, text, database] of [
      ['XA COMMIT … ONE PHASE', 'one phase', db],
      ['COMMIT', 'commit', lone],
    ] as const) {
      test(`${what}: ${how}: the outcome is said to be unknown, never a wrong one, and no locks are left`, async () => {
        onText(database.proxy, text, lose);
        let calls = 0;
        const hooks: boolean[] = [];
        let status: string | undefined;
        const error = await assert.rejects(
          transaction.run(async (txn) => {
            calls++;
            txn.addAfterCommitHook((committed) => {
              hooks.push(committed);
              status = txn.status;
            });
            await insert(3, database.session);
          }),
          CommitOutcomeUnknownError,
        );
        assert.equal([calls, hooks, status], [1, [false], 'in doubt']);
        assert.match(error.message, /can't be asked.*must not be repeated blindly/);
        // Whatever it was is so for good when run rejects.
        const ids = await database.ids();
        assert.is(ids.includes(3), how.startsWith('the reply'), ids.join());
      });
    }

    test(`XA START: ${how}: nothing was done, and run tries again`, async () => {
      onText(proxy, 'xa start', lose);
      await transaction.run((txn) => insert(10 + txn.attempt));
      assert.equal(await db.ids(), [1, 2, 12]);
    });

    test(`a statement: ${how}: rolled back, whatever the server has done`, async () => {
      onText(proxy, 'insert into accounts values (3', lose);
      const statement = (): Promise<unknown> => session.query('insert into accounts values (3, 0)');
      const isSilent = !/link is cut|with the link/.test(how);
      await assert.rejects(
        transaction.run(statement, { ...attempts, ...(isSilent ? { timeoutMs: 200 } : {}) }),
        isSilent ? { code: 'ERR_TXN_TIMEOUT' } : ConnectionLostError,
      );
      await db.assertClean();
      assert.equal(await db.ids(), [1, 2]);
    });

    test(`XA ROLLBACK: ${how}: rolled back all the same`, async () => {
      onText(proxy, 'xa rollback', lose);
      await assert.rejects(
        transaction.run(() => insert(3).then(() => Promise.reject(new Error('no'))), attempts),
        { message: 'no' },
      );
      await db.assertClean();
      assert.equal(await db.ids(), [1, 2]);
    });

    test(`XA END and XA PREPARE: ${how}: nothing is committed, nothing stays prepared`, async () => {
      for (const each of [db, other]) {
        onText(each.proxy, 'xa prepare', lose);
        await assert.rejects(transaction.run(onBoth, attempts));
        for (const database of [db, other]) {
          assert.equal(await database.prepared(), []);
          assert.equal(await database.ids(), [1, 2]);
          await database.reset();
        }
      }
    });

    test(`XA COMMIT: ${how}: finished exactly once, at both`, async () => {
      for (const each of [db, other]) {
        onText(each.proxy, 'xa commit', lose);
        const txn = await transaction.run(async (txn) => {
          await onBoth();
          return txn;
        }, attempts);
        assert.equal(txn.outcome, { result: 'committed', way: 'two-phase' });
        for (const database of [db, other]) {
          assert.equal(await database.ids(), [1, 2, 3]);
          assert.equal(await database.prepared(), []);
          await database.reset();
        }
      }
    });
  }

  /** Both databases are changed, so that both are prepared. */
  const onBoth = (_txn?: Transaction): Promise<unknown> => insert(3).then(() => insert(3, other.session));

  test('COMMIT arrives late, after the error: it finds nothing to commit any more', async () => {
    for (const [text, database] of [
      ['one phase', db],
      ['commit', lone],
    ] as const) {
      let late: (() => void) | undefined;
      onText(database.proxy, text, (link, data) => {
        link.client.removeAllListeners('close').removeAllListeners('end');
        link.client.resetAndDestroy();
        late = () => void (link.server.writable && link.server.write(data));
        return false;
      });
      await assert.rejects(
        transaction.run(() => insert(3, database.session), attempts),
        CommitOutcomeUnknownError,
      );
      const before = await database.ids();
      late!();
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(await database.ids(), before);
    }
  });

  test('PREPARE arrives late, after the abort: nothing stays prepared', async () => {
    let late: (() => void) | undefined;
    onText(other.proxy, 'xa prepare', (link, data) => {
      link.client.removeAllListeners('close').removeAllListeners('end');
      link.client.resetAndDestroy();
      late = () => void (link.server.writable && link.server.write(data));
      return false;
    });
    await assert.rejects(transaction.run(onBoth, attempts));
    late!();
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const each of [db, other]) {
      assert.equal(await each.prepared(), []);
      assert.equal(await each.ids(), [1, 2]);
    }
  });

  test('the server stays away after a COMMIT: said in bounded time, and never tried again', async () => {
    const gone = await Database.open(server, { name: 'gone', endTimeoutMs: 200, resolveTimeoutMs: 400 });
    onText(gone.proxy, 'one phase', (link) => {
      gone.proxy.refuse = true;
      link.dropReplies = true;
    });
    let calls = 0;
    const error = await assert.rejects(
      transaction.run(async () => {
        calls++;
        await insert(3, gone.session);
      }),
      CommitOutcomeUnknownError,
    );
    assert.is(calls, 1);
    assert.match(error.message, /nor be reached within 400 ms/);
    gone.proxy.refuse = false;
    assert.equal(await gone.ids(), [1, 2, 3]);
    await gone.assertClean();
    await gone.close();
  });

  test('a server stays away in phase two: InDoubtError in bounded time names it, and what is prepared can be committed by hand', async () => {
    const gone = await Database.open(server, { name: 'away', endTimeoutMs: 200, resolveTimeoutMs: 400 });
    onText(gone.proxy, 'xa commit', (link) => {
      gone.proxy.refuse = true;
      link.cut();
      return false;
    });
    let calls = 0;
    const error = await assert.rejects(
      transaction.run(async () => {
        calls++;
        await insert(3);
        await insert(3, gone.session);
      }),
      InDoubtError,
    );
    assert.is(calls, 1);
    assert.equal([error.finished, error.unfinished], [['unknown'], ['away']]);
    assert.match(String(error.cause), /XA COMMIT 'unanimous:/);
    assert.equal(await db.ids(), [1, 2, 3]);
    gone.proxy.refuse = false;
    const listed = await gone.session.listPrepared();
    assert.equal(listed, [{ gid: error.xid, branch: 'away' }]);
    await gone.session.commitPrepared(listed[0]!);
    assert.equal(await gone.ids(), [1, 2, 3]);
    assert.equal(await gone.session.listPrepared(), []);
    await gone.session.commitPrepared(listed[0]!);
    await gone.assertClean();
    await gone.close();
  });

  test('a branch whose connection is lost is ended by others only once that is gone from the server', async () => {
    for (const verb of ['commit', 'rollback'] as const) {
      // MariaDB may say OK to whoever is too early, and do nothing.
      const sent: string[] = [];
      onText(other.proxy, `xa ${verb}`, (lost) => {
        lost.cut();
        other.proxy.onClientData = (data) => {
          const text = /(kill connection|xa (?:commit|rollback|recover))/.exec(data.toString('latin1'))?.[1];
          if (text !== undefined) sent.push(text);
        };
        return false;
      });
      const ended = transaction.run(async (txn) => {
        await onBoth();
        if (verb === 'rollback') txn.join(plain('~~', { tpcVote: () => Promise.reject(new Error('no')) }));
      }, attempts);
      if (verb === 'commit') await ended;
      else await assert.rejects(ended, { message: 'no' });
      other.proxy.onClientData = undefined;
      assert.is(sent[0], 'kill connection');
      assert.is(sent.at(-1), `xa ${verb}`);
      assert.is(sent.filter((text) => text.startsWith('xa')).length, 1, sent.join());
      assert.is((await other.ids()).includes(3), verb === 'commit');
      await db.reset();
      await other.reset();
    }
  });

  test('somebody committed the prepared branch by hand, as was decided: no error', async () => {
    await transaction.run(async (txn) => {
      await onBoth();
      txn.join(
        plain('!', {
          tpcFinish: async () => {
            // MariaDB lets nobody else as long as the connection is open that prepared it.
            if (product === 'MariaDB') await other.terminate();
            const [gid] = await other.prepared();
            await assert.eventually(() => other.activity().then((all) => all.length === 0 || product === 'MySQL'));
            await new Promise((resolve) => setTimeout(resolve, 500));
            await other.admin.query(`xa commit '${gid}','second'`);
          },
        }),
      );
    }, attempts);
    for (const each of [db, other]) assert.equal(await each.ids(), [1, 2, 3]);
  });

  test('what has changed nothing, was prepared and lost its connection, is no heuristic outcome', async () => {
    await db.admin.query(
      'create function counts() returns int deterministic reads sql data return (select count(*) from accounts)',
    );
    for (const sql of [
      'select counts()',
      'update accounts set balance = 1 where id = 99',
      'delete from accounts where id = 99',
      'insert into accounts select 9, 9 from accounts where id = 99',
    ]) {
      const txn = await transaction.run(async (txn) => {
        await insert(3, other.session);
        await session.query(sql);
        txn.join(plain('!', { tpcFinish: async () => void (await db.terminate()) }));
        return txn;
      }, attempts);
      assert.is(txn.outcome?.way, 'two-phase');
      assert.equal(await other.ids(), [1, 2, 3]);
      await other.reset();
    }
    await db.admin.query('drop function counts');
  });

  test('the last resource’s outcome is unknown: what is prepared is held, not undone, and said', async () => {
    const last = await Database.open(server, {
      name: 'last',
      endTimeoutMs: 200,
      resolveTimeoutMs: 400,
      register: { twoPhase: false },
    });
    onText(last.proxy, 'commit', (link) => void (link.dropReplies = true));
    const error = await assert.rejects(
      transaction.run(async () => {
        await insert(3);
        await insert(3, last.session);
      }),
      InDoubtError,
    );
    assert.instance(error.cause, CommitOutcomeUnknownError);
    assert.equal(error.unfinished, ['unknown']);
    assert.equal(await last.ids(), [1, 2, 3]);
    const held = await session.listPrepared();
    assert.equal(held, [{ gid: error.xid, branch: 'unknown' }]);
    await session.commitPrepared(held[0]!);
    assert.equal(await db.ids(), [1, 2, 3]);
    await last.assertClean();
    await last.close();
  });

  test('a branch that the server has rolled back after its vote is a heuristic outcome, and said', async () => {
    if (product === 'MySQL') return;
    // MariaDB forgets a branch that has changed nothing, and what a procedure does isn't known.
    await db.admin.query('create procedure nothing() begin end');
    const error = await failureOf(
      transaction.run(async (txn) => {
        await insert(3, other.session);
        await session.query('call nothing()');
        txn.join(plain('!', { tpcFinish: async () => void (await db.terminate()) }));
      }, attempts),
    );
    assert.instance(error, InDoubtError);
    assert.instance(error.cause, HeuristicError);
    assert.match(error.message, /rolled it back/);
    assert.equal(error.unfinished, ['unknown']);
    await db.admin.query('drop procedure nothing');
  });
}
