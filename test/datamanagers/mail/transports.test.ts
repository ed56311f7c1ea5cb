// Protects mails that go through a transport which is not SMTP: whatever it has as defaults, answers or fails with, what became of the mail is
// told as it is.
import { InDoubtError, MemoryDecisionLog, MemoryStore, TransactionCoordinator, register, transaction } from 'unanimous';
import { MailSession } from 'unanimous/mail';
import { assert, suite } from '../../support/suite.ts';

const test = suite('mails by other transports');

const mail = { from: 'shop@example.org', to: 'you@example.org', subject: 'order' };

/** A session over a transport that does this with each mail. */
function through(sendMail: (mail: object) => unknown): MailSession {
  return new MailSession({ sendMail: async (fields: object) => sendMail(fields) } as never, { verify: false });
}

test('a transport without defaults that answers nothing has sent the mail', async () => {
  const sent: { subject?: string }[] = [];
  const session = through((fields) => void sent.push(fields));
  await transaction.run(() => session.send(mail));
  assert.equal(
    sent.map(({ subject }) => subject),
    ['order'],
  );
});

test('recipients that it refuses are named, however it gives them', async () => {
  const session = through(() => ({ rejected: ['text@example.org', { address: 'object@example.org' }, null] }));
  const error = await assert.rejects(
    transaction.run(() => session.send(mail)),
    InDoubtError,
  );
  assert.match(error.message, /text@example\.org/);
  assert.match(error.message, /object@example\.org/);
});

test('a server that was not even connected to has not taken the mail', async () => {
  const late = Object.assign(new Error('Connection timeout'), { code: 'ETIMEDOUT', timeoutType: 'CONNECT_TIMEOUT' });
  const session = through(() => Promise.reject(late));
  const error = await assert.rejects(
    transaction.run(() => session.send(mail)),
    InDoubtError,
  );
  assert.match(error.message, 'not sent');
  assert.not.match(error.message, 'may have been sent');
});

test('a mail with all that can be stored arrives as it was given, bytes and lists and nested fields too', async () => {
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: new MemoryDecisionLog(),
    recovery: { everyMs: 2_000_000_000 },
  });
  const sent: Record<string, unknown>[] = [];
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): unknown => warnings.push(message);
  process.on('warning', onWarning);
  const session = register(
    through((fields) => {
      sent.push(fields as Record<string, unknown>);
      return { rejected: ['refused@example.org'] };
    }),
    { coordinator },
  );
  const store = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  const content = Buffer.from([0, 255, 1]);
  const given = {
    ...mail,
    to: ['you@example.org', 'refused@example.org'],
    date: new Date(0),
    attachments: [{ filename: 'bytes', content }, null],
    headers: { 'x-shop': { prepared: true, value: 'order 1' } },
    dsn: Object.assign(Object.create(null) as object, { id: '1' }),
  };
  await coordinator.run(() => {
    store.set('key', 'x');
    session.send(given);
  });
  assert.equal(sent.length, 1);
  const [got] = sent as [Record<string, unknown>];
  assert.equal(got['to'], given.to);
  assert.equal(got['attachments'], given.attachments);
  assert.equal(got['headers'], given.headers);
  assert.is(new Date(got['date'] as string).getTime(), 0);
  await assert.eventually(() => assert.ok(warnings.some((each) => each.includes('refused refused@example.org'))));
  process.off('warning', onWarning);
  await coordinator.close();
});
