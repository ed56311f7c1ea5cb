// Protects writes that are stored with a decision in what seldom happens to them: bytes that are no text, commands that fail, others that
// wait behind them, and decisions whose outcome isn't known.
import { Redis } from 'ioredis';
import { TransactionCoordinator, register, type StoredMessage } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText as onTextToPg } from '../pg/setup.ts';
import { Store, onText, rejection } from './setup.ts';

const test = suite('stored writes of Redis', { timeoutMs: 60_000 });
const coordinator = new TransactionCoordinator({ onError: () => undefined });
const db = await Database.open(await postgres(), { name: 'bank', register: { coordinator }, endTimeoutMs: 3_000 });
const store = await Store.open({ name: 'cache', register: { coordinator }, endTimeoutMs: 3_000 });
const { session: redis, admin, proxy } = store;
const log = new PgDecisionLog(db.session, { timeoutMs: 2_000 });
coordinator.configure({ decisionLog: log });

const TOKEN = 'unanimous:token:';
const debit = (): Promise<unknown> => db.session.query('update accounts set balance = balance - 10 where id = 1');

test.before.each(async () => {
  // Whatever an earlier test has left to recovery.
  await recovered();
  await db.reset();
  await admin.flushall();
});
test.after.each(async () => {
  proxy.onClientData = undefined;
  proxy.onServerData = undefined;
  await db.assertClean();
  await store.assertClean();
});
test.after(async () => {
  await coordinator.close();
  await store.close();
  await db.close();
});

/** Recovers until nothing is left to deliver. */
async function recovered(): Promise<void> {
  await assert.eventually(
    async () => {
      await coordinator.recover();
      assert.equal(await log.outbox.list(10), []);
    },
    20_000,
    200,
  );
}

/** Another process's session, which doesn't go by the proxy. */
async function elsewhere(work: (session: RedisSession) => Promise<unknown>): Promise<void> {
  const client = new Redis(store.server.port, { lazyConnect: true });
  const session = register(new RedisSession(client, { name: 'cache' }), { coordinator: new TransactionCoordinator() });
  await work(session);
  await session.close();
}

/** What is stored last, as another process would be handed it. */
async function stored(): Promise<StoredMessage> {
  const message = (await log.outbox.list(10)).at(-1);
  assert.ok(message !== undefined);
  return message;
}

test('bytes that are no text are delivered as they were written, also by another process', async () => {
  const key = Buffer.from([0xff, 0x00, 0x7b, 0x0d, 0x0a]);
  const value = Buffer.from([0xfe, 0x80, 0x00]);
  let message: StoredMessage | undefined;
  onText(proxy, TOKEN, () => {
    proxy.hold();
    void stored()
      .then(async (found) => {
        message = found;
        await elsewhere((session) => session.deliver(found));
        assert.equal(await admin.getBuffer(key), value);
      })
      .finally(() => proxy.release());
  });
  await coordinator.run(async () => {
    await debit();
    redis.set(key, value);
  });
  await assert.eventually(() => message !== undefined);
  assert.equal(await admin.getBuffer(key), value);
});

test('another process that delivers what fails in part says so once, and applies nothing twice', async () => {
  await admin.rpush('list', 'a');
  const message: StoredMessage = {
    target: 'cache',
    payload: JSON.stringify({
      commands: [
        ['incr', 'n'],
        ['incr', 'list'],
      ],
      key: 'n',
    }),
    gid: 'partly',
    sequence: 1,
    attempts: 0,
    isDead: false,
    createdAt: new Date(),
  };
  await elsewhere(async (session) => {
    assert.match((await rejection(session.deliver(message))).message, /WRONGTYPE/);
    await session.deliver(message);
  });
  assert.is(await admin.get('n'), '1');
});

test('what is stored behind a delivery that has failed is told so at once, and applied behind it', async () => {
  onText(proxy, TOKEN, () => false);
  const first = await coordinator.run(async () => {
    await debit();
    return redis.rpush('list', 'first');
  });
  assert.instance(await rejection(first.result), Error);
  const second = await coordinator.run(async () => {
    await debit();
    return redis.rpush('list', 'second');
  });
  assert.match((await rejection(second.result)).message, /are delivered in order; one before those of transaction/);
  assert.equal(await admin.lrange('list', 0, -1), []);
  await recovered();
  assert.equal(await admin.lrange('list', 0, -1), ['first', 'second']);
  assert.is(await db.balance(1), 80);
});

test('a session that is told of writes which it has not stored leaves its own alone', async () => {
  const written = await coordinator.run(async (txn) => {
    await debit();
    txn.addBeforeCommitHook(() => redis.postponed('somebody else’s', new Error('postponed')));
    return redis.incr('n');
  });
  assert.is(await written.result, 1);
});

test('what is watched can not be stored, as only its EXEC could check it: such a transaction is refused', async () => {
  await admin.set('w', '1');
  const done = coordinator.run(async () => {
    await debit();
    await redis.watch('w');
    redis.incr('n');
  });
  assert.match((await rejection(done)).message, /needs all of them .* to prepare, and ~redis:cache can't/);
  assert.is(await admin.get('n'), null);
  assert.is(await db.balance(1), 100);
});

test('where it is not known whether the decision was stored, nobody is told that nothing was committed', async () => {
  let answer: Promise<unknown> | undefined;
  const done = coordinator.run(
    async (txn) => {
      await debit();
      answer = redis.incr('n').result.catch((error: Error) => error);
      onTextToPg(db.proxy, txn.id, () => {
        db.proxy.refuse = true;
        db.proxy.dropReplies();
      });
    },
    { attempts: 1 },
  );
  const error = await rejection(done);
  assert.match(error.message, /lost/);
  const said = String(await answer);
  assert.is(await admin.get('n'), null);
  await db.cut();
  db.proxy.refuse = false;
  await recovered();
  assert.is(await admin.get('n'), '1');
  assert.is(await db.balance(1), 90);
  assert.match(said, /whether transaction .* was committed is not known, so this one at 'cache' may still be applied/);
});
