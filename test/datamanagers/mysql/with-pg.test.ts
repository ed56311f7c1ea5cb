// MySQL or MariaDB and PostgreSQL in one transaction, in all ways in which that can commit.
import { CommitOutcomeUnknownError, InDoubtError, register, transaction, type RegisterOptions } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgSession } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf, onText, plain } from '../sql/helpers.ts';
import { Database as PgDatabase } from '../pg/setup.ts';
import { Database, products, warnings } from './setup.ts';

const attempts = { attempts: 1 };
const pgServer = await postgres();

for (const { product, server } of await products()) {
  const test = suite(`${product} and PostgreSQL in one transaction`);
  const short = { endTimeoutMs: 300, resolveTimeoutMs: 1_500 };
  const my = await Database.open(server, { name: 'my', ...short });
  const pg = await PgDatabase.open(pgServer, { name: 'pg', ...short });
  test.after(() => Promise.all([my.close(), pg.close()]));
  const ignore = (): void => undefined;
  pg.pool.on('error', ignore);
  test.after.each(async () => {
    for (const each of [my, pg]) {
      each.proxy.onClientData = undefined;
      each.proxy.refuse = false;
      await each.assertClean();
      await each.reset();
    }
    assert.equal(warnings, []);
  });

  const ways: Record<string, { way: string; my?: RegisterOptions; pg?: RegisterOptions }> = {
    'both prepared': { way: 'two-phase' },
    'PostgreSQL as the last resource': { way: 'last-resource', pg: { twoPhase: false } },
    'MySQL as the last resource': { way: 'last-resource', my: { twoPhase: false } },
  };
  for (const [how, { way, my: myOptions = {}, pg: pgOptions = {} }] of Object.entries(ways)) {
    const mine = register(new MysqlSession(my.pool, { name: 'my', ...short }), myOptions);
    const theirs = register(new PgSession(pg.pool, { name: 'pg', ...short }), pgOptions);
    const write = async (id = 3): Promise<void> => {
      await mine.execute('insert into accounts values (?, 0)', [id]);
      await theirs.query('insert into accounts values ($1, 0)', [id]);
    };
    const ids = async (): Promise<number[][]> => [await my.ids(), await pg.ids()];
    const all = [
      [1, 2, 3],
      [1, 2, 3],
    ];
    const none = [
      [1, 2],
      [1, 2],
    ];

    test(`${how}: both have it`, async () => {
      const txn = await transaction.run(async (txn) => {
        await write();
        return txn;
      }, attempts);
      assert.is(txn.outcome?.way, way);
      assert.equal(await ids(), all);
    });

    test(`${how}: one that only read lets the other commit in one phase`, async () => {
      for (const [write, read] of [
        [() => mine.query('insert into accounts values (4, 0)'), () => theirs.query('select * from accounts')],
        [() => theirs.query('insert into accounts values (4, 0)'), () => mine.query('select * from accounts')],
      ] as const) {
        const txn = await transaction.run(async (txn) => {
          await read();
          await write();
          return txn;
        }, attempts);
        assert.is(txn.outcome?.way, 'one-phase');
      }
      assert.equal(await ids(), [
        [1, 2, 4],
        [1, 2, 4],
      ]);
    });

    test(`${how}: a no of anybody leaves neither`, async () => {
      const failing: Record<string, () => Promise<unknown>> = {
        thrown: () => write().then(() => Promise.reject(new Error('no'))),
        'a vote': async () => {
          await write();
          transaction.get().join(plain('~~', { tpcVote: () => Promise.reject(new Error('no')) }));
        },
        'an error in MySQL': () => write().then(() => mine.query('insert into accounts values (1, 0)')),
        'an error in PostgreSQL': () => write().then(() => theirs.query('insert into accounts values (1, 0)')),
        'a swallowed error in MySQL': () =>
          write().then(() => mine.query('insert into accounts values (1, 0)').catch(() => undefined)),
        'a swallowed error in PostgreSQL': () =>
          write().then(() => theirs.query('insert into accounts values (1, 0)').catch(() => undefined)),
        'a lost connection of MySQL': () => write().then(() => my.terminate()),
        'a lost connection of PostgreSQL': () => write().then(() => pg.terminate()),
      };
      for (const [what, work] of Object.entries(failing)) {
        await assert.rejects(transaction.run(work, attempts), undefined, what);
        assert.equal(await ids(), none, what);
        assert.equal([await my.prepared(), await pg.prepared()], [[], []], what);
      }
    });

    test(`${how}: savepoints run over both`, async () => {
      await transaction.run(async () => {
        await write(3);
        const savepoint = await transaction.savepoint();
        await write(4);
        await mine.query('selectt').catch(() => undefined);
        await theirs.query('selectt').catch(() => undefined);
        await savepoint.rollback();
      }, attempts);
      assert.equal(await ids(), all);
    });

    test(`${how}: replies that are lost while it ends leave both, or neither, or an error that says what is prepared`, async () => {
      const texts = [
        [my, ['xa prepare', 'xa commit', 'commit']],
        [pg, ['prepare transaction', 'commit prepared', 'commit']],
      ] as const;
      for (const [database, names] of texts) {
        for (const text of names) {
          onText(database.proxy, text, (link) => void (link.dropReplies = true));
          const error = await failureOf(transaction.run(() => write(), attempts));
          if (error instanceof InDoubtError) {
            // The last resource's outcome can't be asked of MySQL: what was prepared waits for somebody to look.
            assert.instance(error.cause, CommitOutcomeUnknownError);
            assert.equal(
              [await my.ids(), await pg.ids()],
              [
                [1, 2, 3],
                [1, 2],
              ],
            );
            assert.equal(error.unfinished, ['pg']);
            for (const xid of await theirs.listPrepared()) await theirs.commitPrepared(xid);
            assert.equal(await ids(), all);
          } else {
            assert.equal(await ids(), error === undefined ? all : none, `${text}: ${error}`);
          }
          for (const each of [my, pg]) {
            each.proxy.onClientData = undefined;
            await each.assertClean();
            await each.reset();
          }
        }
      }
    });
  }

  test('both as last resources are refused before anyone votes', async () => {
    const mine = register(new MysqlSession(my.pool, { name: 'my' }), { twoPhase: false });
    const theirs = register(new PgSession(pg.pool, { name: 'pg' }), { twoPhase: false });
    await assert.rejects(
      transaction.run(async () => {
        await mine.query('insert into accounts values (3, 0)');
        await theirs.query('insert into accounts values (3, 0)');
      }, attempts),
      { code: 'ERR_TXN_TOO_MANY_LAST_RESOURCES' },
    );
    assert.equal(
      [await my.ids(), await pg.ids()],
      [
        [1, 2],
        [1, 2],
      ],
    );
  });
}
