// Protects when mails are sent and when they are not, on a real SMTP server: in order and once behind the commit, never after an
// abort; what is refused at once, what before the vote, and what is said of those that could not be sent.
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import nodemailer, { type Transporter } from 'nodemailer';
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  InDoubtError,
  NoTransaction,
  TransactionClosed,
  TransactionCoordinator,
  TransactionError,
  TransactionStateError,
  TransactionTimeoutError,
  register,
  sessionState,
  transaction,
} from 'unanimous';
import { MailNotSentError, MailServerError, MailSession } from 'unanimous/mail';
import { assert, suite } from '../../support/suite.ts';
import { raise, recording, suppressedBy, thrownBy } from '../../coordinator/recording.ts';
import { MailServer, refusal } from './setup.ts';

const test = suite('mails in transactions (zope 173-180)');
const server = await MailServer.open();
const transport = nodemailer.createTransport({ host: '127.0.0.1', port: server.port });
const mail = register(new MailSession(transport, { from: 'Shop <shop@example.org>' }));
const folder = await mkdtemp(join(tmpdir(), 'unanimous-mail-'));
test.after.each(() => server.reset());
test.after(async () => {
  transport.close();
  await server.die();
  await rm(folder, { recursive: true });
});

const to = 'alice@example.org';
const send = (subject: string, recipient = to): string => mail.send({ to: recipient, subject, text: subject });

/** A transport to a port of this machine. */
const transportTo = (port: number, options: object = {}): Transporter =>
  nodemailer.createTransport({ host: '127.0.0.1', port, ...options });

test('mails are sent in order, once each, when the transaction has committed (zope 173)', async () => {
  await transaction.run(async (txn) => {
    send('1');
    send('2');
    send('3');
    txn.join(recording([], '~sql:bank', { does: { tpcFinish: () => assert.equal(server.received, []) } }));
  });
  assert.equal(server.subjects, ['1', '2', '3']);
});

test('no mail is sent of what was aborted, doomed or voted against (zope 173)', async () => {
  const no = new Error('no');
  await assert.rejects(transaction.run(() => (send('1'), raise(no))));
  await assert.rejects(
    transaction.run((txn) => {
      send('2');
      txn.doom();
    }),
  );
  await assert.rejects(
    transaction.run((txn) => {
      send('3');
      txn.join(recording([], '~~~', { fails: { tpcVote: no } }));
    }),
  );
  await transaction.run(() => send('4'));
  assert.equal(server.subjects, ['4']);
});

test('what was given after a savepoint is dropped when that is rolled back (zope 174)', async () => {
  await transaction.run(async (txn) => {
    const first = await txn.savepoint();
    send('dropped with the session');
    await first.rollback();
    assert.is(sessionState(mail), undefined);
    send('1');
    const second = await txn.savepoint();
    send('dropped');
    await second.rollback();
    send('dropped again');
    await second.rollback();
    send('2');
  });
  assert.equal(server.subjects, ['1', '2']);
});

test('the Message-ID is made of the transaction’s id and a number, and is known at once', async () => {
  const other = new MailSession(transport, { name: 'other', from: 'other@example.org', domain: 'mail.example.org' });
  const ids: string[] = [];
  const gid = await transaction.run((txn) => {
    ids.push(send('1'), other.send({ to, subject: '2' }), send('3'), mail.send({ to, messageId: '<own@example.org>' }));
    return txn.id;
  });
  const local = gid.replaceAll(':', '_');
  assert.match(local, /^unanimous_-_[0-9a-f]{20}_[0-9a-z]+$/);
  assert.equal(ids, [
    `<${local}.1@example.org>`,
    `<${local}.2@mail.example.org>`,
    `<${local}.3@example.org>`,
    '<own@example.org>',
  ]);
  assert.equal(new Set(server.received.map(({ id }) => id)), new Set(ids));
});

test('a Message-ID is one, whatever the names of the application and the sender’s domain are made of', async () => {
  const coordinator = new TransactionCoordinator({ app: '.a..b_c-d.' });
  const own = register(new MailSession(transport), { coordinator });
  const ids: string[] = [];
  await coordinator.run((txn) => {
    ids.push(own.send({ from: 'Büro <post@bücher.example>', to }), own.send({ from: 'root@[127.0.0.1]', to }));
    assert.match(txn.id, /^\.a\.\.b_c-d\.:/);
  });
  assert.match(ids[0]!, /^<_a__b_c-d__-_[0-9a-f]{20}_1\.1@xn--bcher-kva\.example>$/);
  assert.match(ids[1]!, /\.2@localhost>$/);
  assert.equal(
    server.received.map(({ id }) => id),
    ids,
  );
});

