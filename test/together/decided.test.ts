// Protects an order over five resources whose decision is written down, in the database of the orders: what is undone before it, and what
// is done behind it although servers are away. Redis' writes and mails are stored with the decision, and done as often as it takes.
import { rename, writeFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { ConfigurationError, ConnectionLostError, InDoubtError, type Transaction, TransactionError } from 'unanimous';
import { FileConflictError } from 'unanimous/files';
import { RedisSession } from 'unanimous/redis';
import { register } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { type Fault, PREPARE, loseReply, loseRequest, testRefusals, whenPrepared } from './faults.ts';
import { at } from './moments.ts';
import { ALL, NOTHING, type Resource, inErrors } from './order.ts';
import { Shop } from './shop.ts';

const shop = await Shop.open({ isDecided: true });
/** A part of the decision to commit, which the COMMIT of the orders goes along with. */
const DECISION = '["stock"]';

const order = suite('all together, with a decision store: an order');
order.after.each(() => shop.assertClean());

order(
  'the orders’ own COMMIT takes the decision along, behind all votes; what is stored with it comes last',
  async () => {
    const log: string[] = [];
    const placed = await shop.order();
    const txn = await shop.place(placed, { log });
    assert.equal(await shop.look(placed), ALL);
    assert.equal(txn.outcome, { result: 'committed', way: 'last-resource' });
    assert.equal(
      log.filter((call) => /tpcVote|tpcFinish/.test(call)),
      [
        'files.tpcVote',
        // Its writes are stored, so there is nothing to vote on.
        'cache.tpcVote',
        'stock.tpcVote',
        'mail.tpcVote',
        // Here the orders commit, and with them the decision.
        'files.tpcFinish',
        'cache.tpcFinish',
        'stock.tpcFinish',
        'mail.tpcFinish',
        'orders.tpcFinish',
      ],
    );
  },
);

const refused = suite('all together, with a decision store: one says no');

const faults: Fault[] = [
  {
    resource: 'orders',
    what: 'a deferred constraint fails at COMMIT',
    order: { customer: 'refused' },
    error: { code: 'P0001' },
    says: /the customer is refused/,
  },
  {
    resource: 'orders',
    what: 'its COMMIT, with the decision, doesn’t arrive',
    also: ({ orders }) => loseRequest(orders.proxy, DECISION),
    error: TransactionError,
    says: /orders|decision/,
  },
  {
    resource: 'stock',
    what: 'XA PREPARE doesn’t arrive',
    also: ({ stock }) => loseRequest(stock.proxy, PREPARE.stock),
    error: ConnectionLostError,
    says: /stock/,
  },
  {
    resource: 'stock',
    what: 'it has prepared, and the reply is lost',
    also: (all) => whenPrepared(all, 'stock', (link) => link.cut()),
    error: ConnectionLostError,
    says: /stock/,
  },
  {
    resource: 'files',
    what: 'somebody else has changed the file since',
    also: (all, { id }) => writeFile(all.folder.join('incoming', String(id)), 'changed'),
    after: (all, placed) => all.restore(placed),
    error: FileConflictError,
    says: /was changed or replaced, so nothing was committed/,
  },
  {
    resource: 'mail',
    what: 'an attachment can’t be read',
    also: ({ sessions }) => {
      const broken = new PassThrough();
      sessions.mail.send({ to: 'bob@example.org', attachments: [{ filename: 'a', content: broken }] });
      broken.destroy(new Error('the disk is broken'));
    },
    error: TransactionError,
    says: /the disk is broken/,
  },
];
testRefusals(refused, shop, 'tpcVote', faults);

testRefusals(refused, shop, 'commit', [
  {
    resource: 'cache',
    what: 'it watches, which only its own EXEC can check: refused before anybody votes',
    also: ({ sessions }) => sessions.cache.watch('catalogue'),
    error: ConfigurationError,
    says: /needs all of them but the decision store's own to prepare, and ~redis:cache can't/,
  },
]);

const done = suite('all together, with a decision store: what is decided is done');
done.after.each(() => shop.assertClean());

done('two Redis servers are fine: both come behind the decision', async () => {
  const second = register(new RedisSession(shop.cache.client, { name: 'sessions' }), {
    coordinator: shop.coordinator,
  });
  const placed = await shop.order();
  await shop.place(placed, { also: () => void second.set('another', '1') });
  assert.equal(await shop.look(placed), ALL);
  assert.is(await shop.cache.admin.get('another'), '1');
  await second.close();
});

const harmless: Record<string, () => unknown> = {
  'orders: the reply to its COMMIT is lost': () => loseReply(shop.orders.proxy, DECISION),
  'stock: XA COMMIT doesn’t arrive': () => loseRequest(shop.stock.proxy, 'xa commit'),
  'stock: the reply to XA COMMIT is lost': () => loseReply(shop.stock.proxy, 'xa commit'),
};

for (const [what, go] of Object.entries(harmless)) {
  done(`${what}: everything is done all the same`, async () => {
    const placed = await shop.order();
    const txn = await shop.place(placed, { also: go });
    assert.equal(txn.outcome, { result: 'committed', way: 'last-resource' });
    assert.equal(await shop.look(placed), ALL);
  });
}

done('the mail server refuses the recipient: nobody is thrown it, it is reported, and tried again', async () => {
  const placed = await shop.order({ to: 'refused@example.org' });
  const before = shop.reported.length;
  await shop.place(placed);
  assert.equal(await shop.look(placed), { ...ALL, mail: 0 });
  assert.match(shop.reported[before]!.message, /to 'mail' was not .*, and is tried again/);
  // The recipient has moved in.
  await shop.orders.admin.query(`update unanimous_outbox set payload = replace(payload, 'refused@', 'alice@')`);
  await shop.recover();
  assert.equal(await shop.look(placed), ALL);
});

done('the file can’t be put in place, which nobody can do later: the error says so, and all else is done', async () => {
  const placed = await shop.order();
  const [folder, elsewhere] = [shop.folder.join('placed'), shop.folder.join('elsewhere')];
  const also = (txn: Transaction): void => at(txn, 'tpcFinish', 'first', () => rename(folder, elsewhere));
  const error = await assert.rejects(shop.place(placed, { also, run: { attempts: 3 } }), InDoubtError);
  await rename(elsewhere, folder);
  assert.equal(error.unfinished, [inErrors.files]);
  // The decision is kept until somebody has looked that no database needs it.
  await shop.recover();
  assert.equal(await shop.look(placed), { ...ALL, files: 0 });
});

const later = suite('all together, with a decision store: what can’t be done now is done later');
const short = { resolveTimeoutMs: 300, acquireTimeoutMs: 2_000 };
const impatient = await Shop.open({ isDecided: true, stock: short, cache: short });
later.after.each(() => impatient.assertClean());
later.after(() => impatient.close());

type Remote = Exclude<Resource, 'orders' | 'files'>;
const proxies = { stock: impatient.stock.proxy, cache: impatient.cache.proxy, mail: impatient.mailProxy };

/** Cuts servers off, so that they can't be reached, or lets them be. */
function cutOff(...resources: Remote[]): void {
  for (const each of resources) {
    proxies[each].refuse = true;
    proxies[each].cut();
  }
}
function bringBack(): void {
  for (const proxy of Object.values(proxies)) proxy.refuse = false;
}

const away: readonly Remote[][] = [['stock'], ['cache'], ['mail'], ['cache', 'mail'], ['stock', 'cache', 'mail']];
for (const resources of away) {
  later(`${resources.join(' and ')} can’t be reached behind the decision: done when it can be`, async () => {
    const placed = await impatient.order();
    const txn = await impatient.place(placed, {
      also: (current) => at(current, 'tpcFinish', 'first', () => cutOff(...resources)),
    });
    const missing = Object.fromEntries(resources.map((each) => [each, 0]));
    assert.equal(await impatient.look(placed), { ...ALL, ...missing });
    const pending = resources.includes('stock') ? { pendingFinish: ['stock'] } : {};
    assert.equal(txn.outcome, { result: 'committed', way: 'last-resource', ...pending });
    bringBack();
    const undelivered = resources.filter((each) => each !== 'stock').length;
    // What was delivered to Redis is deleted a little later.
    await assert.eventually(async () => {
      assert.is((await impatient.orders.admin.query('select from unanimous_outbox')).rowCount, undelivered);
    });
    const report = await impatient.recover();
    assert.equal(await impatient.look(placed), ALL);
    assert.is(report.delivered, undelivered);
  });
}

const doubt = suite('all together, with a decision store: whether it is decided isn’t known', { timeoutMs: 60_000 });
doubt.after.each(() => shop.assertClean());
doubt.after(() => shop.close());

for (const wasDecided of [true, false]) {
  doubt(
    `nobody does anything until that is known, and then all do what was decided (it was${wasDecided ? '' : ' not'})`,
    async () => {
      const { proxy } = shop.orders;
      const placed = await shop.order();
      let doubtful: Transaction | undefined;
      const also = (txn: Transaction): void => {
        doubtful = txn;
        // The store's own connections lead through the proxy as well.
        (wasDecided ? loseReply : loseRequest)(proxy, DECISION, () => ((proxy.refuse = true), proxy.cut()));
      };
      const error = await assert.rejects(shop.place(placed, { also, run: { attempts: 3 } }), InDoubtError);
      assert.match(error.message, /decision store/);
      assert.equal(await shop.look(placed), { ...NOTHING, orders: Number(wasDecided) });
      proxy.refuse = false;
      await shop.recover();
      assert.is(await doubtful!.resolved, wasDecided ? 'committed' : 'aborted');
      assert.equal(await shop.look(placed), wasDecided ? { ...ALL, files: 0 } : NOTHING);
    },
  );
}
