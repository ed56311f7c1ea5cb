import { Redis } from 'ioredis';
import { ConfigurationError, HeuristicError, TransactionError, transaction } from 'unanimous';
import { PartlyAppliedError, RedisSession } from 'unanimous/redis';
import { isDemotion, isPassing, isReply, replyCode } from '../../../datamanagers/redis/errors.ts';
import { assert, suite } from '../../support/suite.ts';
import { Store, onText, rejection, says } from './setup.ts';

const test = suite('errors of a Redis session');
const store = await Store.open();
const { session, admin } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());
test.after.each(() => store.assertClean());

test('where some commands were applied and others failed, the error says which, and nothing is tried again', async () => {
  await admin.set('text', 'x');
  let attempts = 0;
  let result!: Promise<unknown>;
  const error = await rejection<PartlyAppliedError>(
    transaction.run(() => {
      attempts++;
      result = session.set('a', '1').result;
      session.lpush('text', 'y');
      session.incr('text');
      session.mset({ b: '1', c: '1' });
    }),
  );
  assert.is(attempts, 1);
  assert.instance(error, PartlyAppliedError);
  assert.instance(error, HeuristicError);
  assert.is(error.code, 'ERR_TXN_HEURISTIC');
  assert.equal(error.applied, [
    { command: 'set', keys: ['a'] },
    { command: 'mset', keys: ['b', 'c'] },
  ]);
  assert.equal(
    error.failed.map(({ command, keys }) => [command, ...keys]),
    [
      ['lpush', 'text'],
      ['incr', 'text'],
    ],
  );
  assert.match(error.failed[0]!.error!.message, /WRONGTYPE/);
  assert.match(
    error.message,
    /lpush text \(WRONGTYPE .*\), incr text \(ERR value is not an integer.*\) failed, set a, mset b c stays applied/,
  );
  assert.is(error.cause, error.failed[0]!.error);
  assert.is(await rejection(result), error);
  assert.equal(await store.contents(), { a: '1', b: '1', c: '1', text: 'x' });
});

test('an error that passes, inside of EXEC, is not tried again either', async () => {
  let attempts = 0;
  const error = await rejection(
    transaction.run(() => {
      attempts++;
      session.incr('n');
      session.eval("return redis.error_reply('TRYAGAIN later')", 0);
    }),
  );
  assert.instance(error, PartlyAppliedError);
  assert.is(attempts, 1);
  assert.equal(await store.contents(), { n: '1' });
});

test('where every command failed nothing was applied, and the error is that of the first', async () => {
  await admin.set('text', 'x');
  const error = await rejection(
    transaction.run(() => {
      session.lpush('text', 'y');
      session.sadd('text', 'y');
    }),
  );
  assert.not.instance(error, TransactionError);
  assert.match(error.message, /WRONGTYPE/);
  assert.equal((error as { command?: unknown }).command, { name: 'lpush', args: ['text', 'y'] });
  assert.equal(await store.contents(), { text: 'x' });
});

test('a script that failed may have written before', async () => {
  const error = await rejection<PartlyAppliedError>(
    transaction.run(() =>
      session.eval("redis.call('set', KEYS[1], '1') return redis.call('lpush', KEYS[1], '2')", 1, 'k'),
    ),
  );
  assert.instance(error, PartlyAppliedError);
  assert.equal(error.applied, []);
  assert.is(error.failed.length, 1);
  assert.match(error.message, /eval k \(.*\) failed \(a script may have written before\), nothing stays applied/);
  assert.equal(await store.contents(), { k: '1' });
});

test('many commands are not all named in the message', async () => {
  await admin.set('text', 'x');
  const error = await rejection<PartlyAppliedError>(
    transaction.run(() => {
      for (let index = 0; index < 30; index++) session.set(`k${index}`, '1');
      session.lpush('text', 'y');
    }),
  );
  assert.is(error.applied.length, 30);
  assert.match(error.message, /set k9 and 20 more stays applied/);
});

test('what the server refuses before EXEC fails the commit with its error, and nothing is applied', async () => {
  let result!: Promise<unknown>;
  const error = await rejection(
    transaction.run(() => {
      result = session.set('a', '1').result;
      session.call('SET', 'b', '1', 'NONSENSE', '2', '3');
      session.call('GETRANGE.X', 'b');
    }),
  );
  assert.match(error.message, /ERR unknown command 'GETRANGE.X'/);
  assert.is(await rejection(result), error);
  assert.equal(await store.contents(), {});
});

test('a server without memory refuses, and nothing is applied', async () => {
  const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))![1]);
  await admin.config('SET', 'maxmemory', used);
  try {
    const error = await rejection(
      transaction.run(() => {
        session.del('a');
        session.set('b', 'x'.repeat(100_000));
      }),
    );
    assert.match(error.message, /OOM/);
    assert.equal(await store.contents(), {});
  } finally {
    await admin.config('SET', 'maxmemory', 0);
  }
});

test('a user that may not write a key is told so, and nothing is applied', async () => {
  await admin.call('ACL', 'SETUSER', 'limited', 'on', '>secret', '~allowed*', '~unanimous:*', '+@all');
  const limited = store.another({ name: 'limited', client: { username: 'limited', password: 'secret' } });
  const error = await rejection(
    transaction.run(() => {
      limited.set('allowed', '1');
      limited.set('forbidden', '1');
    }),
  );
  assert.match(error.message, /NOPERM/);
  assert.equal(await store.contents(), {});
  await transaction.run(() => void limited.set('allowed', '1'));
  assert.equal(await store.contents(), { allowed: '1' });
  await limited.close();
});

