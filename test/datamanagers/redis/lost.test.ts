// The reply to EXEC is lost (pitfall 9): it is found out whether it was run, or said that this can't be known.
import { Redis } from 'ioredis';
import {
  CommitOutcomeUnknownError,
  ConnectionLostError,
  TransactionManager,
  register,
  transaction,
  type Transaction,
} from 'unanimous';
import { type Buffered, RedisSession } from 'unanimous/redis';
import type { Link } from '../../support/proxy.ts';
import { assert, suite } from '../../support/suite.ts';
import { Store, onText, rejection, says } from './setup.ts';

const test = suite('a lost reply to EXEC', { timeoutMs: 60_000 });
const timeouts = { endTimeoutMs: 250, resolveTimeoutMs: 1_500, acquireTimeoutMs: 1_000 };
const store = await Store.open(timeouts);
const { session, admin, proxy } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());
test.after.each(async () => {
  proxy.onClientData = undefined;
  proxy.onServerData = undefined;
  proxy.refuse = false;
  await store.assertClean();
});

/** Is in what commits, and in nothing else but a question for it. */
const COMMIT = 'unanimous:token:';

/** EXEC is run, and its reply never comes. */
function dropReply(text = COMMIT): void {
  onText(proxy, text, (link) => {
    link.dropReplies = true;
  });
}

/** EXEC is run, and the link is cut when its reply comes. */
function cutAtReply(): void {
  onText(proxy, COMMIT, (link) => {
    proxy.onServerData = (_data, replying) => {
      if (replying !== link) return undefined;
      link.cut();
      return false;
    };
  });
}

/** EXEC stays on its way, somewhere in the network, where nobody knows that its sender has gone; returns what delivers it. */
function withhold(): { deliver: () => void } {
  const held = { deliver: (): void => assert.unreachable('nothing was withheld') };
  onText(proxy, COMMIT, ({ server }: Link, data) => {
    const end = server.end.bind(server);
    server.end = () => server;
    server.destroy = () => server;
    held.deliver = () => void server.write(data, () => end());
    return false;
  });
  return held;
}

/** Opens the shared connection, so that EXEC goes over one that is open. */
async function connect(own: RedisSession = session): Promise<void> {
  await transaction.run(() => own.get('k'));
}

for (const [how, lose] of [
  ['dropped', dropReply],
  ['cut off', cutAtReply],
] as const) {
  test(`where the reply is ${how} and EXEC was run, the transaction is committed, once`, async () => {
    await connect();
    const manager = new TransactionManager({ onError: (error) => reports.push(error) });
    const reports: Error[] = [];
    const own = store.another({ name: 'own', register: { coordinator: manager }, ...timeouts });
    await manager.run(() => own.get('k'));
    lose();
    let written!: Buffered<number>;
    let txn!: Transaction;
    await manager.run((each) => {
      txn = each;
      written = own.incr('n');
    });
    assert.is(txn.outcome?.result, 'committed');
    assert.equal(await store.contents(), { n: '1' });
    assert.match(
      (await rejection(written.result)).message,
      /the reply of 'own' was lost, and its token says that it was run/,
    );
    assert.equal(
      reports.map(({ message }) => /what its commands have answered.* is not known/.test(message)),
      [true],
    );
    await own.close();
  });
}

test('where EXEC did not arrive nothing is applied, then or later, and it is tried again', async () => {
  await connect();
  const held = withhold();
  let attempts = 0;
  await transaction.run(() => {
    attempts++;
    session.incr('n');
  });
  assert.is(attempts, 2);
  assert.equal(await store.contents(), { n: '1' });
  held.deliver();
  await connect();
  assert.equal(await store.contents(), { n: '1' }, 'what comes late over the lost connection is not run');
});

test('the error of a transaction that was not applied says so', async () => {
  await connect();
  withhold();
  const error = await rejection(transaction.run(() => session.incr('n'), { attempts: 1 }));
  assert.instance(error, ConnectionLostError);
  assert.match(
    error.message,
    /was lost before \(no answer came within 250 ms\), and it was not run, so nothing was applied/,
  );
  assert.is((error as ConnectionLostError).phase, 'tpcVote');
});

/** Whoever loses the right to MULTI when `act` is called, with its connections open. */
async function loosened(name: string): Promise<{ own: RedisSession; act: () => Promise<unknown> }> {
  await admin.call('ACL', 'SETUSER', name, 'on', '>secret', '~*', '&*', '+@all');
  const own = store.another({ name, client: { username: name, password: 'secret' }, ...timeouts });
  await connect(own);
  return { own, act: () => admin.call('ACL', 'SETUSER', name, '-multi') };
}

