// Protects that files and real databases end alike, and in which order.
import { transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from '../pg/setup.ts';
import { Folder } from './setup.ts';

const test = suite('files beside databases');
const server = await postgres();
const bank = await Database.open(server, { name: 'bank' });
const audit = await Database.open(server, { name: 'audit' });
const databases = [bank, audit];
await bank.admin.query(
  `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
   create constraint trigger at_commit after insert on accounts deferrable initially deferred for each row
     when (new.balance < 0) execute function refuse()`,
);

let folder: Folder;
let files: FileSession;
test.before.each(async () => {
  folder = await Folder.open({ a: 'a' });
  files = new FileSession({ root: folder.path });
});
test.after.each(async () => {
  await folder.remove();
  for (const each of databases) {
    await each.assertClean();
    await each.reset();
  }
});
test.after(() => Promise.all(databases.map((each) => each.close())));

for (const dbs of [[bank], databases]) {
  const way = dbs.length === 1 ? 'one-phase' : 'two-phase';
  const write = (balance: number): Promise<unknown> =>
    Promise.all(dbs.map(({ session }) => session.query('insert into accounts values (3, $1)', [balance])));
  const stored = (): Promise<number[][]> => Promise.all(dbs.map((db) => db.ids()));

  test(`${way}: all is there when it commits, and nothing waits for the files`, async () => {
    const txn = await transaction.run(async (current) => {
      await files.writeFile('a', 'changed');
      await write(0);
      return current;
    });
    assert.is(txn.outcome?.way, way);
    assert.equal(await folder.content(), { a: 'changed' });
    assert.equal(
      await stored(),
      dbs.map(() => [1, 2, 3]),
    );
  });

  test(`${way}: a database that refuses at the end leaves the files as they were`, async () => {
    const refused = transaction.run(async () => {
      await files.writeFile('a', 'changed');
      await files.rename('a', 'b');
      await write(-1);
    });
    assert.match((await assert.rejects(refused)).message, 'refused');
    assert.equal(await folder.content(), { a: 'a' });
    assert.equal(
      await stored(),
      dbs.map(() => [1, 2]),
    );
  });

  test(`${way}: files that can’t be changed leave the databases as they were`, async () => {
    const refused = transaction.run(
      async () => {
        await files.writeFile('a', 'changed');
        await write(0);
        await folder.remove();
      },
      { attempts: 1 },
    );
    await assert.rejects(refused, { code: 'ERR_TXN_FILE_CONFLICT' });
    assert.equal(
      await stored(),
      dbs.map(() => [1, 2]),
    );
  });
}