test('the mail that is sent is the one that was given', async () => {
  await transaction.run(() => {
    const given = { to: [to], subject: 'as it was', text: 'as it was' };
    mail.send(given);
    given.subject = given.text = 'changed';
    given.to.push('bob@example.org');
  });
  assert.equal(server.subjects, ['as it was']);
  assert.equal(server.received[0]!.to, [to]);
  assert.match(server.received[0]!.source, /^From: Shop <shop@example.org>$/m);
});

test('a mail without a recipient or a sender is refused at once, and so is what is no address', async () => {
  const nobody = new MailSession(transport, { name: 'nobody' });
  await transaction.run(() => {
    for (const wrong of [
      () => mail.send({ subject: 'to nobody' }),
      () => mail.send({ to: '' }),
      () => mail.send({ to: [] }),
      () => mail.send({ to: 'nobody' }),
      () => mail.send({ to: [to, 'nobody'] }),
      () => mail.send({ to: `${to}, nobody` }),
      () => mail.send({ to: { name: 'Nobody', address: '' } }),
      () => mail.send({ cc: [to, ''] }),
      () => mail.send({ to, envelope: { from: 'a@example.org' } }),
      () => nobody.send({ to }),
      () => nobody.send({ to, from: 'nobody' }),
      () => mail.send({ to, signal: AbortSignal.timeout(1000) }),
      () => mail.send(undefined as never),
      () => mail.send('a text' as never),
    ]) {
      assert.instance(thrownBy(wrong), ConfigurationError, String(wrong));
    }
    mail.send({ bcc: `"Doe, John" <john@example.org>, ${to}`, subject: 'accepted' });
    nobody.send({ to, envelope: { from: 'bounces@example.org', to }, subject: 'with an envelope' });
  });
  assert.equal(server.subjects.toSorted(), ['accepted', 'with an envelope']);
  assert.equal(server.received.find(({ subject }) => subject === 'accepted')!.to, ['john@example.org', to]);
});

test('the message says what is wrong with a recipient', async () => {
  await transaction.run(() => {
    assert.is(
      thrownBy(() => mail.send({ to: [to, 'nobody'] })).message,
      "the recipient of a mail must be an address such as alice@example.org, not 'nobody'; it will not be sent",
    );
    assert.is(
      thrownBy(() => mail.send({ subject: 'x' })).message,
      'a mail must have a recipient in to, cc or bcc; this one has none and will not be sent',
    );
  });
});

test('the defaults of the transporter count, and the session’s sender goes before theirs', async () => {
  const own = nodemailer.createTransport({ host: '127.0.0.1', port: server.port }, { from: 'default@example.org', to });
  await transaction.run(() => {
    new MailSession(own, { name: 'a' }).send({ subject: 'theirs' });
    new MailSession(own, { name: 'b', from: 'session@example.org' }).send({ subject: 'session' });
  });
  const from = server.received.map(({ source }) => /^From: (.*)$/m.exec(source)?.[1]?.trim());
  assert.equal(from, ['default@example.org', 'session@example.org']);
});

test('outside of a transaction, after its end and where it was declared read-only, no mail is taken', async () => {
  assert.instance(
    thrownBy(() => send('1')),
    NoTransaction,
  );
  const late = await transaction.run(() => {
    send('2');
    // Runs when the transaction is over, in its context.
    return { error: new Promise((resolve) => setTimeout(resolve, 20)).then(() => thrownBy(() => send('late'))) };
  });
  assert.instance(await late.error, TransactionClosed);
  await transaction.run(
    () =>
      assert.instance(
        thrownBy(() => send('3')),
        TransactionStateError,
      ),
    { readOnly: true },
  );
  const declared = register(new MailSession(transport, { name: 'declared' }), { initialState: 'readonly' });
  await transaction.run(() => {
    assert.instance(
      thrownBy(() => declared.send({ to, from: to })),
      TransactionStateError,
    );
  });
  assert.equal(server.subjects, ['2']);
});

test('a mail that is given while the transaction commits is refused, not lost', async () => {
  const seen: unknown[] = [];
  await transaction.run((txn) => {
    send('1');
    txn.join(recording([], '~~~', { does: { tpcVote: () => seen.push(thrownBy(() => send('late'))) } }));
  });
  assert.instance(seen[0], TransactionClosed);
  assert.equal(server.subjects, ['1']);
});

