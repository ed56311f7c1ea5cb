// Protects that what can't be promised over five resources is refused, before anybody votes, with an error that says what is required and
// what to do; and that nothing of the order is anywhere then.
import { symlink } from 'node:fs/promises';
import { Cluster } from 'ioredis';
import {
  ConfigurationError,
  NoTransaction,
  TooManyLastResourcesError,
  TransactionClosed,
  TransactionStateError,
  register,
} from 'unanimous';
import { RedisSession } from 'unanimous/redis';
import { Folder } from '../datamanagers/files/setup.ts';
import { startPostgres, startRedisCluster } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { ALL, type Database, NOTHING, resources } from './order.ts';
import { Shop } from './shop.ts';
import { type Fault, testRefusals } from './faults.ts';

const shop = await Shop.open();
const { coordinator, sessions } = shop;
const outside = await Folder.open();

const misuse: Fault[] = [
  {
    resource: 'orders',
    what: 'a COMMIT among the statements',
    also: () => sessions.orders.query('commit'),
    error: TransactionStateError,
    says: /transactions are begun and ended by their coordinator/,
  },
  {
    resource: 'stock',
    what: 'DDL, which would commit',
    also: () => sessions.stock.query('create table t (i int)'),
    error: TransactionStateError,
    says: /must not commit it; .* does so implicitly in MySQL, and was not sent to 'stock': run it outside/i,
  },
  {
    resource: 'cache',
    what: 'MULTI, which the session sends itself',
    also: () => void sessions.cache.call('multi'),
    error: TransactionStateError,
    says: /multi has no place in a transaction/i,
  },
  {
    resource: 'cache',
    what: 'BLPOP, which waits for others',
    also: () => void sessions.cache.call('blpop', 'list', 0),
    error: TransactionStateError,
    says: /blpop has no place in a transaction/i,
  },
  {
    resource: 'files',
    what: 'a path that leaves the root',
    also: (_, { id }) => sessions.files.rename(`incoming/${id}`, `../${id}`),
    error: ConfigurationError,
    says: /must stay below the root of its session/,
  },
  {
    resource: 'files',
    what: 'an absolute path outside of the root',
    also: () => sessions.files.writeFile(outside.join('file'), 'text'),
    error: ConfigurationError,
    says: /must stay below the root of its session/,
  },
  {
    resource: 'files',
    what: 'a link that leaves the root',
    before: ({ folder }) => symlink(outside.path, folder.join('link')),
    also: () => sessions.files.writeFile('link/file', 'text'),
    error: ConfigurationError,
    says: /must stay below the root of its session/,
  },
  {
    resource: 'mail',
    what: 'a mail to nobody',
    also: () => sessions.mail.send({ subject: 'to nobody' }),
    error: ConfigurationError,
    says: /a mail must have a recipient/,
  },
  {
    resource: 'cache',
    what: 'a second session of one name',
    also: () => {
      const another = register(new RedisSession(shop.cache.client, { name: 'cache' }), { coordinator });
      another.set('k', 'v');
    },
    error: ConfigurationError,
    says: /must have different names/,
  },
];

const used = suite('all together: what has no place in a transaction is refused where it is used');
testRefusals(used, shop, 'work', misuse);
used.after(async () => {
  assert.equal(await outside.content(), {});
  await outside.remove();
});

const chosen = suite('all together: what can’t be promised is refused before anybody votes', { timeoutMs: 60_000 });
chosen.after.each(() => shop.assertClean());

async function refusedBeforeVotes(go: () => unknown): Promise<Error> {
  const order = await shop.order();
  const log: string[] = [];
  const error = await assert.rejects(
    shop.place(order, { log, also: go, run: { attempts: 3 } }),
    TooManyLastResourcesError,
  );
  assert.ok(log.some((call) => call.endsWith('.commit')));
  assert.not.ok(log.some((call) => call.endsWith('.tpcVote')));
  assert.equal(await shop.look(order), NOTHING);
  return error;
}

chosen('two Redis servers: one could be applied, and the next fail', async () => {
  const second = register(new RedisSession(shop.cache.client, { name: 'sessions' }), { coordinator });
  const error = await refusedBeforeVotes(() => void second.set('another', '1'));
  assert.is(
    error.message,
    'at most one resource of a transaction may be unable to prepare; ~redis:cache and ~redis:sessions can only commit in one phase, ' +
      'so that one could commit and the next fail; nothing was committed',
  );
  assert.is(await shop.cache.admin.exists('another'), 0);
  await second.close();
});

