// Protects mails in what seldom happens: those that can't be stored with a decision, senders without a domain, and recipients that are none.
import { Readable } from 'node:stream';
import nodemailer from 'nodemailer';
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  TransactionCoordinator,
  register,
  transaction,
} from 'unanimous';
import { MailSession } from 'unanimous/mail';
import { messageIdOf } from '../../../datamanagers/mail/mail.ts';
import { raise, recording, suppressedBy } from '../../coordinator/recording.ts';
import { assert, suite } from '../../support/suite.ts';
import { MailServer } from './setup.ts';

const test = suite('what seldom happens to mails');
const server = await MailServer.open();
const transport = nodemailer.createTransport({ host: '127.0.0.1', port: server.port });
const from = 'shop@example.org';
const to = 'alice@example.org';
test.after.each(() => server.reset());
test.after(async () => {
  transport.close();
  await server.die();
});

test('mails are stored with a decision, but for those that are read from somewhere or are code, and all are sent once', async () => {
  const store = new MemoryDecisionStore();
  const coordinator = new TransactionCoordinator({ decisionLog: new MemoryDecisionLog(store) });
  const mail = register(new MailSession(transport, { from }), { coordinator });
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  let stored = -1;
  server.onMail = () => {
    stored = store.messages.length;
  };
  const parts: readonly (readonly [object, number])[] = [
    [{ text: 'whole' }, 1],
    [{ text: Readable.from(['read when it is sent']) }, 0],
    [
      { attachments: [{ content: 'x', contentTransferEncoding: 'base64' }], text: 'y', encoder: (): void => undefined },
      0,
    ],
  ];
  for (const [index, [part]] of parts.entries()) {
    await coordinator.run(() => {
      a.set('n', index);
      mail.send({ to, subject: String(index), ...part });
    });
    assert.is(stored, parts[index]![1], `mail ${index}`);
  }
  assert.equal(server.subjects, ['0', '1', '2']);
  assert.match(server.received[0]!.source, /whole/);
  assert.match(server.received[1]!.source, /read when it is sent/);
  await coordinator.close();
});

test('an empty session does not say of a transaction in doubt that mails were not sent', async () => {
  const mail = register(new MailSession(transport, { from }));
  const unknown = new CommitOutcomeUnknownError('not known', { resource: 'bank' });
  const last = {
    ...recording([], '~bank', { savepoints: true, does: { tpcVote: () => raise(unknown) } }),
    lastResource: true,
  };
  const error = await assert.rejects(
    transaction.run(
      async (txn) => {
        txn.join(recording([], 'a', { savepoints: true }));
        txn.join(last);
        const savepoint = await txn.savepoint();
        mail.send({ to, subject: 'undone' });
        await savepoint.rollback();
      },
      { attempts: 1 },
    ),
  );
  assert.ok(error instanceof InDoubtError || error === unknown, String(error));
  const said = [error, unknown]
    .flatMap((each) => [each].concat(suppressedBy(each)))
    .map((each) => (each as Error).message);
  assert.not.match(said.join(), /mails are sent once it is known/);
  assert.equal(server.subjects, []);
});

test('a mail that is stored with a decision of which nobody knows whether it came about is not said to be unsent: it is sent where it did', async () => {
  const log = new MemoryDecisionLog();
  const { decide, settle } = log;
  const coordinator = new TransactionCoordinator({
    decisionLog: log,
    decisionTimeoutMs: 200,
    onError: () => undefined,
  });
  const mail = register(new MailSession(transport, { from }), { coordinator });
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  log.decide = async (decision) => {
    await decide.call(log, decision);
    throw new Error('the reply was lost');
  };
  log.settle = () => Promise.reject(new Error('the store is away'));
  const error = await assert.rejects(
    coordinator.run(
      () => {
        a.set('n', 1);
        mail.send({ to, subject: 'stored' });
      },
      { attempts: 1 },
    ),
    InDoubtError,
  );
  const said = [error, error.cause].flatMap((each) => suppressedBy(each)).map(String);
  assert.equal(said, []);
  Object.assign(log, { decide, settle });
  // As if its time had come.
  await log.outbox.retry(await log.outbox.list(10));
  await assert.eventually(async () => {
    await coordinator.recover();
    assert.equal(server.subjects, ['stored']);
  });
  await coordinator.close();
});

test('a session whose only mail was refused says nothing of a transaction in doubt', async () => {
  const mail = register(new MailSession(transport, { from }));
  const unknown = new CommitOutcomeUnknownError('not known', { resource: 'bank' });
  const last = { ...recording([], '~~~~bank', { does: { tpcVote: () => raise(unknown) } }), lastResource: true };
  const error = await assert.rejects(
    transaction.run(
      (txn) => {
        txn.join(last);
        assert.throws(() => mail.send({ to: ',', subject: 'refused' }));
      },
      { attempts: 1 },
    ),
  );
  const said = [error, unknown].flatMap((each) => suppressedBy(each)).map(String);
  assert.equal(said, []);
});

test('the Message-ID of a sender without a domain is local', () => {
  assert.is(messageIdOf('app:1', 2, undefined), '<app_1.2@localhost>');
  assert.is(messageIdOf('app:1', 2, 'exämple.org'), '<app_1.2@xn--exmple-cua.org>');
});

test('recipients that are none are refused by what they are', async () => {
  const mail = register(new MailSession(transport, { from }));
  for (const [recipient, named] of [
    [',', /must have a recipient/],
    [{ name: 'Alice' }, /must be an address such as .* not/],
    [[{ address: 42 }], /must be an address such as .* not/],
  ] as const) {
    const error = await assert.rejects(
      transaction.run(() => mail.send({ to: recipient as never, subject: 'x' })),
      ConfigurationError,
    );
    assert.match(error.message, named);
  }
  assert.equal(server.subjects, []);
});