test('the session has a state, as that of a database', async () => {
  await transaction.run(() => {
    assert.is(sessionState(mail), undefined);
    mail.joinTransaction();
    assert.is(sessionState(mail), 'active');
    send('1');
    assert.is(sessionState(mail), 'changed');
  });
  assert.is(sessionState(mail), undefined);
});

test('register() takes what mails have, and refuses what is about databases', () => {
  const own = new MailSession(transport, { name: 'own' });
  assert.is(register(own, { coordinator: transaction, initialState: 'active' }), own);
  for (const options of [{ keepSession: true }, { twoPhase: true }, { detectWrites: false }]) {
    assert.instance(
      thrownBy(() => register(own, options)),
      ConfigurationError,
    );
  }
  for (const wrong of [
    () => new MailSession({} as never),
    () => new MailSession(undefined as never),
    () => new MailSession(transport, { name: 'a mail' }),
    () => new MailSession(transport, { verifyTimeoutMs: 0 }),
    () => new MailSession(transport, { from: 1 as never }),
    () => new MailSession(transport, { retries: 1 } as never),
  ]) {
    assert.instance(thrownBy(wrong), ConfigurationError);
  }
});

test('the server is asked once before the commit, and not at all where there is no mail', async () => {
  await transaction.run(() => mail.joinTransaction());
  assert.is(server.connections, 0);
  const seen: number[] = [];
  await transaction.run((txn) => {
    send('1');
    send('2');
    txn.join(recording([], '~sql:bank', { does: { tpcVote: () => seen.push(server.connections) } }));
  });
  assert.equal(seen, [1], 'before any database votes');
});

test('verify: false asks nobody', async () => {
  const own = new MailSession(transport, { name: 'own', from: to, verify: false });
  const seen: number[] = [];
  await transaction.run((txn) => {
    own.send({ to, subject: '1' });
    txn.join(recording([], '~~~', { does: { tpcVote: () => seen.push(server.connections) } }));
  });
  assert.equal(seen, [0]);
  assert.equal(server.subjects, ['1']);
});

test('a server that refuses connections lets nothing commit; it is tried again, as a lost connection is', async () => {
  const closed = await MailServer.open();
  const own = new MailSession(transportTo(closed.port), { name: 'own', from: to });
  await closed.die();
  let attempts = 0;
  const log: string[] = [];
  const error = await assert.rejects(
    transaction.run(
      (txn) => {
        attempts++;
        own.send({ to, subject: '1' });
        txn.join(recording(log, '~sql:bank'));
      },
      { backoff: false },
    ),
    MailServerError,
  );
  assert.match(error.message, "that of 'own' did not (connect ECONNREFUSED");
  assert.is((error.cause as { syscall: string }).syscall, 'connect');
  assert.is(error.code, 'ERR_TXN_MAIL_SERVER');
  assert.is(attempts, 3);
  assert.not.ok(log.some((each) => /tpcVote|tpcFinish/.test(each)));
});

test('a server that closes lets nothing commit', async () => {
  server.onConnect = () => raise(refusal('closing', 421));
  await assert.rejects(
    transaction.run(() => send('1'), { attempts: 1 }),
    MailServerError,
  );
  server.onConnect = undefined;
  assert.equal(server.received, []);
});

test('a server that lets us not in lets nothing commit, and is not asked again', async () => {
  const guarded = await MailServer.open({ disabledCommands: ['STARTTLS'], allowInsecureAuth: true });
  const own = new MailSession(transportTo(guarded.port, { auth: { user: 'a', pass: 'b' } }), { name: 'own', from: to });
  const error = await assert.rejects(
    transaction.run(() => own.send({ to, subject: '1' })),
    MailServerError,
  );
  assert.is((error.cause as { code: string }).code, 'EAUTH');
  assert.is(guarded.connections, 1);
  await guarded.die();
});

/** A server that takes connections and never says anything. */
async function silent(): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<{ destroy(): void }>();
  const listening = createServer((socket) => sockets.add(socket.on('error', () => undefined))).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  return {
    port: (listening.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      listening.close();
    },
  };
}

test('a server that says nothing lets nothing commit, after verifyTimeoutMs', async () => {
  const hanging = await silent();
  const own = new MailSession(transportTo(hanging.port), { name: 'own', from: to, verifyTimeoutMs: 50 });
  const error = await assert.rejects(
    transaction.run(() => own.send({ to, subject: '1' })),
    MailServerError,
  );
  assert.match(error.message, "that of 'own' said nothing within 50 ms (verifyTimeoutMs), so nothing was committed");
  hanging.close();
});