/** What comes before the token arrives, and is applied one by one where MULTI is refused; the rest never does. */
function cutBeforeToken(data: Buffer): Buffer {
  return data.subarray(0, data.indexOf('*5\r\n$3\r\nset\r\n'));
}

test('where MULTI is refused behind WATCH, part of the writes arrives and no reply, nobody is told that nothing was applied', async () => {
  const { own, act } = await loosened('unheard');
  const error = await rejection(
    transaction.run(async () => {
      await own.watch('w');
      own.incr('n');
      await act();
      onText(proxy, COMMIT, (link, data) => {
        link.dropReplies = true;
        link.server.write(cutBeforeToken(data));
        return false;
      });
    }),
  );
  assert.equal(await store.contents(), { n: '1' });
  assert.instance(error, CommitOutcomeUnknownError);
  await own.close();
});

test('the same where it was heard that MULTI is refused, which isn’t so any more when that is looked into', async () => {
  const { own, act } = await loosened('heard');
  const error = await rejection(
    transaction.run(async () => {
      await own.watch('w');
      own.incr('n');
      await act();
      onText(proxy, COMMIT, (link, data) => {
        const sent = cutBeforeToken(data);
        const multi = sent.indexOf('*2\r\n$4\r\nincr\r\n');
        proxy.onServerData = (_reply, replying) => {
          if (replying !== link || link.dropReplies) return;
          void admin.call('ACL', 'SETUSER', 'heard', '+multi').then(() => {
            link.dropReplies = true;
            link.server.write(sent.subarray(multi));
          });
        };
        link.server.write(sent.subarray(0, multi));
        return false;
      });
    }),
  );
  assert.equal(await store.contents(), { n: '1' });
  assert.instance(error, CommitOutcomeUnknownError);
  assert.match(error.message, /refused MULTI \(NOPERM.*\), so that some of it may have been applied/);
  await own.close();
});

test('the same where keys are watched', async () => {
  await admin.set('w', '1');
  dropReply();
  await transaction.run(async () => {
    await session.watch('w');
    session.incr('n');
  });
  assert.is(await admin.get('n'), '1');
  withhold();
  await transaction.run(async () => {
    await session.watch('w');
    session.incr('n');
  });
  assert.is(await admin.get('n'), '2');
});

test('where the link is cut before EXEC is sent, it is tried again over another one', async () => {
  await connect();
  let attempts = 0;
  await transaction.run(async () => {
    attempts++;
    session.incr('n');
    if (attempts > 1) return;
    proxy.cut();
    await assert.eventually(() => proxy.links.size === 0);
  });
  assert.equal(await store.contents(), { n: '1' });
});

test('where the server may not be told to end the lost connection, what was not applied is not known to be', async () => {
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '+@all', '-@dangerous', '+info');
  const own = store.another({ name: 'own', client: { username: 'app', password: 'secret' }, ...timeouts });
  await connect(own);
  const held = withhold();
  let attempts = 0;
  const error = await rejection<CommitOutcomeUnknownError>(
    transaction.run(() => {
      attempts++;
      own.incr('n');
    }),
  );
  assert.instance(error, CommitOutcomeUnknownError);
  assert.is(attempts, 1, 'it is not repeated');
  assert.match(
    error.message,
    /could not tell within 1500 ms whether it was run: where the key unanimous:token:.*:own exists, it was/,
  );
  assert.equal(await store.contents(), {});
  held.deliver();
  await assert.eventually(async () => (await admin.get('n')) === '1');
  await own.close();
});

test('the same user learns that it was applied where it was', async () => {
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '+@all', '-@dangerous');
  const own = store.another({
    name: 'own',
    client: { username: 'app', password: 'secret', enableReadyCheck: false },
    ...timeouts,
  });
  await connect(own);
  dropReply();
  await transaction.run(() => own.incr('n'));
  assert.equal(await store.contents(), { n: '1' });
  await own.close();
});

test('without a token it is never known', async () => {
  const own = store.another({ name: 'own', tokenTtlMs: false, ...timeouts });
  await connect(own);
  dropReply('incr');
  const error = await rejection(transaction.run(() => own.incr('n')));
  assert.instance(error, CommitOutcomeUnknownError);
  assert.match(error.message, /no token was written/);
  assert.equal(await store.contents(), { n: '1' });
  assert.equal(await store.tokens(), []);
  await own.close();
});

