// Protects a Redis session in what seldom happens: connections that are lost or closed while they are opened, servers that keep or allow less
// than usual, and clients whose commands somebody else looks at.
import { Redis } from 'ioredis';
import { ConnectionLostError, TransactionClosed, TransactionError, transaction } from 'unanimous';
import type { RedisSession } from 'unanimous/redis';
import { RedisConnection } from '../../../datamanagers/redis/connection.ts';
import { CONNECTION_OPTIONS, type NodeClient } from '../../../datamanagers/redis/driver.ts';
import { isDemotion } from '../../../datamanagers/redis/errors.ts';
import { CommandMaker } from '../../../datamanagers/redis/maker.ts';
import { type Write, settle } from '../../../datamanagers/redis/outcome.ts';
import { assert, suite } from '../../support/suite.ts';
import { Store, onText, rejection } from './setup.ts';

const test = suite('what seldom happens to a Redis session', { timeoutMs: 60_000 });
const timeouts = { endTimeoutMs: 20_000, resolveTimeoutMs: 10_000, acquireTimeoutMs: 10_000 };
const store = await Store.open(timeouts);
const { session, admin, proxy } = store;
let users = 0;

test.before.each(() => admin.flushall());
test.after.each(async () => {
  proxy.onClientData = undefined;
  proxy.onServerData = undefined;
  proxy.refuse = false;
  proxy.release();
  await store.assertClean();
});
test.after(() => store.close());

/** A session of its own of a user who may do what `rights` leave. */
async function limited(...rights: string[]): Promise<RedisSession> {
  const name = `limited${++users}`;
  await admin.call('ACL', 'SETUSER', name, 'on', '>secret', '~*', '&*', '+@all', ...rights);
  return store.another({ name, client: { username: name, password: 'secret' }, ...timeouts });
}

/** What the process was warned of meanwhile. */
async function warningsOf(work: () => Promise<unknown>): Promise<string[]> {
  const warnings: string[] = [];
  const listen = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', listen);
  await work();
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', listen);
  return warnings;
}

test('where MULTI and every command are refused nothing was applied, and the error is that of MULTI', async () => {
  const own = await limited();
  await own.check();
  await admin.call('ACL', 'SETUSER', own.name, '-multi', '-incr', '-set');
  const error = await rejection(transaction.run(() => own.incr('n'), { attempts: 1 }));
  assert.match(error.message, /NOPERM.*multi/);
  assert.equal(await store.contents(), {});
  await own.close();
});

test('where MULTI is refused and the replies behind that are lost, the token says that the commands were applied', async () => {
  const own = await limited();
  await own.check();
  await admin.call('ACL', 'SETUSER', own.name, '-multi');
  onText(proxy, 'unanimous:token', (link) => {
    proxy.onServerData = (data, replying) => {
      if (replying !== link) return undefined;
      proxy.onServerData = undefined;
      link.client.write(data.subarray(0, data.indexOf('\r\n') + 2));
      // Whoever asks for the token connects anew, which takes MULTI.
      void admin.call('ACL', 'SETUSER', own.name, '+multi').then(() => link.cut());
      return false;
    };
  });
  const written = await transaction.run(() => own.incr('n'), { attempts: 1 });
  assert.match((await rejection(written.result)).message, /its token says that it was run/);
  assert.equal(await store.contents(), { n: '1' });
  await own.close();
});

test('a read that waits for its connection is not sent once its transaction has ended', async () => {
  const own = store.another({ name: 'own', ...timeouts });
  await admin.call('CONFIG', 'RESETSTAT');
  proxy.hold();
  const txn = await transaction.begin();
  const read = rejection(own.get('k'));
  await txn.abort();
  assert.instance(await read, TransactionClosed);
  proxy.release();
  await transaction.run(() => own.strlen('k'));
  const stats = await admin.info('commandstats');
  assert.match(stats, /cmdstat_strlen:calls=1,/);
  assert.not.match(stats, /cmdstat_get:/);
  await own.close();
});

