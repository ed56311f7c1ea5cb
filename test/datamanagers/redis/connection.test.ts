import { Redis } from 'ioredis';
import { ConnectionLostError } from 'unanimous';
import { apply } from '../../../datamanagers/redis/apply.ts';
import { RedisConnection } from '../../../datamanagers/redis/connection.ts';
import { CONNECTION_OPTIONS, type NodeClient } from '../../../datamanagers/redis/driver.ts';
import { CommandMaker } from '../../../datamanagers/redis/maker.ts';
import { type Moment, endingOf, now } from '../../../datamanagers/redis/resolve.ts';
import { StandaloneServer } from '../../../datamanagers/redis/standalone.ts';
import { ConnectionPool } from '../../../datamanagers/redis/pool.ts';
import { assert, suite } from '../../support/suite.ts';
import { Store, rejection } from './setup.ts';

const test = suite("a Redis session's connections");
const store = await Store.open();
const maker = new CommandMaker(store.client);
const opened: RedisConnection[] = [];
test.after(async () => {
  for (const each of opened) each.cut(new Error('the end'));
  await store.close();
});
test.before.each(() => store.admin.flushall());

async function open(): Promise<RedisConnection> {
  const duplicate = (): NodeClient => store.client.duplicate(CONNECTION_OPTIONS) as unknown as NodeClient;
  const setup = { name: 'own', maker, acquireTimeoutMs: 1_000, isCluster: false };
  const connection = await RedisConnection.open(duplicate, setup);
  opened.push(connection);
  return connection;
}

test('a connection knows who it is and who the server is', async () => {
  const connection = await open();
  assert.ok((await store.connections()).some(({ id }) => id === connection.id));
  assert.match(await store.admin.info('server'), `run_id:${connection.life}`);
});

test('what can not be sent as a whole is not begun: nobody completes it (pitfall 13)', async () => {
  const connection = await open();
  const broken = maker.raw({ name: 'set', args: ['k', undefined as unknown as string] });
  (broken.args as unknown[])[1] = undefined;
  const commands = [maker.raw({ name: 'multi', args: [] }), broken, maker.raw({ name: 'exec', args: [] })];
  const replies = await connection.exchange(commands, 1_000);
  assert.ok(replies.every(({ error }) => error instanceof TypeError));
  assert.ok(connection.lost);
  const later = maker.plain('set', 'l', '1');
  assert.instance(await rejection(connection.send(later, 1_000)), ConnectionLostError);
  assert.equal(await store.contents(), {});
});

test('a command on a lost connection fails at once, and is never sent again', async () => {
  const connection = await open();
  store.proxy.cut();
  await assert.eventually(() => connection.lost !== undefined);
  const incr = maker.plain('incr', 'n');
  const error = await rejection(connection.send(incr, 1_000));
  assert.instance(error, ConnectionLostError);
  const application = await apply(
    connection,
    maker,
    { commands: [{ name: 'incr', args: ['n'] }], token: undefined },
    1_000,
  );
  assert.is(application.kind, 'unsent');
  const next = await open();
  assert.is(await next.send(maker.plain('get', 'n'), 1_000), null);
});

test('a command whose reply is lost is not sent again, as ioredis does by default', async () => {
  const usual = new Redis(store.proxy.port);
  await usual.ping();
  const connection = await open();
  store.proxy.dropReplies();
  const twice = usual.incr('usual');
  const once = rejection(connection.send(maker.plain('incr', 'ours'), 5_000));
  await assert.eventually(
    async () => (await store.admin.get('ours')) === '1' && (await store.admin.get('usual')) === '1',
  );
  store.proxy.cut();
  assert.is(await twice, 2);
  assert.instance(await once, ConnectionLostError);
  assert.equal(await store.contents(), { ours: '1', usual: '2' });
  usual.disconnect();
});

