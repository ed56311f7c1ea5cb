// Protects that a mail is sent when real databases have committed, and that neither is without the other before that.
import nodemailer from 'nodemailer';
import { transaction } from 'unanimous';
import { MailServerError, MailSession } from 'unanimous/mail';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { raise } from '../../coordinator/recording.ts';
import { Database } from '../pg/setup.ts';
import { MailServer, refusal } from './setup.ts';

const test = suite('mails beside databases');
const databases = await Promise.all(['bank', 'audit'].map(async (name) => Database.open(await postgres(), { name })));
const server = await MailServer.open();
const transport = nodemailer.createTransport({ host: '127.0.0.1', port: server.port });
const to = 'alice@example.org';
const mail = new MailSession(transport, { from: to });

test.after.each(async () => {
  server.reset();
  for (const each of databases) {
    await each.assertClean();
    await each.reset();
  }
});
test.after(async () => {
  transport.close();
  await Promise.all([server.die(), ...databases.map((each) => each.close())]);
});

for (const dbs of [databases.slice(0, 1), databases]) {
  const way = dbs.length === 1 ? 'one-phase' : 'two-phase';
  const write = (id: number): Promise<unknown> =>
    Promise.all(dbs.map(({ session }) => session.query('insert into accounts values ($1, 0)', [id])));
  const stored = (): Promise<number[][]> => Promise.all(dbs.map((db) => db.ids()));
  const prepared = async (): Promise<number> => (await Promise.all(dbs.map((db) => db.prepared()))).flat().length;

  test(`${way}: whoever gets the mail can see what it speaks of, and no lock waits for it`, async () => {
    const seen: unknown[] = [];
    server.onMail = async () => seen.push(await stored(), await prepared());
    const txn = await transaction.run(async (current) => {
      mail.send({ to, subject: '1' });
      await write(3);
      return current;
    });
    assert.is(txn.outcome?.way, way);
    assert.equal(seen, [dbs.map(() => [1, 2, 3]), 0]);
  });

  test(`${way}: a mail server that isn’t there lets no database commit, nor prepare`, async () => {
    const seen: unknown[] = [];
    server.onConnect = async () => {
      seen.push(await stored(), await prepared());
      raise(refusal('closing', 421));
    };
    const refused = transaction.run(
      async () => {
        await write(3);
        mail.send({ to, subject: '1' });
      },
      { attempts: 1 },
    );
    await assert.rejects(refused, MailServerError);
    const nothing = dbs.map(() => [1, 2]);
    assert.equal(seen, [nothing, 0]);
    assert.equal([await stored(), server.subjects], [nothing, []]);
  });
}