test('a session that is closed while it connects leaves no connection behind', async () => {
  const before = (await store.connections()).length;
  const own = store.another({ name: 'own', ...timeouts });
  proxy.hold();
  const read = rejection(transaction.run(() => own.get('k'), { attempts: 1 }));
  await own.close();
  proxy.release();
  assert.match((await read).message, /'own'/);
  await assert.eventually(async () => assert.is((await store.connections()).length, before));
});

test('a session that is closed tells those who wait for a connection to watch over', async () => {
  const own = store.another({ name: 'own', maxWatching: 1, ...timeouts });
  const first = await transaction.begin();
  await own.watch('a');
  const waiting = transaction.context(() => transaction.run(() => own.watch('b'), { attempts: 1 }));
  const told = rejection(waiting);
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  await own.close();
  const error = await told;
  assert.instance(error, TransactionError);
  assert.match(error.message, /the session 'own' was closed/);
  await first.abort();
});

test('a connection that can not be made to forget what it watches is given up, and the next one takes its place', async () => {
  const own = store.another({ name: 'own', maxWatching: 1, endTimeoutMs: 200, resolveTimeoutMs: 200 });
  await transaction.run(() => own.get('k'));
  const txn = await transaction.begin();
  await own.watch('w');
  onText(proxy, 'unwatch', () => false);
  await txn.abort();
  await admin.set('w', 'changed');
  await transaction.run(async () => {
    await own.watch('v');
    own.set('n', '1');
  });
  assert.equal(await store.contents(), { n: '1', w: 'changed' });
  await own.close();
});

test('a connection that is lost while it is asked who it is was never there', async () => {
  const own = store.another({ name: 'own', ...timeouts });
  onText(proxy, 'multi', (link) => {
    link.cut();
    return false;
  });
  await assert.rejects(
    transaction.run(() => own.get('k'), { attempts: 1 }),
    ConnectionLostError,
  );
  assert.is(await transaction.run(() => own.get('k')), null);
  await own.close();
});

test('a user who may not ask for the id of a connection commits all the same', async () => {
  const own = await limited('-client|id');
  await transaction.run(() => own.incr('n'));
  assert.equal(await store.contents(), { n: '1' });
  await own.close();
});

test('check() warns of what the user may not do: INFO, or CLIENT KILL', async () => {
  for (const [right, named] of [
    ['-info', 'INFO'],
    ['-client|kill', 'CLIENT KILL'],
  ] as const) {
    const name = `limited${++users}`;
    await admin.call('ACL', 'SETUSER', name, 'on', '>secret', '~*', '+@all', right);
    const client = { username: name, password: 'secret', enableReadyCheck: false };
    const own = store.another({ name, client, ...timeouts });
    const warnings = await warningsOf(() => own.check());
    assert.is(warnings.length, 1);
    assert.match(warnings[0]!, new RegExp(`the user of '${name}' may not use ${named}: `));
    await own.close();
  }
});

test('check() passes on what passes by itself, and what is lost, as it is: neither is a mistake of configuration', async () => {
  await admin.config('SET', 'min-replicas-to-write', '1');
  try {
    assert.match((await rejection(session.check())).message, /^NOREPLICAS|: NOREPLICAS/);
  } finally {
    await admin.config('SET', 'min-replicas-to-write', '0');
  }
  onText(proxy, 'replication', (link) => {
    link.cut();
    return false;
  });
  assert.instance(await rejection(session.check()), ConnectionLostError);
  await session.check();
});

test('what the server keeps on disk, and what nobody may ask, is not warned of', async () => {
  await transaction.run(() => session.get('k'));
  const kinds = async (own: RedisSession): Promise<string[]> => (await own.warnings()).map(({ kind }) => kind);
  const original = (await admin.config('GET', 'save')) as string[];
  try {
    await admin.config('SET', 'save', '');
    assert.equal(await kinds(session), ['no-persistence']);
    const own = await limited('-config|get');
    assert.equal(await kinds(own), []);
    await own.close();
    await admin.config('SET', 'save', '3600 1');
    assert.equal(await kinds(session), []);
    await admin.config('SET', 'save', '');
    await admin.config('SET', 'appendonly', 'yes');
    assert.equal(await kinds(session), []);
  } finally {
    await admin.config('SET', 'appendonly', 'no');
    await admin.config('SET', 'save', original[1]!);
  }
});

