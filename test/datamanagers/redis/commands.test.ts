import { Redis } from 'ioredis';
import { ConfigurationError, TransactionClosed, TransactionStateError, transaction } from 'unanimous';
import { Buffered } from 'unanimous/redis';
import { READS, isRead, leastArgumentsOf, adviceOn } from '../../../datamanagers/redis/commands.ts';
import { assert, suite } from '../../support/suite.ts';
import { Store, rejection, says } from './setup.ts';

const test = suite('the commands of a Redis session');
const store = await Store.open();
const { session, admin } = store;
test.after(() => store.close());
test.before.each(() => admin.flushall());

/** What the server says of each of its commands. */
async function serverCommands(): Promise<Map<string, { arity: number; flags: string[]; subcommands: string[][] }>> {
  const commands = (await admin.call('COMMAND')) as [string, number, string[], ...unknown[]][];
  return new Map(
    commands.map(([name, arity, flags, ...rest]) => {
      const subcommands = ((rest[6] ?? []) as [string, number, string[]][]).map((each) => each[2]);
      return [name, { arity, flags, subcommands }];
    }),
  );
}

/** They are about the server, and touch no data. */
const WITHOUT_DATA = new Set(['command', 'echo', 'info', 'lastsave', 'lolwut', 'ping', 'pubsub', 'role', 'time']);
/** The server refuses to let the script write. */
const SCRIPTS_THAT_READ = ['eval_ro', 'evalsha_ro', 'fcall_ro'];

test('what is sent before the commit changes nothing, as the server itself says', async () => {
  const server = await serverCommands();
  assert.ok(server.size > 200);
  const known = READS.filter((name) => server.has(name));
  assert.ok(known.length > 90);
  const doubtful = known.filter((name) => {
    const { flags, subcommands } = server.get(name)!;
    if (WITHOUT_DATA.has(name)) return flags.includes('write');
    return (
      !flags.includes('readonly') && (subcommands.length === 0 || subcommands.some((each) => each.includes('write')))
    );
  });
  assert.equal(doubtful, []);
  assert.ok(SCRIPTS_THAT_READ.every((name) => server.get(name)?.flags.includes('readonly')));
});

test('no command that the server says to write is sent before the commit', async () => {
  const server = await serverCommands();
  const writes = [...server].filter(([, { flags }]) => flags.includes('write')).map(([name]) => name);
  assert.ok(writes.length > 90);
  assert.equal(writes.filter(isRead), []);
  // Those that read or write by their arguments are writes.
  for (const name of [
    'sort',
    'georadius',
    'georadiusbymember',
    'bitfield',
    'getex',
    'getdel',
    'eval',
    'fcall',
    'set',
  ]) {
    assert.is(isRead(name), false, name);
  }
});

test('what the server will not do in MULTI, and what blocks, is refused', async () => {
  const server = await serverCommands();
  const names = [...server].filter(([, { flags }]) => flags.includes('no_multi') || flags.includes('blocking'));
  const taken = names.map(([name]) => name).filter((name) => adviceOn(name) === undefined);
  // These block by an option only, which is refused.
  assert.equal(taken.toSorted(), ['xread', 'xreadgroup']);
});

test('the least arguments of each command are those that the server wants', async () => {
  const server = await serverCommands();
  const wrong = [...server]
    .filter(([name]) => !isRead(name) && adviceOn(name) === undefined)
    .filter(([name, { arity }]) => leastArgumentsOf(name) !== Math.abs(arity) - 1)
    .map(([name, { arity }]) => `${name}: ${leastArgumentsOf(name)}, not ${Math.abs(arity) - 1}`);
  assert.equal(wrong, []);
});

test('every method of the client is one of the session, and sends nothing while it writes', async () => {
  const server = await serverCommands();
  const names = store.client.getBuiltinCommands();
  const methods = session as unknown as Record<string, unknown>;
  for (const name of names) {
    assert.type(methods[name], 'function', name);
    assert.type(methods[`${name}Buffer`], 'function', name);
  }
  // Where the number of keys is an argument, it must fit.
  const counted = new Set(['lmpop', 'zmpop', 'xreadgroup', 'eval', 'evalsha', 'fcall', 'zunionstore']);
  const buffered = names.filter(
    (name) => server.has(name) && !isRead(name) && adviceOn(name) === undefined && !counted.has(name),
  );
  assert.ok(buffered.length > 80, `${buffered.length}`);
  store.proxy.resetFlights();
  await transaction
    .run(() => {
      for (const name of buffered) {
        const args = Array.from({ length: Math.max(leastArgumentsOf(name), 1) }, () => '1');
        const written = (methods[name] as (...args: string[]) => unknown)(...args);
        assert.instance(written, Buffered, name);
      }
      throw new TransactionClosed('rolled back');
    })
    .catch((error: Error) => assert.is(error.message, 'rolled back'));
  assert.is(store.proxy.flights, 0);
  assert.equal(await store.contents(), {});
});

test('commands that write by their arguments are kept', async () => {
  await admin.rpush('list', '2', '1');
  await admin.set('k', 'v');
  await transaction
    .run(async () => {
      const written = [
        session.sort('list', 'STORE', 'sorted'),
        session.sort('list'),
        session.getex('k', 'EX', 100),
        session.getdel('k'),
        session.bitfield('bits', 'SET', 'u8', 0, 1),
        session.georadius('geo', 15, 37, 200, 'km', 'STORE', 'found'),
        session.eval("return redis.call('set', KEYS[1], '1')", 1, 'script'),
        session.call('SORT', 'list', 'STORE', 'other'),
        session.call('UNHEARD.OF', 'x'),
      ];
      for (const each of written) assert.instance(each, Buffered);
      assert.is(await session.exists('sorted', 'other', 'bits', 'found', 'script'), 0);
      assert.is(await session.get('k'), 'v');
      transaction.doom();
    })
    .catch(() => undefined);
  assert.equal(await store.contents(), {
    k: 'v',
    list: 'WRONGTYPE Operation against a key holding the wrong kind of value',
  });
});

