// Protects that an order against which one of the five votes leaves nothing: databases that refuse to prepare, a file that was changed,
// a mail that is broken, and Redis, whose vote is its EXEC.
import { mkdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { ConnectionLostError, TransactionError } from 'unanimous';
import { FileConflictError } from 'unanimous/files';
import { PartlyAppliedError, WatchConflictError } from 'unanimous/redis';
import { assert, suite } from '../support/suite.ts';
import { EXEC, type Fault, PREPARE, loseRequest, testRefusals, whenPrepared } from './faults.ts';
import { NOTHING } from './order.ts';
import { Shop } from './shop.ts';

const shop = await Shop.open();

const whileVoting: Fault[] = [
  {
    resource: 'orders',
    what: 'a deferred constraint fails at PREPARE',
    order: { customer: 'refused' },
    error: { code: 'P0001' },
    says: /the customer is refused/,
  },
  {
    resource: 'orders',
    what: 'what can’t be prepared was used',
    also: ({ sessions }) => sessions.orders.query('create temporary table t (i int) on commit drop'),
    error: { code: '0A000' },
    says: /temporary/,
  },
  {
    resource: 'orders',
    what: 'PREPARE TRANSACTION doesn’t arrive',
    also: ({ orders }) => loseRequest(orders.proxy, PREPARE.orders),
    error: ConnectionLostError,
    says: /orders/,
  },
  {
    resource: 'orders',
    what: 'the reply to PREPARE TRANSACTION is lost',
    also: (all) => whenPrepared(all, 'orders', (link) => link.cut()),
    error: ConnectionLostError,
    says: /orders/,
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
    what: 'the reply to XA PREPARE is lost',
    also: (all) => whenPrepared(all, 'stock', (link) => link.cut()),
    error: ConnectionLostError,
    says: /stock/,
  },
];

const ofFilesAndMails: Fault[] = [
  {
    resource: 'files',
    what: 'somebody else has changed the file since',
    also: (all, order) => writeFile(all.incoming(order), 'changed'),
    after: (all, order) => all.restore(order),
    error: FileConflictError,
    says: /was changed or replaced, so nothing was committed/,
  },
  {
    resource: 'files',
    what: 'somebody else has made a file of the new name',
    also: (all, order) => writeFile(all.placed(order), 'another'),
    after: (all, order) => rm(all.placed(order)),
    error: FileConflictError,
    says: /was changed or replaced, so nothing was committed/,
  },
  {
    resource: 'files',
    what: 'a folder has the new name now',
    also: (all, order) => mkdir(all.placed(order)),
    after: (all, order) => rmdir(all.placed(order)),
    error: TransactionError,
    says: /is a folder/,
  },
  {
    resource: 'files',
    what: 'the file is gone',
    also: (all, order) => rm(all.incoming(order)),
    after: (all, order) => all.restore(order),
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
    says: /a stream of .* failed \(the disk is broken\), so nothing was committed/,
  },
];

const ofTheLastResource: Fault[] = [
  {
    resource: 'cache',
    what: 'what it has watched was changed',
    first: ({ sessions }) => sessions.cache.watch('catalogue'),
    also: ({ cache }) => cache.admin.incr('catalogue'),
    error: WatchConflictError,
    says: /catalogue at 'cache', something was, so nothing was applied/,
  },
  {
    resource: 'cache',
    what: 'EXEC is refused, because the memory is full',
    also: ({ cache }) => cache.admin.config('SET', 'maxmemory', '1'),
    after: ({ cache }) => cache.admin.config('SET', 'maxmemory', '0'),
    error: { name: 'ReplyError' },
    says: /^OOM/,
  },
  {
    resource: 'cache',
    what: 'EXEC is refused, because the server is a replica now',
    also: ({ cache }) => cache.admin.replicaof('127.0.0.1', 1),
    after: ({ cache }) => cache.admin.replicaof('NO', 'ONE'),
    error: { name: 'ReplyError' },
    says: /^READONLY/,
  },
  {
    resource: 'cache',
    what: 'the only command fails when it is run',
    before: ({ cache }, { id }) => cache.admin.set(`order:${id}`, 'something else'),
    after: ({ cache }, { id }) => cache.admin.del(`order:${id}`),
    error: { name: 'ReplyError' },
    says: /WRONGTYPE/,
  },
  {
    resource: 'cache',
    what: 'EXEC doesn’t arrive',
    also: ({ cache }) => loseRequest(cache.proxy, EXEC),
    error: ConnectionLostError,
    says: /it was not run, so nothing was applied/,
  },
  {
    resource: 'cache',
    what: 'its connections were lost before EXEC, and the server can’t be reached',
    also: ({ cache }) => {
      cache.proxy.refuse = true;
      cache.proxy.cut();
    },
    after: ({ cache }) => {
      cache.proxy.refuse = false;
    },
    error: ConnectionLostError,
    says: /cache/,
  },
];

const prepare = suite('all together: a database refuses to prepare');
testRefusals(prepare, shop, 'tpcVote', whileVoting);

const others = suite('all together: a file or a mail votes no');
testRefusals(others, shop, 'tpcVote', ofFilesAndMails);

const last = suite('all together: the last resource votes no');
testRefusals(last, shop, 'tpcVote', ofTheLastResource);

last(
  'cache: one of several commands fails when it is run: the others stay applied there and nothing else is done, which the error says',
  async () => {
    const order = await shop.order();
    await shop.cache.admin.rpush('list', 'a');
    const error = await assert.rejects(
      shop.place(order, { also: () => shop.sessions.cache.incr('list'), run: { attempts: 3 } }),
      PartlyAppliedError,
    );
    assert.equal(
      [error.applied, error.failed].map((commands) => commands.map(({ command, keys }) => [command, ...keys])),
      [[['hset', `order:${order.id}`]], [['incr', 'list']]],
    );
    assert.match(error.message, `incr list (WRONGTYPE`);
    assert.match(
      error.message,
      `hset order:${order.id} stays applied: put that right by hand, and do not repeat the work`,
    );
    assert.equal(await shop.look(order), { ...NOTHING, cache: 1 });
    await shop.assertClean();
    await shop.cache.admin.del('list');
  },
);

last.after(() => shop.close());
