import nodemailer from 'nodemailer';
import { PassThrough } from 'node:stream';
import { transaction } from 'unanimous';
import { MailSession } from 'unanimous/mail';
import { suite } from '../../support/suite.ts';
import { conform } from '../testing/conform.ts';
import { raise } from '../../coordinator/recording.ts';
import { MailServer, refusal } from './setup.ts';

const to = 'alice@example.org';
const server = await MailServer.open();
const transport = nodemailer.createTransport({ host: '127.0.0.1', port: server.port });
const mail = new MailSession(transport, { from: to });

const test = suite('a mail session is a data manager', { timeoutMs: 60_000 });
test.after(async () => {
  transport.close();
  await server.die();
});

conform<MailServer>(test, {
  capabilities: {
    savepoints: true,
    readOnlyVote: true,
    lastResource: false,
    onePhase: false,
    recoverable: false,
    readsOwnWrites: false,
  },
  open() {
    server.reset();
    return server;
  },
  close: () => server.reset(),
  write: (_server, subject) => mail.send({ to, subject, text: subject }),
  read: () => mail.joinTransaction(),
  stored: ({ subjects }) => subjects,
  failures: {
    work: () => void mail.send({ to: 'nobody' }),
    savepoint: 'it counts what there is',
    rollback: 'it drops what came since',
    tpcBegin: 'it only refuses work from then on',
    commit() {
      server.onConnect = () => raise(refusal('closing', 421));
      return () => (server.onConnect = undefined);
    },
    tpcVote() {
      const content = new PassThrough();
      mail.send({ to, subject: 'broken', attachments: [{ filename: 'a', content }] });
      content.destroy(new Error('the stream failed'));
    },
    tpcFinish() {
      server.onMail = () => raise(refusal('spam', 554));
      return () => (server.onMail = undefined);
    },
    tpcAbort: 'it only drops what was not sent',
    abort: 'it only drops what was not sent',
  },
  conflict() {
    server.onConnect = () => {
      server.onConnect = undefined;
      raise(refusal('closing', 421));
    };
  },
  errors: {
    transient: [],
    // Of somebody else: only one that kept it from committing may pass.
    permanent: [refusal('closing', 421), Object.assign(new Error('connect ECONNREFUSED'), { code: 'ESOCKET' })],
  },
  coordinator: transaction,
});
