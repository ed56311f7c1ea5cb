// Protects writes that are stored with a decision where their slot moves while they are delivered for the first time: each is applied once,
// at whichever node has the slot, and whoever has applied them before is noticed there.
import { Cluster, Redis } from 'ioredis';
import { TransactionCoordinator, TransactionError, register, type StoredMessage } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';
import { RedisSession, type RedisSessionOptions } from 'unanimous/redis';
import { slotOf } from '../../../datamanagers/redis/slot.ts';
import { tcpProxy, type TcpProxy } from '../../support/proxy.ts';
import { postgres, startRedisCluster } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from '../pg/setup.ts';
import { onText, rejection } from './setup.ts';

const test = suite('Redis behind a decision, on a cluster', { timeoutMs: 60_000 });
const coordinator = new TransactionCoordinator();
const db = await Database.open(await postgres(), { name: 'bank', register: { coordinator } });
// A name that ioredis has never heard of.
const cluster = await startRedisCluster({ flags: ['--rename-command', 'SETRANGE', 'PUTRANGE'] });
const proxies = await Promise.all(cluster.nodes.map((node) => tcpProxy(node.port)));
const addresses = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
/** Every node is reached through its proxy. */
const natMap = Object.fromEntries(
  cluster.nodes.map((node, index) => [`127.0.0.1:${node.port}`, { host: '127.0.0.1', port: proxies[index]!.port }]),
);
const timeouts: RedisSessionOptions = { endTimeoutMs: 10_000, resolveTimeoutMs: 3_000, acquireTimeoutMs: 10_000 };
const admin = new Cluster(addresses);
const nodes = cluster.nodes.map((node) => new Redis(node.port));
coordinator.configure({ decisionLog: new PgDecisionLog(db.session) });

const TOKEN = 'unanimous:token:';
let session: RedisSession;
let sessions = 0;

test.before.each(async () => {
  await Promise.all(nodes.map((node) => node.flushall()));
  // One that knows the cluster as it is now, and doesn't look by itself where the slots are meanwhile.
  const client = new Cluster(addresses, { natMap, lazyConnect: true, slotsRefreshInterval: 0 });
  session = register(new RedisSession(client, { name: `cache${++sessions}`, ...timeouts }), { coordinator });
});
test.after.each(async () => {
  for (const proxy of proxies) {
    proxy.onClientData = undefined;
    proxy.onServerData = undefined;
    proxy.release();
  }
  await session.close();
  await db.assertClean();
});
test.after(async () => {
  await coordinator.close();
  for (const each of [admin, ...nodes]) each.disconnect();
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await cluster.stop();
  await db.close();
});

/** A transaction whose writes are stored with its decision. */
interface Payment {
  readonly gid: string;
  /** What its write has answered, or why nobody knows that. */
  readonly answer: Promise<unknown>;
}

/** Begins one; it is committed when this resolves, and `answer` is there when it was delivered. */
function pay(write: () => { readonly result: Promise<unknown> }): Promise<Payment> {
  return new Promise((resolve, reject) => {
    const done = coordinator.run(async (txn) => {
      await db.session.query('update accounts set balance = balance - 10 where id = 1');
      const { result } = write();
      resolve({ gid: txn.id, answer: result.catch((error: Error) => error) });
    });
    done.catch(reject);
  });
}

/** Increments `key` and waits for what that has answered. */
async function increment(key: string): Promise<unknown> {
  return (await pay(() => session.incr(key))).answer;
}

/** What was stored with a decision, as another process would be handed it. */
function messageOf(gid: string, key: string): StoredMessage {
  const payload = JSON.stringify({ commands: [['incr', key]], key });
  return { target: session.name, payload, gid, sequence: 1, attempts: 0, isDead: false, createdAt: new Date() };
}

/** Another process's delivery of the same, which doesn't go by the proxies and knows where the slots are. */
async function deliverElsewhere(gid: string, key: string): Promise<void> {
  const client = new Cluster(addresses, { lazyConnect: true });
  const other = register(new RedisSession(client, { name: session.name, ...timeouts }), {
    coordinator: new TransactionCoordinator(),
  });
  await other.deliver(messageOf(gid, key));
  await other.close();
}