/** Another session of each database, which isn't to prepare: nobody else's transactions are disturbed. */
const legacy: Record<Database, () => (text: string) => Promise<unknown>> = {
  orders: () => {
    const { session } = shop.orders.another({ name: 'legacy', register: { coordinator, twoPhase: false } });
    return (text) => session.query(text);
  },
  stock: () => {
    const { session } = shop.stock.another({ name: 'legacy', register: { coordinator, twoPhase: false } });
    return (text) => session.query(text);
  },
};

for (const database of ['orders', 'stock'] as const) {
  chosen(`Redis and ${database} that isn’t to prepare: one could commit, and the next fail`, async () => {
    const query = legacy[database]();
    const error = await refusedBeforeVotes(() => query('insert into accounts values (3, 0)'));
    assert.match(error.message, '~redis:cache and legacy can only commit in one phase');
    assert.equal(await shop[database].ids(), [1, 2]);
  });

  chosen(`Redis and ${database} that isn’t to prepare and only reads: that is fine`, async () => {
    const query = legacy[database]();
    const order = await shop.order();
    await shop.place(order, { also: () => query('select * from accounts') });
    assert.equal(await shop.look(order), ALL);
  });
}

chosen('PostgreSQL that can’t prepare as it is set up: the error says how to change that', async () => {
  const server = await startPostgres({ settings: { max_prepared_transactions: 0 } });
  const unprepared = await Shop.open({ servers: { postgres: server } });
  const order = await unprepared.order();
  const error = await assert.rejects(unprepared.place(order), ConfigurationError);
  assert.match(error.message, 'max_prepared_transactions');
  assert.equal(await unprepared.look(order), NOTHING);
  await unprepared.assertClean();
  await unprepared.close();
  await server.stop();
});

chosen('keys of a Redis Cluster in two slots: the second one is refused, and the whole with it', async () => {
  const cluster = await startRedisCluster();
  const client = new Cluster(
    cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })),
    { lazyConnect: true },
  );
  const session = register(new RedisSession(client, { name: 'cluster' }), { coordinator });
  const order = await shop.order();
  const steps = resources.filter((each) => each !== 'cache');
  const write =
    (...keys: string[]) =>
    async (): Promise<void> => {
      for (const key of keys) session.set(key, '1');
    };
  const error = await assert.rejects(shop.place(order, { steps, also: write('cart', 'stock') }), ConfigurationError);
  assert.match(
    error.message,
    "must be in one slot; 'cart' and 'stock' at 'cluster' are not: give their names the same hash tag",
  );
  assert.equal(await shop.look(order), NOTHING);

  await shop.place(order, { steps, also: write('{42}:cart', '{42}:stock') });
  assert.equal(await shop.look(order), { ...ALL, cache: 0 });
  assert.equal(await client.mget('{42}:cart', '{42}:stock'), ['1', '1']);
  await session.close();
  client.disconnect();
  await cluster.stop();
});

const edges = suite('all together: outside of a transaction');
edges.after(() => shop.close());

const anything: Record<(typeof resources)[number], () => unknown> = {
  orders: () => sessions.orders.query('select 1'),
  stock: () => sessions.stock.query('select 1'),
  cache: () => sessions.cache.get('k'),
  files: () => sessions.files.exists('incoming'),
  mail: () => sessions.mail.send({ to: 'alice@example.org' }),
};

edges('each refuses to change anything in a transaction that only reads', async () => {
  const order = await shop.order();
  for (const resource of resources) {
    const steps = [resource];
    const error = await assert.rejects(shop.place(order, { steps, run: { readOnly: true } }));
    assert.match(error.message, /read[- ]only/i);
  }
  assert.equal(await shop.look(order), NOTHING);
  await shop.assertClean();
});

edges('Redis can’t be registered as one that prepares', () => {
  assert.throws(() => register(sessions.cache, { twoPhase: true }), /Redis can't, so 'cache' is a last resource/);
});

for (const resource of resources) {
  edges(`${resource}: nothing is done without a transaction, nor behind its end`, async () => {
    await assert.rejects(async () => anything[resource](), NoTransaction);
    let over!: () => void;
    const ended = new Promise<void>((resolve) => (over = resolve));
    const late = await coordinator.run(async () => ({ result: ended.then(() => anything[resource]()) }));
    over();
    await assert.rejects(late.result, TransactionClosed);
  });
}
