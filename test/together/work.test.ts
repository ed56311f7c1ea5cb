// Protects that an order of which one resource fails while it is worked on, or when it hands over its changes, leaves nothing with any of
// the five.
import { rename } from 'node:fs/promises';
import type { PoolConnection } from 'mysql2/promise';
import { ConcurrentUseError, ConfigurationError, ConnectionLostError, SilentRollbackError } from 'unanimous';
import { MailServerError } from 'unanimous/mail';
import { onText } from '../datamanagers/sql/helpers.ts';
import { refusal } from '../datamanagers/mail/setup.ts';
import { raise } from '../coordinator/recording.ts';
import { suite } from '../support/suite.ts';
import { type Fault, endIdle, testRefusals, ways } from './faults.ts';
import { Shop } from './shop.ts';

let locker: PoolConnection;

const whileWorking: Fault[] = [
  {
    resource: 'orders',
    what: 'a statement is refused',
    also: ({ sessions }, { id }) => sessions.orders.query("insert into orders values ($1, 'twice', '')", [id]),
    error: { code: '23505' },
    says: /duplicate key/,
  },
  {
    resource: 'orders',
    what: 'its process of the server is terminated between two statements',
    also: async (all, _, txn) => {
      await endIdle(all, 'orders', txn);
      await all.sessions.orders.query('select 1');
    },
    error: ConnectionLostError,
    says: /'orders' is gone/,
  },
  {
    resource: 'stock',
    what: 'there isn’t enough',
    order: { quantity: 11 },
    error: { errno: 4025 },
    says: /CONSTRAINT/,
  },
  {
    resource: 'stock',
    what: 'somebody else has the lock for too long, which undoes the statement only',
    first: ({ sessions }) => sessions.stock.query('set session innodb_lock_wait_timeout = 1'),
    before: async ({ stock }, { article }) => {
      locker = await stock.admin.getConnection();
      await locker.query('begin');
      await locker.query('select * from articles where id = ? for update', [article]);
    },
    after: async () => {
      await locker.query('rollback');
      locker.release();
    },
    error: { errno: 1205 },
    says: /Lock wait timeout/,
  },
  {
    resource: 'stock',
    what: 'its connection is ended between two statements',
    also: async (all, _, txn) => {
      await endIdle(all, 'stock', txn);
      await all.sessions.stock.query('select 1');
    },
    error: ConnectionLostError,
    says: /'stock' is gone/,
  },
  {
    resource: 'cache',
    what: 'a read is refused',
    before: ({ cache }) => cache.admin.rpush('list', 'a'),
    also: ({ sessions }) => sessions.cache.get('list'),
    after: ({ cache }) => cache.admin.del('list'),
    error: { name: 'ReplyError' },
    says: /WRONGTYPE/,
  },
  {
    resource: 'cache',
    what: 'its connection is lost at a read',
    also: async ({ cache, sessions }) => {
      await sessions.cache.get('something');
      onText(cache.proxy, 'something', (link) => link.cut());
      await sessions.cache.get('something');
    },
    error: ConnectionLostError,
    says: /cache/,
  },
  {
    resource: 'files',
    what: 'the file isn’t there',
    before: (shop, order) => rename(shop.incoming(order), shop.folder.join('elsewhere')),
    after: (shop, order) => rename(shop.folder.join('elsewhere'), shop.incoming(order)),
    error: { code: 'ENOENT' },
    says: /rename/,
  },
  {
    resource: 'mail',
    what: 'the recipient is no address',
    order: { to: 'alice' },
    error: ConfigurationError,
    says: /recipient of a mail must be an address/,
  },
];
const whenHandedOver: Fault[] = [
  {
    resource: 'orders',
    what: 'a statement has failed, and nobody was told',
    also: ({ sessions }) => sessions.orders.query('select nonsense').catch(() => undefined),
    error: SilentRollbackError,
    says: /orders/,
  },
  {
    resource: 'orders',
    what: 'its process of the server was terminated while nothing was asked of it',
    also: (all, _, txn) => endIdle(all, 'orders', txn),
    error: ConnectionLostError,
    says: /orders/,
  },
  {
    resource: 'stock',
    what: 'a statement has failed, and nobody was told',
    also: ({ sessions }) => sessions.stock.query('select nonsense').catch(() => undefined),
    error: SilentRollbackError,
    says: /stock/,
  },
  {
    resource: 'stock',
    what: 'its connection was ended while nothing was asked of it',
    also: (all, _, txn) => endIdle(all, 'stock', txn),
    error: ConnectionLostError,
    says: /stock/,
  },
  {
    resource: 'cache',
    what: 'a read is still under way',
    also: ({ cache, sessions }) => {
      cache.proxy.delayToClientMs = 50;
      void sessions.cache.get('something').catch(() => undefined);
    },
    after: ({ cache }) => {
      cache.proxy.delayToClientMs = 0;
    },
    error: ConcurrentUseError,
    says: /every read and every watch must be awaited/,
  },
  {
    resource: 'cache',
    what: 'a watch has failed, and nobody was told',
    also: ({ cache, sessions }) => {
      onText(cache.proxy, 'watch', (link) => link.cut());
      return sessions.cache.watch('catalogue').catch(() => undefined);
    },
    error: ConnectionLostError,
    says: /cache/,
  },
  {
    resource: 'files',
    what: 'a change is still under way',
    also: ({ sessions }) => void sessions.files.writeFile('placed/another', 'text').catch(() => undefined),
    error: ConcurrentUseError,
    says: /every change of a file must be awaited/,
  },
  {
    resource: 'mail',
    what: 'the server isn’t there',
    isHarmlessDecided: true,
    before: ({ mailProxy }) => (mailProxy.refuse = true),
    after: ({ mailProxy }) => (mailProxy.refuse = false),
    error: MailServerError,
    says: /nothing was committed/,
  },
  {
    resource: 'mail',
    what: 'the server is closing',
    isHarmlessDecided: true,
    before: ({ mailServer }) => (mailServer.onConnect = () => raise(refusal('closing', 421))),
    after: ({ mailServer }) => (mailServer.onConnect = undefined),
    error: MailServerError,
    says: /nothing was committed/,
  },
];

for (const [isDecided, way] of ways) {
  const shop = await Shop.open({ isDecided });

  const work = suite(`all together, ${way}: one fails while it is worked on`);
  testRefusals(work, shop, 'work', whileWorking);

  const handedOver = suite(`all together, ${way}: one fails when all hand over their changes`);
  testRefusals(handedOver, shop, 'commit', whenHandedOver);
  handedOver.after(() => shop.close());
}
