// Protects an order from servers that are killed in each of its phases and started again: before the decision nothing is left of it, after
// it everything is there.
import { ConnectionLostError, InDoubtError, type Transaction } from 'unanimous';
import { onText } from '../datamanagers/sql/helpers.ts';
import type { Link } from '../support/proxy.ts';
import { startMariadb, startPostgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { EXEC, PREPARE, whenPrepared } from './faults.ts';
import { at } from './moments.ts';
import { ALL, type Database, NOTHING } from './order.ts';
import { Shop } from './shop.ts';

const test = suite('all together: servers are killed', { timeoutMs: 90_000 });
const servers = { orders: await startPostgres(), stock: await startMariadb() };
// A server that is killed takes its time to be back.
const patient = { resolveTimeoutMs: 60_000 };
const shop = await Shop.open({
  orders: patient,
  stock: patient,
  // What Redis has answered, it still knows after its death.
  cache: { ...patient, flags: ['--appendonly', 'yes', '--appendfsync', 'always'] },
  servers: { postgres: servers.orders, mariadb: servers.stock },
});
const all = { ...servers, cache: shop.cache.server };
type Server = keyof typeof all;
test.after(async () => {
  await shop.close();
  await Promise.all([servers.orders.stop(), servers.stock.stop()]);
});

let restarted: Promise<void> | undefined;

/** Kills a server, which is started again without being waited for. */
async function kill(server: Server): Promise<void> {
  await all[server].kill('SIGKILL');
  restarted = all[server].restart();
}

/** Kills a server, and then its link to us, while something is on its way. */
function killUnderWay(server: Server, link: Link): void {
  restarted = kill(server)
    .finally(() => link.cut())
    .then(() => restarted);
}

/** Kills the server when a text is on its way to it, which doesn't arrive. */
function killBefore(server: Server, text: string): void {
  onText(shop[server].proxy, text, (link) => {
    killUnderWay(server, link);
    return false;
  });
}

/** Kills the server when it answers a text, and the answer doesn't arrive. */
function killBehind(server: Server, text: string): void {
  const { proxy } = shop[server];
  onText(proxy, text, (link) => {
    proxy.onServerData = (_, from) => {
      if (from !== link) return undefined;
      proxy.onServerData = undefined;
      killUnderWay(server, link);
      return false;
    };
  });
}

/** Kills the database when it has prepared, and the answer doesn't arrive. */
function killPrepared(database: Database): void {
  whenPrepared(shop, database, (link) => killUnderWay(database, link));
}

const undone: Record<string, (txn: Transaction) => unknown> = {
  'PostgreSQL, between its last statement and its vote': () => kill('orders'),
  'PostgreSQL, before PREPARE TRANSACTION arrives': () => killBefore('orders', PREPARE.orders),
  'PostgreSQL, when it has prepared, and before it says so': () => killPrepared('orders'),
  'MariaDB, between its last statement and its vote': () => kill('stock'),
  'MariaDB, before XA PREPARE arrives': () => killBefore('stock', PREPARE.stock),
  'MariaDB, when it has prepared, and before it says so': () => killPrepared('stock'),
  'Redis, between a watch and the votes': async () => {
    await shop.sessions.cache.watch('catalogue');
    await kill('cache');
  },
};

/** The connection was lost: as the session has it, or as PostgreSQL's last word. */
function isLoss(error: unknown): boolean {
  return error instanceof ConnectionLostError || (error as { code?: string }).code === '57P01';
}

for (const [what, go] of Object.entries(undone)) {
  test(`${what}: nothing is left`, async () => {
    const order = await shop.order();
    await assert.rejects(shop.place(order, { also: go }), isLoss);
    await restarted;
    assert.equal(await shop.look(order), NOTHING);
    await shop.assertClean();
    await shop.place(order);
    assert.equal(await shop.look(order), ALL);
  });
}

const completed: Record<string, (txn: Transaction) => unknown> = {
  'PostgreSQL, between its vote and the decision': (txn) => at(txn, 'tpcVote', 'behindDatabases', () => kill('orders')),
  'PostgreSQL, before COMMIT PREPARED arrives': () => killBefore('orders', 'commit prepared'),
  'PostgreSQL, when it has committed, and before it says so': () => killBehind('orders', 'commit prepared'),
  'MariaDB, between its vote and the decision': (txn) => at(txn, 'tpcVote', 'behindDatabases', () => kill('stock')),
  'MariaDB, before XA COMMIT arrives': () => killBefore('stock', 'xa commit'),
  'MariaDB, when it has committed, and before it says so': () => killBehind('stock', 'xa commit'),
  'Redis, before the votes': async () => {
    await kill('cache');
    await restarted;
  },
  'Redis, when it has run EXEC, and before it says so': () => killBehind('cache', EXEC),
  'Redis, behind EXEC': (txn) => at(txn, 'tpcFinish', 'first', () => kill('cache')),
};

for (const [what, go] of Object.entries(completed)) {
  test(`${what}: everything is done`, async () => {
    const order = await shop.order();
    const txn = await shop.place(order, { also: go, run: { attempts: 3 } });
    await restarted;
    assert.is(txn.attempt, 1);
    assert.equal(await shop.look(order), ALL);
    await shop.assertClean();
  });
}

test('PostgreSQL and MariaDB, both between their votes and the decision: everything is done', async () => {
  const order = await shop.order();
  const restarts: unknown[] = [];
  const killBoth = async (): Promise<void> => {
    for (const each of ['orders', 'stock'] as const) {
      await kill(each);
      restarts.push(restarted);
    }
  };
  await shop.place(order, { also: (txn) => at(txn, 'tpcVote', 'behindDatabases', killBoth) });
  await Promise.all(restarts);
  assert.equal(await shop.look(order), ALL);
  await shop.assertClean();
});

test('Redis, before EXEC arrives: another process can’t know, so nobody else does anything', async () => {
  const order = await shop.order();
  const error = await assert.rejects(
    shop.place(order, { also: () => killBefore('cache', EXEC), run: { attempts: 3 } }),
    InDoubtError,
  );
  await restarted;
  assert.equal(error.finished, []);
  assert.equal(await shop.look(order), NOTHING);
  await shop.endPrepared(['orders', 'stock'], 'rollback', error.xid!);
  await shop.assertClean();
  await shop.place(order);
  assert.equal(await shop.look(order), ALL);
});
