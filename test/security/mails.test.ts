// Protects mails from what strangers put into them: no text becomes a header, a recipient or a command of SMTP, and a mail that was stored
// with a decision has nothing read that only this process can read, whoever has changed it in the table.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import nodemailer from 'nodemailer';
import { ConfigurationError, TransactionCoordinator, register } from 'unanimous';
import { MailSession } from 'unanimous/mail';
import { MailServer } from '../datamanagers/mail/setup.ts';
import { assert, suite } from '../support/suite.ts';
import { TERMINAL, UNPRINTABLE } from './hostile-texts.ts';

const test = suite('hostile mails');
const server = await MailServer.open();
const transport = nodemailer.createTransport({ host: '127.0.0.1', port: server.port, pool: true });
const coordinator = new TransactionCoordinator();
const mail = register(new MailSession(transport, { from: 'shop@example.org' }), { coordinator });

test.after.each(() => server.reset());
test.after(async () => {
  transport.close();
  await server.die();
});

/** The lines of the header of a mail, unfolded. */
function headers(source: string): string[] {
  return source
    .split(/\r?\n\r?\n/, 1)[0]!
    .replaceAll(/\r?\n[ \t]+/g, ' ')
    .split(/\r?\n/);
}

const INJECTED = [
  '\r\nBcc: evil@example.org',
  '\nBcc: evil@example.org',
  '\rBcc: evil@example.org',
  '\r\n\r\nforged body',
  '\r\n.\r\nRCPT TO:<evil@example.org>',
];

test('a subject, a name or a header with line breaks adds no header and no recipient', async () => {
  for (const text of [...INJECTED, TERMINAL]) {
    await coordinator.run(() => {
      mail.send({
        to: { name: `Alice${text}`, address: 'alice@example.org' },
        from: { name: `Shop${text}`, address: 'shop@example.org' },
        subject: `order${text}`,
        text,
        headers: { 'X-Order': `1${text}` },
      });
    });
    const [received] = server.received.splice(0);
    assert.equal(received!.to, ['alice@example.org']);
    assert.equal(
      headers(received!.source).filter((line) => /^(bcc|forged|rcpt)/i.test(line)),
      [],
      JSON.stringify(text),
    );
  }
});

test('an address with line breaks is refused, and one in an object is one', async () => {
  for (const text of INJECTED) {
    for (const to of [`alice@example.org${text}`, { name: 'Alice', address: `alice@example.org${text}` }]) {
      const send = coordinator.run(() => mail.send({ to, subject: '1' }));
      const refused = await assert.rejects(send, ConfigurationError, JSON.stringify(to));
      assert.not.match(refused.message, UNPRINTABLE);
    }
  }
  // Lists may be written in several lines.
  await coordinator.run(() => mail.send({ to: 'alice@example.org,\r\n bob@example.org', subject: '1' }));
  assert.equal(server.received.splice(0)[0]!.to, ['alice@example.org', 'bob@example.org']);
  for (const address of [
    'alice@example.org, evil@example.org',
    'alice@example.org> <evil@example.org',
    'alice@example.org evil@example.org',
  ]) {
    await coordinator.run(() => mail.send({ to: { name: 'Alice', address }, subject: '1' })).catch(() => undefined);
    for (const { to } of server.received.splice(0)) assert.not.ok(to.includes('evil@example.org'), address);
  }
});

test('a Message-ID is a plain one, whatever the domain of the session or the sender is', async () => {
  for (const text of [...INJECTED, TERMINAL, '<>"@ ', '\u0000', '😀']) {
    const odd = register(new MailSession(transport, { domain: `example.org${text}`, from: 'shop@example.org' }), {
      coordinator,
    });
    const id = await coordinator.run(() => odd.send({ to: 'alice@example.org', subject: '1' }));
    assert.match(id, /^<[\w-]+\.\d+@[a-z0-9.-]+>$/, JSON.stringify(text));
    assert.equal(server.received.splice(0)[0]!.to, ['alice@example.org']);
  }
});

test('what is refused as an address is told in one line', async () => {
  for (const to of [
    TERMINAL,
    'a\nb',
    '',
    ' ',
    [],
    {},
    { address: TERMINAL },
    [null],
    7,
    { address: { toString: () => 'a@b' } },
  ]) {
    const refused = await assert.rejects(
      coordinator.run(() => mail.send({ to: to as string, subject: '1' })),
      ConfigurationError,
    );
    assert.not.match(refused.message, UNPRINTABLE);
  }
});

test('a stored mail that somebody has changed in the table has no file and no address read', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'unanimous-mail-'));
  const secret = join(folder, 'secret');
  await writeFile(secret, 'only this process may read it');
  const message = (fields: object): Parameters<typeof mail.deliver>[0] => ({
    gid: 'shop:s:abc:1',
    sequence: 1,
    target: 'mail',
    payload: JSON.stringify({
      to: 'alice@example.org',
      from: 'shop@example.org',
      messageId: '<1@example.org>',
      ...fields,
    }),
    attempts: 0,
    isDead: false,
    createdAt: new Date(),
  });
  try {
    const changed: object[] = [
      { text: { path: secret } },
      { html: { path: `file://${secret}` } },
      { attachments: [{ path: secret }] },
      { attachments: [{ href: 'http://127.0.0.1:1/secret' }] },
      { raw: { path: secret } },
      { alternatives: [{ contentType: 'text/plain', path: secret }] },
      { attachments: [{ path: secret }], disableFileAccess: false },
    ];
    for (const fields of changed) await assert.rejects(mail.deliver(message(fields)), Error, JSON.stringify(fields));
    assert.equal(server.received, []);
    await mail.deliver(
      message({ text: 'as it was stored', attachments: [{ filename: 'a', content: { base64: 'Yg==' } }] }),
    );
    assert.match(server.received[0]!.source, 'as it was stored');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a stored mail sets no prototype', async () => {
  const sent: unknown[] = [];
  const spy = new MailSession({ sendMail: async (fields) => void sent.push(fields) }, { from: 'shop@example.org' });
  const payload = '{"to":"alice@example.org","__proto__":{"polluted":true},"headers":{"__proto__":{"polluted":true}}}';
  await spy.deliver({
    gid: 'shop:s:abc:1',
    sequence: 1,
    target: 'mail',
    payload,
    attempts: 0,
    isDead: false,
    createdAt: new Date(),
  });
  const fields = sent[0] as { polluted?: unknown; headers: { polluted?: unknown } };
  assert.is(({} as { polluted?: unknown }).polluted, undefined);
  assert.is(fields.headers.polluted, undefined);
  assert.is(fields.polluted, undefined);
});