test('a script that was sent as reading cannot write', async () => {
  await transaction.run(async () => {
    await assert.rejects(
      session.eval_ro("return redis.call('set', KEYS[1], '1')", 1, 'k'),
      says(/Write commands are not allowed/),
    );
  });
  assert.equal(await store.contents(), {});
});

const REFUSED: readonly [string, readonly string[], RegExp][] = [
  ['multi', [], /with run\(\), commit\(\), abort\(\) and savepoint\(\)/],
  ['exec', [], /with run\(\)/],
  ['discard', [], /abort\(\)/],
  ['unwatch', [], /watched with watch\(\)/],
  ['select', ['1'], /set the client's options/],
  ['auth', ['x'], /connections belong to the session/],
  ['client', ['reply', 'off'], /connections belong to the session/],
  ['quit', [], /connections belong to the session/],
  ['reset', [], /connections belong to the session/],
  ['hello', ['3'], /connections belong to the session/],
  ['subscribe', ['c'], /subscriptions outlive/],
  ['ssubscribe', ['c'], /subscriptions outlive/],
  ['blpop', ['l', '0'], /does not block/],
  ['bzpopmin', ['l', '0'], /does not block/],
  ['wait', ['1', '0'], /does not block/],
  ['xread', ['BLOCK', '0', 'STREAMS', 's', '$'], /does not block/],
  ['xreadgroup', ['GROUP', 'g', 'c', 'BLOCK', '0', 'STREAMS', 's', '>'], /does not block/],
  ['config', ['SET', 'maxmemory', '1'], /use the client itself/],
  ['shutdown', ['NOSAVE'], /use the client itself/],
  ['script', ['FLUSH'], /use the client itself/],
];

for (const [name, args, advice] of REFUSED) {
  test(`${[name, ...args].join(' ')} is refused with advice, however it is asked for`, async () => {
    const methods = session as unknown as Record<string, (...args: string[]) => unknown>;
    const refused = (error: unknown): boolean => error instanceof TransactionStateError && advice.test(error.message);
    store.proxy.resetFlights();
    await transaction.run(() => {
      assert.throws(() => methods[name]!(...args), refused);
      assert.throws(() => methods[`${name}Buffer`]!(...args), refused);
      assert.throws(() => session.call(name.toUpperCase(), ...args), refused);
      const pipeline = session.pipeline() as unknown as typeof methods;
      assert.throws(() => pipeline['call']!(name, ...args), refused);
      // Its own exec() is how a pipeline ends.
      if (name === 'exec') return;
      assert.throws(() => pipeline[name]!(...args), refused);
      assert.throws(() => session.pipeline([[name, ...args]]), refused);
    });
    assert.is(store.proxy.flights, 0);
  });
}

test('a stream and a group that are called BLOCK block nothing', async () => {
  await admin.xadd('block', '1-1', 'a', '1');
  await transaction
    .run(async () => {
      assert.equal(await session.xread('COUNT', 1, 'STREAMS', 'block', '0'), [['block', [['1-1', ['a', '1']]]]]);
      session.xreadgroup('GROUP', 'block', 'block', 'STREAMS', 'block', '>');
      transaction.doom();
    })
    .catch(() => undefined);
});

test('too few arguments are refused at the call', async () => {
  await transaction.run(() => {
    const set = session.set as unknown as (...args: string[]) => unknown;
    assert.throws(
      () => set.call(session, 'k'),
      (error: unknown) =>
        error instanceof ConfigurationError && /set takes at least 2 arguments; .* given 1/.test(error.message),
    );
    assert.throws(() => session.call(undefined as never), says(/call\(\) takes the name of a command, not undefined/));
    const broken = {
      toString() {
        throw new Error('no text');
      },
    };
    for (const call of [
      () => session.zunionstore('to', 3, 'a', 'b'),
      () => session.zunion(3, 'a', 'b'),
      () => session.set('k', broken as never),
      () => session.get(broken as never),
    ]) {
      assert.throws(
        call,
        (error: unknown) => error instanceof ConfigurationError && /as many as it says/.test(error.message),
      );
    }
  });
});

test('a command that the server does not know fails the commit, and nothing is applied', async () => {
  const error = await rejection(
    transaction.run(() => {
      session.set('k', '1');
      session.call('UNHEARD.OF', 'x');
    }),
  );
  assert.match(error.message, /ERR unknown command 'UNHEARD.OF'/);
  assert.equal(await store.contents(), {});
});

test('what is published is heard when the transaction commits', async () => {
  const subscriber = new Redis(store.server.port);
  const heard: string[] = [];
  subscriber.on('message', (_channel: string, message: string) => heard.push(message));
  await subscriber.subscribe('news');
  await transaction
    .run(() => {
      session.publish('news', 'dropped');
      transaction.doom();
    })
    .catch(() => undefined);
  const published = await transaction.run(() => session.publish('news', 'kept'));
  assert.is(await published.result, 1);
  await assert.eventually(() => heard.length > 0);
  assert.equal(heard, ['kept']);
  subscriber.disconnect();
});