test('a connection that is retired answers what is under way, takes nothing more, and is closed', async () => {
  const connection = await open();
  store.proxy.hold();
  const set = connection.send(maker.plain('set', 'k', '1'), 1_000);
  connection.retire(new Error('retired'), 1_000);
  const late = await apply(connection, maker, { commands: [], token: undefined }, 1_000);
  assert.is(late.kind, 'unsent');
  store.proxy.release();
  assert.is(await set, 'OK');
  await assert.eventually(async () => (await store.connections()).every(({ id }) => id !== connection.id));
});

test('a connection that is retired and not answered is cut', async () => {
  const connection = await open();
  store.proxy.hold();
  const lost = rejection(connection.send(maker.plain('get', 'k'), 5_000));
  connection.retire(new Error('retired'), 50);
  assert.instance(await lost, ConnectionLostError);
  store.proxy.release();
});

test('what was lost is never taken for what the server has refused, whatever the reason is called', async () => {
  const connection = await open();
  store.proxy.hold();
  const batch = { commands: [{ name: 'incr', args: ['n'] }], token: undefined };
  const applied = apply(connection, maker, batch, 5_000);
  connection.cut(new Error("READONLY You can't write against a read only replica."));
  assert.is((await applied).kind, 'lost');
  store.proxy.release();
});

test('a pool hands out what was given back, opens no more than it may, and drops what was lost', async () => {
  let count = 0;
  const pool = new ConnectionPool({
    name: 'own',
    open: () => {
      count++;
      return open();
    },
    clean: (connection) => connection.send(maker.plain('unwatch'), 1_000),
    max: 2,
    acquireTimeoutMs: 500,
  });
  const never = new Promise<never>(() => undefined);
  const [a, b] = await Promise.all([pool.take(never), pool.take(never)]);
  assert.is.not(a, b);
  const waiting = pool.take(never);
  pool.giveBack(a, true);
  assert.is(await waiting, a);
  assert.is(count, 2);
  a.cut(new Error('cut'));
  const replaced = pool.take(never);
  pool.giveBack(a, true);
  const c = await replaced;
  assert.is.not(c, a);
  assert.is(count, 3);
  pool.giveBack(b, false);
  pool.giveBack(c, false);
  pool.close();
  assert.ok(b.lost && c.lost);
});

test('a pool whose server can not be reached tells everybody, and recovers', async () => {
  let fails = true;
  const pool = new ConnectionPool({
    name: 'own',
    open: () => (fails ? Promise.reject(new ConnectionLostError('unreachable')) : open()),
    clean: () => Promise.resolve(),
    max: 1,
    acquireTimeoutMs: 500,
  });
  const never = new Promise<never>(() => undefined);
  const errors = await Promise.all([1, 2, 3].map(() => rejection(pool.take(never))));
  assert.ok(errors.every(({ message }) => message === 'unreachable'));
  fails = false;
  const connection = await pool.take(never);
  pool.giveBack(connection, false);
  pool.close();
});

test('an absent token means nothing once it may have expired, by whichever clock', async () => {
  const setup = {
    name: 'own',
    maker,
    isCluster: false,
    acquireTimeoutMs: 1_000,
    readTimeoutMs: 1_000,
    endTimeoutMs: 1_000,
    maxWatching: 1,
  };
  const servers = new StandaloneServer(store.client, setup);
  const node = servers.nodeOf();
  const ending = async (sent: Moment): Promise<string> => {
    const lost = await open();
    return endingOf({ servers, maker, node, lost, token: 'none', ttlMs: 10_000, sent, timeoutMs: 300 });
  };
  const { monotonicMs, wallMs } = now();
  assert.is(await ending({ monotonicMs, wallMs }), 'not applied');
  assert.is(await ending({ monotonicMs: monotonicMs - 6_000, wallMs }), 'unknown');
  assert.is(await ending({ monotonicMs, wallMs: wallMs - 6_000 }), 'unknown');
  servers.close();
});