test('where the server evicts keys, an absent token means nothing', async () => {
  await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))![1]);
  await admin.config('SET', 'maxmemory', used + 200_000);
  for (let index = 0; index < 100; index++) await admin.set(`fill${index}`, 'x'.repeat(10_000));
  try {
    assert.match(await admin.info('stats'), /evicted_keys:[1-9]/);
    await admin.flushall();
    await connect();
    withhold();
    const error = await rejection(transaction.run(() => session.incr('n')));
    assert.instance(error, CommitOutcomeUnknownError);
  } finally {
    await admin.config('SET', 'maxmemory', 0);
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
    await admin.config('RESETSTAT');
  }
});

test('where the server cannot be reached in time, the outcome is not known', async () => {
  await connect();
  cutAtReply();
  const before = proxy.onClientData!;
  proxy.onClientData = (data, link) => {
    const passes = before(data, link);
    proxy.refuse = true;
    return passes;
  };
  const error = await rejection(transaction.run(() => session.incr('n')));
  assert.instance(error, CommitOutcomeUnknownError);
  assert.is(await admin.get('n'), '1');
});

test('where the server is reached again in time, the outcome is known', async () => {
  await connect();
  onText(proxy, COMMIT, (link) => {
    link.dropReplies = true;
    proxy.refuse = true;
    setTimeout(() => {
      proxy.refuse = false;
    }, 700);
  });
  await transaction.run(() => session.incr('n'));
  assert.is(await admin.get('n'), '1');
});

test('a reply that came in time is not lost because this process had no time to read it', async () => {
  const direct = register(new RedisSession(new Redis(store.server.port, { lazyConnect: true }), timeouts));
  await connect(direct);
  const written = await transaction.run(() => {
    const value = direct.incr('n');
    // Behind the commit, which begins at once: longer than its reply may take.
    setImmediate(() => {
      const end = performance.now() + 2 * timeouts.endTimeoutMs;
      while (performance.now() < end);
    });
    return value;
  });
  assert.is(await written.result, 1);
  await direct.close();
});

test('200 transactions whose links are cut again and again are each applied once', async () => {
  const own = store.another({ name: 'own', endTimeoutMs: 5_000, resolveTimeoutMs: 20_000 });
  // By what has been said over it, not by the clock: each link lives long enough to be of some use, on a busy machine, too.
  const left = new WeakMap<Link, number>();
  let cuts = 0;
  proxy.onServerData = (_data, link) => {
    const pieces = (left.get(link) ?? 6 + Math.floor(Math.random() * 6)) - 1;
    left.set(link, pieces);
    if (pieces > 0) return undefined;
    cuts++;
    link.cut();
    return false;
  };
  const client = async (number: number): Promise<void> => {
    for (let index = number; index < 200; index += 10) {
      await transaction.run(
        async () => {
          await own.get('k');
          own.incr(`n${index}`);
          own.incr('sum');
        },
        { attempts: 100, backoff: { baseMs: 5, maxMs: 50 } },
      );
    }
  };
  await Promise.all(Array.from({ length: 10 }, (_, number) => client(number)));
  assert.ok(cuts > 2, `${cuts} cuts`);
  const { sum, ...counts } = await store.contents();
  assert.is(sum, '200');
  assert.equal(new Set(Object.values(counts)), new Set(['1']));
  await own.close();
});

const deaths = suite('a Redis that dies', { timeoutMs: 60_000 });

deaths('in the middle of a transaction, that is tried again, and committed once it is back', async () => {
  const own = await Store.open({ ...timeouts, acquireTimeoutMs: 5_000 });
  let attempts = 0;
  await transaction.run(
    async () => {
      attempts++;
      await own.session.get('k');
      own.session.incr('n');
      if (attempts > 1) return;
      await own.server.kill('SIGKILL');
      const lost = await rejection(own.session.get('k'));
      assert.instance(lost, ConnectionLostError);
      await own.server.restart();
      throw lost;
    },
    { attempts: 3, backoff: false },
  );
  assert.is(attempts, 2);
  assert.equal(await own.contents(), { n: '1' });
  await own.close();
});

deaths('before it answers EXEC, and forgets: the outcome is not known', async () => {
  const own = await Store.open({ ...timeouts, resolveTimeoutMs: 10_000 });
  await transaction.run(() => own.session.get('k'));
  onText(own.proxy, COMMIT, (link) => {
    link.dropReplies = true;
    setTimeout(() => void own.server.kill('SIGKILL').then(() => own.server.restart()), 20);
  });
  const error = await rejection(transaction.run(() => own.session.incr('n')));
  assert.instance(error, CommitOutcomeUnknownError);
  assert.equal(await own.contents(), {});
  await own.close();
});

