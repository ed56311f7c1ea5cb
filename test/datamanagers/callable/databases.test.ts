// Protects the place of functions beside real databases: vote functions before anything is prepared or committed, finish functions
// when everybody can see what was written, and that a function doesn't make one database prepare.
import { InDoubtError, onAbort, onFinish, onVote, transaction } from 'unanimous';
import { Database } from '../pg/setup.ts';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { raise } from '../../coordinator/recording.ts';

const test = suite('callables beside databases');
const server = await postgres();
const bank = await Database.open(server, { name: 'bank' });
const audit = await Database.open(server, { name: 'audit' });
const databases = [bank, audit];
test.after(() => Promise.all(databases.map((each) => each.close())));
test.after.each(async () => {
  for (const each of databases) {
    await each.assertClean();
    await each.reset();
  }
});

/** What everybody sees: the ids above 2, and what is prepared, in the databases that take part. */
const seen = (dbs: Database[]) => async (): Promise<unknown> => ({
  ids: await Promise.all(dbs.map(async (db) => (await db.ids()).filter((id) => id > 2))),
  prepared: (await Promise.all(dbs.map((db) => db.prepared()))).flat().length,
});

for (const dbs of [[bank], databases]) {
  const write = (): Promise<unknown> =>
    Promise.all(dbs.map(({ session }) => session.query('insert into accounts values (3, 0)')));
  const way = dbs.length === 1 ? 'one-phase' : 'two-phase';
  const nothing = { ids: dbs.map(() => []), prepared: 0 };

  test(`${way}: at the vote nothing is prepared, at the finish everything can be seen`, async () => {
    const looks: Record<string, unknown> = {};
    const txn = await transaction.run(async (current) => {
      onFinish(async () => (looks['finish'] = await seen(dbs)()));
      onVote(async () => (looks['vote'] = await seen(dbs)()));
      await write();
      return current;
    });
    assert.is(txn.outcome?.way, way);
    assert.equal(looks, { vote: nothing, finish: { ids: dbs.map(() => [3]), prepared: 0 } });
  });

  test(`${way}: a no leaves nothing anywhere`, async () => {
    const log: string[] = [];
    const no = new Error('no');
    const rejected = transaction.run(async () => {
      await write();
      onVote(() => raise(no));
      onFinish(() => log.push('finish'));
      onAbort(() => log.push('abort'));
    });
    assert.is(await assert.rejects(rejected), no);
    assert.equal(log, ['abort']);
    assert.equal(await seen(dbs)(), nothing);
  });

  test(`${way}: a database that refuses lets no finish function be called`, async () => {
    const log: string[] = [];
    await bank.admin.query(
      'create function refuse() returns trigger language plpgsql as $$ begin raise exception $r$refused$r$; end $$',
    );
    await bank.admin.query(
      'create constraint trigger at_commit after insert on accounts deferrable initially deferred for each row execute function refuse()',
    );
    try {
      const error = await assert.rejects(
        transaction.run(async () => {
          onFinish(() => log.push('finish'));
          onAbort(() => log.push('abort'));
          await write();
        }),
      );
      assert.match(error.message, 'refused');
    } finally {
      await bank.admin.query('drop trigger at_commit on accounts; drop function refuse');
    }
    assert.equal(log, ['abort']);
    assert.equal(await seen(dbs)(), nothing);
  });

  test(`${way}: a finish function that fails takes nothing back`, async () => {
    const error = await assert.rejects(
      transaction.run(async () => {
        await write();
        onFinish(() => raise(new Error('boom')));
      }),
      InDoubtError,
    );
    assert.equal(error.unfinished, ['~~callable']);
    assert.equal(await seen(dbs)(), { ids: dbs.map(() => [3]), prepared: 0 });
  });
}