/** A slot on its way from one node to another. */
interface Moving {
  /** Where it is, and where it goes. */
  readonly from: number;
  readonly to: number;
  /** Moves the keys, but not yet the slot. */
  keys(): Promise<void>;
  /** Moves what is left of the keys, and the slot. */
  finish(): Promise<void>;
}

/** Where the slot of a key is. */
async function ownerOf(key: string): Promise<number> {
  const slot = slotOf(key);
  const slots = await nodes[0]!.cluster('SLOTS');
  const owner = slots.find(([first, last]) => first <= slot && slot <= last)![2]![2];
  const ids = await Promise.all(nodes.map((node) => node.call('CLUSTER', 'MYID')));
  return ids.indexOf(owner);
}

/** Begins to move the slot of a key. */
async function beginToMove(key: string): Promise<Moving> {
  const slot = slotOf(key);
  const ids = await Promise.all(nodes.map(async (node) => String(await node.call('CLUSTER', 'MYID'))));
  const from = await ownerOf(key);
  const to = (from + 1) % 3;
  await nodes[to]!.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from]!);
  await nodes[from]!.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to]!);
  const moveKeys = async (): Promise<void> => {
    for (;;) {
      const keys = (await nodes[from]!.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[];
      if (keys.length === 0) return;
      await nodes[from]!.call('MIGRATE', '127.0.0.1', cluster.nodes[to]!.port, '', 0, 5_000, 'KEYS', ...keys);
    }
  };
  const finish = async (): Promise<void> => {
    await moveKeys();
    for (const index of [to, from, 3 - to - from]) {
      await nodes[index]!.call('CLUSTER', 'SETSLOT', slot, 'NODE', ids[to]!);
    }
  };
  return { from, to, keys: moveKeys, finish };
}

async function move(key: string): Promise<Moving> {
  const moving = await beginToMove(key);
  await moving.finish();
  return moving;
}

/** Whether a server has answered with `code` from now on. */
function hears(code: string): () => boolean {
  let heard = false;
  for (const proxy of proxies) {
    proxy.onServerData = (data) => {
      heard ||= data.toString('latin1').includes(code);
    };
  }
  return () => heard;
}

/** Keeps what is sent next by `proxy` with a token in it, until the function that is returned is called. */
function holdTokens(proxy: TcpProxy): { readonly isHeld: () => boolean; readonly release: () => void } {
  let isHeld = false;
  onText(proxy, TOKEN, () => {
    isHeld = true;
    proxy.hold();
  });
  return { isHeld: () => isHeld, release: () => proxy.release() };
}

/** What is there of a key, at whichever node has it, and how many tokens there are. */
async function stored(key: string): Promise<{ value: string | null; tokens: number }> {
  const value = await nodes[await ownerOf(key)]!.get(key);
  const names = await Promise.all(nodes.map((node) => node.keys(`${TOKEN}*`)));
  return { value, tokens: names.flat().length };
}

test('a slot that has moved is followed, and the token is where the slot is', async () => {
  assert.is(await increment('{a}n'), 1);
  await move('{a}n');
  const isMoved = hears('MOVED');
  const { gid, answer } = await pay(() => session.incr('{a}n'));
  assert.is(await answer, 2);
  assert.ok(isMoved());
  await deliverElsewhere(gid, '{a}n');
  await session.deliver(messageOf(gid, '{a}n'));
  assert.equal(await stored('{a}n'), { value: '2', tokens: 2 });
});

test('while a slot is being moved its keys and the token are in two places: what is stored waits, and is applied once', async () => {
  assert.is(await increment('{b}n'), 1);
  const moving = await beginToMove('{b}n');
  const mustWait = hears('TRYAGAIN');
  const { gid, answer } = await pay(() => session.incr('{b}n'));
  await assert.eventually(mustWait);
  assert.is(await nodes[moving.from]!.get('{b}n'), '1');
  await moving.finish();
  assert.is(await answer, 2);
  await deliverElsewhere(gid, '{b}n');
  assert.equal(await stored('{b}n'), { value: '2', tokens: 2 });
});