test('the transaction’s deadline ends the wait for the server, and is its error', async () => {
  const hanging = await silent();
  const own = new MailSession(transportTo(hanging.port), { name: 'own', from: to });
  await assert.rejects(
    transaction.run(() => own.send({ to, subject: '1' }), { timeoutMs: 60 }),
    TransactionTimeoutError,
  );
  hanging.close();
});

test('a transport that has nothing to verify is taken as it is', async () => {
  const own = nodemailer.createTransport({ jsonTransport: true });
  await transaction.run(() => new MailSession(own, { name: 'json', from: to }).send({ to, subject: '1' }));
});

/** The error of a commit in which mails failed, and that of the mails. */
async function failing(body: () => unknown): Promise<{ doubt: InDoubtError; error: MailNotSentError }> {
  const doubt = await assert.rejects(
    transaction.run(() => void body()),
    InDoubtError,
  );
  assert.instance(doubt.cause, MailNotSentError);
  return { doubt, error: doubt.cause as MailNotSentError };
}

const outcomesOf = (error: MailNotSentError): string[] => error.mails.map(({ outcome }) => outcome);

test('a refused recipient: the others are sent, and the error says which was not', async () => {
  const ids: string[] = [];
  const { doubt, error } = await failing(() => {
    ids.push(send('1'), send('2', 'refused@example.org'), send('3'));
  });
  assert.equal(server.subjects, ['1', '3']);
  assert.equal(outcomesOf(error), ['sent', 'not sent', 'sent']);
  assert.equal(
    error.mails.map(({ messageId }) => messageId),
    ids,
  );
  assert.equal(error.mails[1]!.rejected, ['refused@example.org']);
  assert.is((error.mails[1]!.error as unknown as { responseCode: number }).responseCode, 550);
  assert.is(error.cause, error.mails[1]!.error);
  assert.is(error.code, 'ERR_TXN_MAIL_NOT_SENT');
  assert.equal(doubt.unfinished, ['~~mail:mail']);
  assert.match(doubt.message, `${ids[1]} to refused@example.org was not sent (Can't send mail`);
  assert.match(doubt.message, `; sent: ${ids[0]} and ${ids[2]}`);
});

test('a mail that the server takes for some of its recipients only is told as well', async () => {
  const { error } = await failing(() => send('1', `${to}, refused@example.org, refused2@example.org`));
  assert.equal(server.subjects, ['1']);
  assert.equal(outcomesOf(error), ['sent in part']);
  assert.equal(error.mails[0]!.rejected, ['refused@example.org', 'refused2@example.org']);
  assert.match(error.message, 'to refused@example.org and refused2@example.org was not sent to everybody');
});

test('a mail that the server refuses when it has read it was not sent', async () => {
  server.onMail = ({ subject }) => (subject === '1' ? raise(refusal('spam', 554)) : undefined);
  const { error } = await failing(() => (send('1'), send('2')));
  assert.equal(outcomesOf(error), ['not sent', 'sent']);
});

test('a server that dies in the middle of the second mail: the first was sent, the second perhaps, the third not', async () => {
  const dying = await MailServer.open();
  const own = new MailSession(transportTo(dying.port), { name: 'own', from: to });
  let dead: Promise<void> | undefined;
  dying.onMail = ({ subject }) => {
    if (subject === '2') dead = dying.die();
    return dead;
  };
  const { error } = await failing(() => {
    for (const subject of ['1', '2', '3']) own.send({ to, subject });
  });
  await dead;
  assert.equal(outcomesOf(error), ['sent', 'unknown', 'not sent']);
  assert.match(error.message, '2@example.org> to alice@example.org was perhaps sent (Connection closed unexpectedly)');
});

test('a server that hangs: the wait ends after sendTimeoutMs, and the mails behind it are not waited for', async () => {
  server.onMail = ({ subject }) => (subject === '2' ? new Promise(() => undefined) : undefined);
  const own = new MailSession(transport, { name: 'own', from: to, sendTimeoutMs: 1500 });
  const { error } = await failing(() => {
    for (const subject of ['1', '2', '3', '4']) own.send({ to, subject });
  });
  assert.equal(server.subjects, ['1']);
  assert.equal(outcomesOf(error), ['sent', 'unknown', 'not sent', 'not sent']);
  assert.match(error.message, 'no answer within 1500 ms (sendTimeoutMs)');
});

