// Protects writes that are stored with a decision in what seldom happens to them: bytes that are no text, commands that fail, others that
// wait behind them, and decisions whose outcome isn't known.
import type { StoredMessage } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { onText as onTextToPg } from '../pg/setup.ts';
import { onText, rejection } from './setup.ts';
import { StoredWrites, TOKEN } from './stored-setup.ts';

const test = suite('stored writes of Redis', { timeoutMs: 60_000 });
const both = await StoredWrites.open(test, { endTimeoutMs: 3_000, logTimeoutMs: 2_000, onError: () => undefined });
const { coordinator, db, store } = both;
const { session: redis, admin, proxy } = store;

test.before.each(async () => {
  // Whatever an earlier test has left to recovery.
  await both.recovered();
  await db.reset();
  await admin.flushall();
});

test('bytes that are no text are delivered as they were written, also by another process', async () => {
  const key = Buffer.from([0xff, 0x00, 0x7b, 0x0d, 0x0a]);
  const value = Buffer.from([0xfe, 0x80, 0x00]);
  let message: StoredMessage | undefined;
  onText(proxy, TOKEN, () => {
    proxy.hold();
    void both
      .stored()
      .then(async (found) => {
        message = found;
        await both.elsewhere((session) => session.deliver(found));
        assert.equal(await admin.getBuffer(key), value);
      })
      .finally(() => proxy.release());
  });
  await coordinator.run(async () => {
    await both.debit();
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
  await both.elsewhere(async (session) => {
    assert.match((await rejection(session.deliver(message))).message, /WRONGTYPE/);
    await session.deliver(message);
  });
  assert.is(await admin.get('n'), '1');
});

test('what is stored behind a delivery that has failed is told so at once, and applied behind it', async () => {
  onText(proxy, TOKEN, () => false);
  const first = await coordinator.run(async () => {
    await both.debit();
    return redis.rpush('list', 'first');
  });
  assert.instance(await rejection(first.result), Error);
  const second = await coordinator.run(async () => {
    await both.debit();
    return redis.rpush('list', 'second');
  });
  assert.match((await rejection(second.result)).message, /are delivered in order; one before those of transaction/);
  assert.equal(await admin.lrange('list', 0, -1), []);
  await both.recovered();
  assert.equal(await admin.lrange('list', 0, -1), ['first', 'second']);
  assert.is(await db.balance(1), 80);
});

test('a session that is told of writes which it has not stored leaves its own alone', async () => {
  const written = await coordinator.run(async (txn) => {
    await both.debit();
    txn.addBeforeCommitHook(() => redis.postponed('somebody else’s', new Error('postponed')));
    return redis.incr('n');
  });
  assert.is(await written.result, 1);
});

test('what is watched can not be stored, as only its EXEC could check it: such a transaction is refused', async () => {
  await admin.set('w', '1');
  const done = coordinator.run(async () => {
    await both.debit();
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
      await both.debit();
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
  await both.recovered();
  assert.is(await admin.get('n'), '1');
  assert.is(await db.balance(1), 90);
  assert.match(said, /whether transaction .* was committed is not known, so this one at 'cache' may still be applied/);
});
