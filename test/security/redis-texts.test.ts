// Protects Redis from keys and values: whatever is in them, they are arguments of one command, stored as they are, and a message of the outbox
// brings them back as they were.
import { Redis } from 'ioredis';
import { TransactionCoordinator, register } from 'unanimous';
import { RedisSession } from 'unanimous/redis';
import { redis } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { QUOTED } from './hostile-texts.ts';

const test = suite('hostile texts in Redis');
const server = await redis();
const prefix = `security-${process.pid}-\r\n{`;
const admin = new Redis(server.url);
const client = new Redis(server.url, { lazyConnect: true, keyPrefix: prefix });
const coordinator = new TransactionCoordinator();
const cache = register(new RedisSession(client, { name: '__proto__' }), { coordinator });
const TEXTS = [
  ...QUOTED,
  '\r\n*1\r\n$8\r\nFLUSHALL\r\n',
  '$-1\r\n',
  '{a}{b}',
  '{}',
  '{',
  '}',
  '\0',
  '\0\r\n\0',
  'x'.repeat(1 << 20),
];

test.after(async () => {
  const keys = await admin.keys(`security-${process.pid}-*`);
  if (keys.length > 0) await admin.del(...keys);
  await cache.close();
  admin.disconnect();
  client.disconnect();
});

test('keys and values of any text are stored as they are, and read in the same transaction', async () => {
  await admin.set(`security-${process.pid}-witness`, 'here');
  for (const text of TEXTS) {
    await coordinator.run(async () => {
      void cache.set(text, text);
      void cache.hset(`h${text}`, text, text);
    });
    assert.is(await coordinator.run(() => cache.get(text)), text);
    assert.is(await admin.get(`${prefix}${text}`), text);
    assert.equal(Object.entries(await admin.hgetall(`${prefix}h${text}`)), [[text, text]]);
  }
  assert.is(await admin.get(`security-${process.pid}-witness`), 'here');
});

test('bytes that are no text are stored as they are', async () => {
  const bytes = Buffer.from([0, 255, 13, 10, 0xc3, 0x28, 0xed, 0xa0, 0x80]);
  await coordinator.run(() => void cache.set(bytes, bytes));
  assert.equal(await admin.getBuffer(Buffer.concat([Buffer.from(prefix), bytes])), bytes);
});

test('what a message holds is applied as it was meant, once', async () => {
  const commands = TEXTS.map((text) => ['set', `${prefix}${text}`, `again ${text}`]);
  const message = {
    gid: `shop:s:${process.pid}:1`,
    sequence: 1,
    target: cache.name,
    payload: JSON.stringify({ commands }),
    attempts: 0,
    isDead: false,
    createdAt: new Date(),
  };
  const target = cache as unknown as { deliver(each: typeof message): Promise<void> };
  await target.deliver(message);
  for (const text of TEXTS) assert.is(await admin.get(`${prefix}${text}`), `again ${text}`);
  await admin.set(`${prefix}once`, 'kept');
  await target.deliver({ ...message, payload: JSON.stringify({ commands: [['set', `${prefix}once`, 'twice']] }) });
  assert.is(await admin.get(`${prefix}once`), 'kept');
});