test('where the outcome of the transaction is not known no mail is sent, and the error says which', async () => {
  const lost = new CommitOutcomeUnknownError('reply lost', { resource: 'bank' });
  let id = '';
  const doubt = await assert.rejects(
    transaction.run((txn) => {
      id = send('1');
      txn.join(recording([], 'bank', { lastResource: true, changed: true, fails: { tpcVote: lost } }));
    }),
    InDoubtError,
  );
  assert.equal(server.received, []);
  assert.equal(doubt.unfinished, ['~~mail:mail']);
  const [error] = suppressedBy(lost) as [MailNotSentError];
  assert.instance(error, MailNotSentError);
  assert.equal([error.mails[0]!.messageId, error.mails[0]!.outcome], [id, 'not sent']);
});

test('attachments by path and by stream are read when the mail is sent', async () => {
  const path = join(folder, 'invoice.txt');
  await writeFile(path, 'as it was');
  await transaction.run(async () => {
    mail.send({
      to,
      subject: '1',
      attachments: [{ path }, { filename: 'b.txt', content: createReadStream(path, { highWaterMark: 1 }) }],
    });
    mail.send({ to, subject: '2', attachments: [{ path }] });
    await writeFile(path, 'as it is now');
  });
  const now = Buffer.from('as it is now').toString('base64');
  assert.ok(server.received[0]!.source.includes(now));
  assert.ok(server.received[1]!.source.includes(now));
});

test('an attachment that is gone when the mail is sent is told of', async () => {
  const { error } = await failing(() => {
    mail.send({ to, subject: '1', attachments: [{ path: join(folder, 'gone') }] });
    send('2');
  });
  assert.equal(outcomesOf(error), ['not sent', 'sent']);
  assert.match(error.message, 'ENOENT');
});

test('a stream that fails before the vote is a no, and ends no process', async () => {
  const stream = createReadStream(join(folder, 'gone'));
  const error = await assert.rejects(
    transaction.run(async () => {
      mail.send({ to, subject: '1', attachments: [{ filename: 'a', content: stream }] });
      await assert.eventually(() => stream.errored !== null);
    }),
    TransactionError,
  );
  assert.match(error.message, 'ENOENT');
  assert.equal(server.received, []);
});

test('the streams of mails that are not sent are closed', async () => {
  const streams = { aborted: new PassThrough(), dropped: new PassThrough(), unsent: new PassThrough() };
  const sendStream = (content: PassThrough, recipient = to): string =>
    mail.send({ to: recipient, subject: '1', text: 'x', attachments: [{ filename: 'a', content }] });
  await assert.rejects(transaction.run(() => (sendStream(streams.aborted), raise(new Error('no')))));
  await transaction.run(async (txn) => {
    mail.joinTransaction();
    const savepoint = await txn.savepoint();
    sendStream(streams.dropped);
    await savepoint.rollback();
  });
  await failing(() => sendStream(streams.unsent, 'refused@example.org'));
  for (const [name, stream] of Object.entries(streams)) assert.ok(stream.destroyed, name);
});

test('a transport with a pool keeps no transaction’s context', async () => {
  const pooled = nodemailer.createTransport({ host: '127.0.0.1', port: server.port, pool: true, maxConnections: 1 });
  const own = new MailSession(pooled, { name: 'pooled', from: to });
  const seen: unknown[] = [];
  // Runs in the context of whoever has opened the connection, or outside of all.
  pooled.use('stream', (_mail, done) => {
    seen.push(transaction.current);
    done();
  });
  await transaction.run(() => own.send({ to, subject: '1' }));
  await transaction.run(() => own.send({ to, subject: '2' }));
  pooled.close();
  assert.equal(seen, [undefined, undefined]);
  assert.equal(server.subjects, ['1', '2']);
});

test('each context has mails of its own', async () => {
  await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      transaction.run(async () => {
        send(`${index}.1`);
        await new Promise((resolve) => setTimeout(resolve, index % 5));
        send(`${index}.2`);
        if (index % 2 === 1) throw new Error('no');
      }),
    ).map((each) => each.catch(() => undefined)),
  );
  const expected = Array.from({ length: 10 }, (_, index) => [`${index * 2}.1`, `${index * 2}.2`]).flat();
  assert.equal(server.subjects.toSorted(), expected.toSorted());
  for (let index = 0; index < 20; index += 2) {
    assert.ok(server.subjects.indexOf(`${index}.1`) < server.subjects.indexOf(`${index}.2`));
  }
});

test('one transport may serve several sessions, and one session several transactions at once', async () => {
  const other = new MailSession(transport, { name: 'other', from: to });
  await transaction.run(async () => {
    send('outer');
    other.send({ to, subject: 'other' });
    await transaction.run(() => send('inner'), { propagation: 'requires-new' });
    assert.equal(server.subjects, ['inner']);
  });
  assert.equal(server.subjects, ['inner', 'outer', 'other']);
});