deaths('before it answers EXEC, and remembers: the transaction is committed', async () => {
  const own = await Store.open({
    ...timeouts,
    resolveTimeoutMs: 10_000,
    flags: ['--appendonly', 'yes', '--appendfsync', 'always'],
  });
  await transaction.run(() => own.session.get('k'));
  onText(own.proxy, COMMIT, (link) => {
    link.dropReplies = true;
    setTimeout(() => void own.server.kill('SIGKILL').then(() => own.server.restart()), 100);
  });
  await transaction.run(() => own.session.incr('n'));
  assert.equal(await own.contents(), { n: '1' });
  await own.close();
});

deaths(
  'or only sleeps: whichever comes first after that, EXEC or its end, decides, and that is what is said',
  async () => {
    const own = await Store.open({ ...timeouts, resolveTimeoutMs: 10_000 });
    let known = 0;
    for (let round = 0; round < 6; round++) {
      await transaction.run(() => own.session.get('k'));
      process.kill(own.server.pid, 'SIGSTOP');
      setTimeout(() => process.kill(own.server.pid, 'SIGCONT'), 100 + round * 80);
      const failure = await transaction
        .run(() => own.session.set('k', String(round)), { attempts: 1 })
        .then(
          () => undefined,
          (error: Error) => error,
        );
      if (failure !== undefined) assert.instance(failure, ConnectionLostError, failure.stack);
      assert.is((await own.admin.get('k')) === String(round), failure === undefined);
      known++;
    }
    assert.is(known, 6);
    await own.close();
  },
);

deaths('and is replaced by its replica: what was told to wait for it is tried again', async () => {
  const own = await Store.open(timeouts);
  await transaction.run(() => own.session.get('k'));
  await own.admin.replicaof('127.0.0.1', 1);
  const error = await rejection(transaction.run(() => own.session.set('k', '1'), { attempts: 1 }));
  assert.match(error.message, /^READONLY/);
  let attempts = 0;
  await transaction.run(async () => {
    attempts++;
    own.session.set('k', '1');
    if (attempts === 2) await own.admin.replicaof('NO', 'ONE');
  });
  assert.is(attempts, 2);
  assert.equal(await own.contents(), { k: '1' });
  await own.close();
});

deaths('and is replaced, when several commit: each is told so, and no outcome is unknown', async () => {
  const own = await Store.open(timeouts);
  await transaction.run(() => own.session.get('k'));
  await own.admin.replicaof('127.0.0.1', 1);
  own.proxy.delayToClientMs = 100;
  const commit = (key: string): Promise<Error> =>
    rejection(transaction.run(() => own.session.set(key, '1'), { attempts: 1 }));
  const first = commit('a');
  await new Promise((resolve) => setTimeout(resolve, 50));
  // Under way when the first one learns it.
  const second = commit('b');
  for (const error of await Promise.all([first, second])) assert.match(error.message, /^READONLY/);
  own.proxy.delayToClientMs = 0;
  await own.close();
});

const checks = suite('check() of a Redis session');
const other = await Store.open({ name: 'checked', ...timeouts });
checks.after(() => other.close());

async function warnings(action: () => Promise<unknown>): Promise<string[]> {
  const said: string[] = [];
  const listener = (warning: Error): void => void said.push(warning.message);
  process.on('warning', listener);
  await action();
  await new Promise((resolve) => setImmediate(resolve));
  process.removeListener('warning', listener);
  return said;
}

checks('is quiet where all is well, and leaves nothing but a token', async () => {
  assert.equal(await warnings(() => other.session.check()), []);
  assert.equal(await other.contents(), {});
  assert.is((await other.tokens()).length, 1);
});

checks('refuses a replica', async () => {
  await other.admin.replicaof('127.0.0.1', 1);
  await assert.rejects(other.session.check(), says(/the client of 'checked' is connected to a replica/));
  await other.admin.replicaof('NO', 'ONE');
});

checks('refuses a user that may not write tokens', async () => {
  await other.admin.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~app:*', '+@all');
  const own = other.another({ name: 'app', client: { username: 'app', password: 'secret' } });
  await assert.rejects(own.check(), says(/must be able to write its tokens.*NOPERM.*set tokenTtlMs to false/));
  const without = other.another({ name: 'app', tokenTtlMs: false, client: { username: 'app', password: 'secret' } });
  await without.check();
  const prefixed = other.another({ name: 'app', client: { username: 'app', password: 'secret', keyPrefix: 'app:' } });
  await prefixed.check();
});

checks('warns of a user that cannot end a lost connection', async () => {
  await other.admin.call('ACL', 'SETUSER', 'app', 'reset', 'on', '>secret', '~*', '+@all', '-@dangerous', '+info');
  const own = other.another({ name: 'app', client: { username: 'app', password: 'secret' } });
  assert.match((await warnings(() => own.check())).join(), /the user of 'app' may not use CLIENT KILL/);
});