test('a key prefix of bytes is before the token too', async () => {
  const prefix = Buffer.from([0xff, 0x3a]);
  const own = store.another({ name: 'own', client: { keyPrefix: prefix as unknown as string }, ...timeouts });
  await transaction.run(() => own.set('k', '1'));
  const keys = await admin.keysBuffer('*');
  assert.is(keys.length, 2);
  assert.ok(keys.every((key) => key.subarray(0, 2).equals(prefix)));
  assert.ok(keys.some((key) => key.includes('unanimous:token:')));
  await own.close();
});

test('what is longer than a text may be is sent as a whole', async () => {
  const part = 'x'.repeat(2 ** 25);
  await transaction.run(() => {
    session.append('long', part);
    session.append('long', `${part}y`);
    session.append('long', Buffer.from('z'));
  });
  assert.is(await admin.strlen('long'), 2 ** 26 + 2);
  await transaction.run(() => {
    session.set('a', part);
    session.set('b', `${part}y`);
  });
  assert.is((await admin.strlen('a')) + (await admin.strlen('b')), 2 ** 26 + 1);
});

test('who joins as changed commits, and a command that lacks its only argument is told so', async () => {
  await admin.set('w', '1');
  const done = transaction.run(
    async () => {
      session.joinTransaction({ initialState: 'changed' });
      await session.watch('w');
      await admin.set('w', '2');
    },
    { attempts: 1 },
  );
  await assert.rejects(done, { code: 'ERR_TXN_WATCH_CONFLICT' });
  const error = await rejection(transaction.run(() => session.call('del')));
  assert.match(error.message, /del takes at least 1 argument; /);
});

test('where somebody traces commands, what fails is told once, to whoever asked', async () => {
  const { sendCommand } = Redis.prototype;
  const unhandled: unknown[] = [];
  const listen = (reason: unknown): void => void unhandled.push(reason);
  process.prependListener('unhandledRejection', listen);
  // As instrumentations do: another promise of the same command.
  Redis.prototype.sendCommand = function (this: Redis, ...args: Parameters<typeof sendCommand>) {
    const sent = sendCommand.apply(this, args);
    return sent instanceof Promise ? sent.then((value: unknown) => value) : sent;
  };
  try {
    await admin.rpush('list', 'a');
    const own = store.another({ name: 'own', ...timeouts });
    await transaction.run(async () => {
      assert.match((await rejection(own.get('list'))).message, /WRONGTYPE/);
      own.incr('n');
    });
    await own.close();
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    Redis.prototype.sendCommand = sendCommand;
    process.off('unhandledRejection', listen);
  }
  assert.equal(unhandled, []);
  assert.is(await admin.get('n'), '1');
});

test('a reply is read by the protocol that it came by, before whoever waits gets it', () => {
  const calls: unknown[] = [];
  const command = {
    setReplyContext: (context: unknown) => calls.push(['context', context]),
    resolve: (value: unknown) => calls.push(['resolve', value]),
  } as unknown as Write['command'];
  const write: Write = { name: 'incr', command, wire: { name: 'incr', args: ['n'] }, keys: ['n'] };
  assert.is(settle('own', 'id', [write], { values: [1], context: 'RESP3' }), undefined);
  assert.equal(calls, [
    ['context', 'RESP3'],
    ['resolve', 1],
  ]);
});

test('only what a server says makes it another one', () => {
  assert.not.ok(isDemotion(new Error('Connection is closed.')));
  assert.ok(isDemotion(new Error("READONLY You can't write against a read only replica.")));
});

test('why a connection was given up is told as it was, where that was a lost connection already', async () => {
  const maker = new CommandMaker(store.client);
  const duplicate = (): NodeClient => store.client.duplicate(CONNECTION_OPTIONS) as unknown as NodeClient;
  const setup = { name: 'own', maker, acquireTimeoutMs: 5_000, isCluster: false };
  const connection = await RedisConnection.open(duplicate, setup);
  const reason = new ConnectionLostError('given up');
  connection.cut(reason);
  assert.is(await rejection(connection.send(maker.plain('get', 'k'), 1_000)), reason);
});