test('a user that may not use MULTI is refused at once, for its writes would be applied one by one (pitfall 13)', async () => {
  await admin.call('ACL', 'SETUSER', 'loose', 'on', '>secret', '~*', '+@all', '-multi');
  const loose = store.another({ name: 'loose', client: { username: 'loose', password: 'secret' } });
  const error = await rejection(
    transaction.run(() => {
      loose.set('a', '1');
    }),
  );
  assert.instance(error, ConfigurationError);
  assert.match(error.message, /the user of 'loose' must be allowed MULTI and EXEC/);
  assert.equal(await store.contents(), {});
  await loose.close();
});

test('where the right to MULTI is taken away later, what was applied all the same is told', async () => {
  await admin.call('ACL', 'SETUSER', 'loose', 'on', '>secret', '~*', '+@all');
  const loose = store.another({ name: 'loose', client: { username: 'loose', password: 'secret' } });
  await transaction.run(() => loose.get('a'));
  await admin.call('ACL', 'SETUSER', 'loose', '-multi', '-append');
  const error = await rejection<PartlyAppliedError>(
    transaction.run(() => {
      loose.set('a', '1');
      loose.append('a', '2');
    }),
  );
  assert.instance(error, PartlyAppliedError);
  assert.match(
    error.message,
    /the server refused MULTI \(NOPERM.*\) and took the commands one by one.*append a \(.*\) failed, set a stays applied/,
  );
  assert.equal(await store.contents(), { a: '1' });
  await loose.close();
});

test('a server that cannot be reached is told as a lost connection, to be tried again', async () => {
  const nobody = new Redis(1, { lazyConnect: true });
  const unreachable = new RedisSession(nobody, { name: 'unreachable', acquireTimeoutMs: 500 });
  let attempts = 0;
  const write = transaction.run(
    () => {
      attempts++;
      unreachable.set('k', '1');
    },
    { attempts: 2, backoff: false },
  );
  assert.match(
    (await rejection(write)).message,
    /'unreachable' could not be reached \(connect ECONNREFUSED .*\), and nothing was sent/,
  );
  assert.is(attempts, 2);
  await assert.rejects(
    transaction.run(() => unreachable.get('k'), { attempts: 1 }),
    { code: 'ERR_TXN_CONNECTION_LOST' },
  );
  await assert.rejects(unreachable.check(), { code: 'ERR_TXN_CONNECTION_LOST' });
});

test('a wrong password is told, and not tried again', async () => {
  const wrong = store.another({ name: 'wrong', client: { username: 'nobody', password: 'x' } });
  let attempts = 0;
  const error = await rejection(
    transaction.run(() => {
      attempts++;
      return wrong.get('k');
    }),
  );
  assert.match(error.message, /^WRONGPASS/);
  assert.is(attempts, 1);
});

test('a server that accepts and says nothing is given up in time', async () => {
  store.proxy.onServerData = () => false;
  const mute = store.another({ name: 'mute', acquireTimeoutMs: 200 });
  await assert.rejects(
    transaction.run(() => mute.get('k'), { attempts: 1 }),
    says(/'mute' could not be reached \(it did not answer within 200 ms\)/),
  );
  store.proxy.onServerData = undefined;
  await mute.close();
});

test('a read that is not answered is given up in time, and its connection with it', async () => {
  const slow = store.another({ name: 'slow', readTimeoutMs: 150 });
  await transaction.run(() => slow.get('k'));
  onText(store.proxy, 'get', () => false);
  const error = await rejection(transaction.run(() => slow.get('k'), { attempts: 1 }));
  assert.is((error as { code?: string }).code, 'ERR_TXN_CONNECTION_LOST');
  assert.match(error.message, /no answer came within 150 ms/);
  assert.is(await transaction.run(() => slow.get('k')), null);
  await slow.close();
});

test("a read is bounded by the client's commandTimeout, where it has one", async () => {
  const slow = store.another({ name: 'slow', client: { commandTimeout: 120 } });
  await transaction.run(() => slow.get('k'));
  onText(store.proxy, 'get', () => false);
  await assert.rejects(
    transaction.run(() => slow.get('k'), { attempts: 1 }),
    says(/no answer came within 120 ms/),
  );
  await slow.close();
});

test('errors of the server are told from those of the connection, and those that pass from those that do not', () => {
  const reply = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError' });
  for (const message of [
    'LOADING Redis is loading the dataset in memory',
    "READONLY You can't write against a read only replica.",
    'EXECABORT Transaction discarded because of: READONLY You cannot',
    'TRYAGAIN Multiple keys request during rehashing of slot',
    'CLUSTERDOWN The cluster is down',
    'MASTERDOWN Link with MASTER is down',
    'NOREPLICAS Not enough good replicas to write.',
    'BUSY Redis is busy running a script.',
    'MOVED 1 127.0.0.1:7000',
  ]) {
    assert.ok(isPassing(reply(message)), message);
    assert.ok(isReply(new Error(message)), message);
  }
  for (const message of [
    'WRONGTYPE Operation',
    'ERR syntax error',
    'NOPERM no',
    'EXECABORT Transaction discarded because of previous errors.',
    'OOM command not allowed',
    'connect ECONNREFUSED',
    'BUSYGROUP Consumer Group name already exists',
  ]) {
    assert.not.ok(isPassing(reply(message)), message);
  }
  for (const message of [
    'Connection is closed.',
    "Stream isn't writeable and enableOfflineQueue options is false",
    'connect ETIMEDOUT',
    'A connection was lost',
    '',
  ]) {
    assert.is(isReply(new Error(message)), false, message);
  }
  assert.is(replyCode(reply('my own error')), 'ERR');
  assert.is(replyCode('READONLY'), undefined);
  assert.ok(isDemotion(reply('EXECABORT Transaction discarded because of: READONLY no')));
});
