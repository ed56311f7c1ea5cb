// Protects writes that are stored with a decision: they are applied once, in one flight by whoever has stored them, also where somebody else
// was faster, or where what guards them is refused.
import { TransactionError, type StoredMessage } from 'unanimous';
import type { RedisSession } from 'unanimous/redis';
import { assert, suite } from '../../support/suite.ts';
import { onText, rejection } from './setup.ts';
import { StoredWrites, TOKEN } from './stored-setup.ts';

const test = suite('Redis behind a decision', { timeoutMs: 60_000 });
const both = await StoredWrites.open(test, { endTimeoutMs: 5_000 });
const { coordinator, db, store } = both;
const { session: redis, admin, proxy } = store;

/** A transaction over both; resolves with what its write has answered, or why nobody knows that. */
async function pay(session: RedisSession = redis): Promise<unknown> {
  const written = await coordinator.run(async () => {
    await both.debit();
    return session.incr('n');
  });
  return written.result.catch((error: Error) => error);
}

test.before.each(async () => {
  await db.reset();
  // The first transaction opens what is needed.
  await pay();
  await admin.flushall();
  await db.reset();
});

test('it takes one flight, and leaves a token by which it is known for a week', async () => {
  await assert.eventually(() => proxy.links.size === 1);
  await coordinator.recover();
  proxy.resetFlights();
  assert.is(await pay(), 1);
  assert.is(proxy.flights, 1);
  assert.is(await db.balance(1), 90);
  const [token] = await store.tokens();
  const leftMs = await admin.pttl(token!);
  assert.ok(leftMs > 6.9 * 86_400_000 && leftMs <= 7 * 86_400_000, String(leftMs));
});

test('what was applied is not applied again, by whomever', async () => {
  await pay();
  const message = await both.stored();
  await redis.deliver(message);
  await both.elsewhere((other) => other.deliver(message));
  assert.is(await admin.get('n'), '1');
});

test('where somebody else was faster nothing is applied, and whoever waits for an answer hears why there is none', async () => {
  onText(proxy, TOKEN, () => {
    proxy.hold();
    void both
      .stored()
      .then((message) => both.elsewhere((other) => other.deliver(message)))
      .finally(() => proxy.release());
  });
  const answer = await pay();
  assert.instance(answer, TransactionError);
  assert.match((answer as Error).message, /were applied to 'cache' by another process, so they are committed/);
  assert.is(await admin.get('n'), '1');
  assert.is(await db.balance(1), 90);
  // Nothing is watched any more: the next transaction over the same connection is none's conflict.
  await admin.set((await store.tokens())[0]!, 'changed');
  assert.is(await pay(), 2);
});

test('where several transactions are applied over one connection at once, each is applied once', async () => {
  const answers = await Promise.all(Array.from({ length: 40 }, () => pay()));
  assert.equal(
    (answers as number[]).toSorted((a, b) => a - b),
    Array.from({ length: 40 }, (_, index) => index + 1),
  );
  assert.is((await store.tokens()).length, 40);
});

let users = 0;

/** Whoever may do all but one thing. */
async function limited(refused: string): Promise<RedisSession> {
  const name = `limited${++users}`;
  await admin.call('ACL', 'SETUSER', name, 'on', '>secret', '~*', '&*', '+@all');
  const session = store.another({ name, client: { username: name, password: 'secret' }, register: { coordinator } });
  await session.check();
  await admin.call('ACL', 'SETUSER', name, `-${refused}`);
  return session;
}

for (const refused of ['watch', 'pexpire']) {
  test(`where ${refused.toUpperCase()} is refused, the first delivery applies it: nobody else can have`, async () => {
    const session = await limited(refused);
    assert.is(await pay(session), 1);
    await session.close();
  });
}

test('where WATCH is refused, a later delivery applies nothing', async () => {
  const session = await limited('watch');
  await pay(session);
  const error = await rejection(session.deliver(await both.stored()));
  assert.match(error.message, /NOPERM/);
  assert.is(await admin.get('n'), '1');
  await session.close();
});

test('where it was refused and the answer came when others might deliver too, a warning says what to look at', async () => {
  const session = await limited('watch');
  const warnings: Error[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listen);
  const real = Date.now;
  onText(proxy, TOKEN, () => {
    // As if the machine had slept.
    Date.now = () => real() + 60_000;
  });
  await pay(session);
  Date.now = real;
  await assert.eventually(() => assert.is(warnings.length, 1));
  process.off('warning', listen);
  assert.match(warnings[0]!.message, /may have been applied to 'limited\d' twice: .*NOPERM/);
  await session.close();
});

test('where it was stored too long ago, it is looked for before anything is sent', async () => {
  const real = Date.now;
  const slow = {
    sortKey: 'slow',
    tpcBegin: () => undefined,
    commit: () => undefined,
    tpcVote: () => undefined,
    tpcFinish: () => {
      // Behind the decision, as if the machine had slept.
      Date.now = () => real() + 20_000;
    },
    tpcAbort: () => undefined,
    abort: () => undefined,
  };
  proxy.resetFlights();
  const done = await coordinator.run(async (txn) => {
    txn.join(slow);
    await both.debit();
    return redis.incr('n');
  });
  const answer = await done.result;
  Date.now = real;
  assert.is(answer, 1);
  assert.is(await admin.get('n'), '1');
  assert.ok(proxy.flights > 1, String(proxy.flights));
});

test('where MULTI is refused behind WATCH, the connection is given up: it would watch for whoever comes next', async () => {
  const session = await limited('multi');
  const before = new Set((await store.connections()).map(({ id }) => id));
  const answer = await pay(session);
  assert.match(String(answer), /took the commands one by one/);
  await admin.call('ACL', 'SETUSER', session.name, '+multi');
  await admin.set((await store.tokens())[0]!, 'changed');
  await coordinator.run(() => void session.incr('m'));
  assert.is(await admin.get('m'), '1');
  const after = (await store.connections()).map(({ id }) => id);
  assert.ok(after.some((id) => !before.has(id)));
  await session.close();
});

test('where MULTI is refused, a later delivery applies nothing, rather than one by one', async () => {
  const session = await limited('flushall');
  const message: StoredMessage = {
    target: session.name,
    payload: JSON.stringify({ commands: [['incr', 'n']], key: 'n' }),
    gid: 'loose',
    sequence: 1,
    attempts: 1,
    isDead: false,
    createdAt: new Date(),
  };
  // Its connection is open by then.
  await coordinator.run(() => session.watch('w'));
  await admin.call('ACL', 'SETUSER', session.name, '-multi');
  assert.match((await rejection(session.deliver(message))).message, /NOPERM/);
  assert.equal(await store.contents(), {});
  await admin.call('ACL', 'SETUSER', session.name, '+multi');
  await session.deliver(message);
  assert.equal(await store.contents(), { n: '1' });
  await session.close();
});

test('where the reply is lost and it was applied, it is applied once', async () => {
  onText(proxy, TOKEN, (link) => {
    link.dropReplies = true;
  });
  const answer = await pay();
  assert.match(String(answer), /its token says that it was run/);
  assert.is(await admin.get('n'), '1');
});

test('where it never arrived, recovery applies it', async () => {
  onText(proxy, TOKEN, () => false);
  const answer = await pay();
  assert.instance(answer, Error);
  assert.is(await db.balance(1), 90);
  await assert.eventually(
    async () => {
      await coordinator.recover();
      assert.is(await admin.get('n'), '1');
    },
    20_000,
    200,
  );
});