test('where the slot is moved for longer than that is waited for, recovery applies it behind that', async () => {
  assert.is(await increment('{c}n'), 1);
  const moving = await beginToMove('{c}n');
  const { answer } = await pay(() => session.incr('{c}n'));
  assert.match(String(await answer), /TRYAGAIN/);
  assert.is(await nodes[moving.from]!.get('{c}n'), '1');
  await moving.finish();
  await assert.eventually(
    async () => {
      await coordinator.recover();
      assert.equal(await stored('{c}n'), { value: '2', tokens: 2 });
    },
    20_000,
    200,
  );
});

test('what another process has applied before the slot has moved is not applied behind it', async () => {
  assert.is(await increment('{d}n'), 1);
  const held = holdTokens(proxies[await ownerOf('{d}n')]!);
  const { gid, answer } = await pay(() => session.incr('{d}n'));
  await assert.eventually(held.isHeld);
  await deliverElsewhere(gid, '{d}n');
  await move('{d}n');
  const isMoved = hears('MOVED');
  held.release();
  const error = await answer;
  assert.instance(error, TransactionError);
  assert.match((error as Error).message, /were applied to 'cache\d+' by another process, so they are committed/);
  assert.ok(isMoved());
  assert.equal(await stored('{d}n'), { value: '2', tokens: 2 });
});

test('what another process has applied is noticed where the keys have moved and the slot has not', async () => {
  assert.is(await increment('{e}n'), 1);
  const held = holdTokens(proxies[await ownerOf('{e}n')]!);
  const { gid, answer } = await pay(() => session.incr('{e}n'));
  await assert.eventually(held.isHeld);
  await deliverElsewhere(gid, '{e}n');
  const moving = await beginToMove('{e}n');
  await moving.keys();
  const isAsked = hears('ASK ');
  held.release();
  assert.match(String(await answer), /by another process/);
  assert.ok(isAsked());
  await moving.finish();
  assert.equal(await stored('{e}n'), { value: '2', tokens: 2 });
});

test('where the slot arrives between WATCH and EXEC, the first delivery applies it: nobody else can have', async () => {
  assert.is(await increment('{f}n'), 1);
  const index = await ownerOf('{f}n');
  const proxy = proxies[index]!;
  const isMoved = hears('MOVED');
  let resume: (() => void) | undefined;
  const { gid, answer } = await pay(() => {
    onText(proxy, TOKEN, (link, data) => {
      const at = data.indexOf('*1\r\n$5\r\nmulti');
      assert.ok(at > 0);
      resume = () => link.server.write(data.subarray(at));
      void moveAway().then(() => link.server.write(data.subarray(0, at)));
      return false;
    });
    return session.incr('{f}n');
  });
  const moveAway = async (): Promise<void> => {
    await move('{f}n');
  };
  await assert.eventually(isMoved);
  while ((await ownerOf('{f}n')) !== index) await move('{f}n');
  resume!();
  assert.is(await answer, 2);
  await deliverElsewhere(gid, '{f}n');
  assert.equal(await stored('{f}n'), { value: '2', tokens: 2 });
});

test('a later delivery that finds its slot moved applies nothing, and the one behind it finds it', async () => {
  assert.is(await increment('{g}n'), 1);
  await move('{g}n');
  const message = messageOf('later', '{g}n');
  const error = await rejection(session.deliver(message));
  assert.match(error.message, /MOVED/);
  assert.equal(await stored('{g}n'), { value: '1', tokens: 1 });
  await assert.eventually(async () => {
    await session.deliver(message);
  });
  assert.equal(await stored('{g}n'), { value: '2', tokens: 2 });
});

test('where only the server knows the keys of what is stored, it is asked for them', async () => {
  for (const key of ['{a}', '{b}', '{c}', '{d}']) {
    const { answer } = await pay(() => session.call('PUTRANGE', key, '0', 'value'));
    assert.is(await answer, 5);
    assert.is(await nodes[await ownerOf(key)]!.get(key), 'value');
  }
});

test('what is stored and has no keys goes to some node', async () => {
  const { answer } = await pay(() => session.publish('news', 'x'));
  assert.is(await answer, 0);
});
