// Protects what is said of an order, and left of it, where a server can't be reached for longer than it is waited for: what is prepared
// stays so, everything else is complete or not begun, and by what the error says the rest can be done by hand.
import { rename } from 'node:fs/promises';
import {
  CommitOutcomeUnknownError,
  ConnectionLostError,
  InDoubtError,
  type Transaction,
  type TransactionError,
} from 'unanimous';
import { WatchConflictError } from 'unanimous/redis';
import { suppressedBy } from '../coordinator/recording.ts';
import { onText } from '../datamanagers/sql/helpers.ts';
import { assert, suite } from '../support/suite.ts';
import { EXEC, filesOf, mailsOf, whenPrepared } from './faults.ts';
import { at } from './moments.ts';
import { ALL, type Database, NOTHING, type Order, inErrors, resources } from './order.ts';
import { Shop } from './shop.ts';

const test = suite('all together: in doubt');
const short = { resolveTimeoutMs: 300 };
const shop = await Shop.open({ orders: short, stock: short, cache: short });
test.after(() => shop.close());
test.after.each(() => shop.assertClean());

/** Cuts databases off, so that they can't be reached any more. */
function cutOff(databases: readonly Database[]): void {
  for (const each of databases) {
    shop[each].proxy.refuse = true;
    shop[each].proxy.cut();
  }
}

async function placeInDoubt(order: Order, also: (txn: Transaction) => unknown): Promise<InDoubtError> {
  return assert.rejects(shop.place(order, { also, run: { attempts: 3 } }), InDoubtError);
}

for (const databases of [['orders'], ['stock'], ['orders', 'stock']] as const) {
  test(`${databases.join(' and ')} can’t be reached when they are to commit: they stay prepared, and all else is complete`, async () => {
    const order = await shop.order();
    const error = await placeInDoubt(order, (txn) => at(txn, 'tpcFinish', 'beforeDatabases', () => cutOff(databases)));
    const others = resources.filter((each) => !databases.some((database) => database === each));
    assert.equal(error.unfinished, databases);
    assert.equal(
      error.finished.filter((each) => each !== '~sq').toSorted(),
      others.map((each) => inErrors[each]).toSorted(),
    );
    assert.match(error.message, 'what is prepared stays so until it is committed');
    for (const each of databases) shop[each].proxy.refuse = false;

    const missing = Object.fromEntries(databases.map((each) => [each, 0]));
    assert.equal(await shop.look(order), { ...ALL, ...missing });
    const prepared = await shop.prepared();
    for (const each of ['orders', 'stock'] as const) {
      assert.is(prepared[each].length, databases.some((database) => database === each) ? 1 : 0);
    }
    await shop.endPrepared(databases, 'commit', error.xid!);
    assert.equal(await shop.look(order), ALL);
  });
}

for (const database of ['orders', 'stock'] as const) {
  test(`${database} can’t be reached when it is to roll back: it stays prepared, and nothing else is done`, async () => {
    const order = await shop.order();
    const placing = shop.place(order, {
      first: () => shop.sessions.cache.watch('catalogue'),
      also: (txn) =>
        at(txn, 'tpcVote', 'behindDatabases', async () => {
          await shop.cache.admin.incr('catalogue');
          cutOff([database]);
        }),
    });
    const error = await assert.rejects(placing, WatchConflictError);
    shop[database].proxy.refuse = false;
    await leftPrepared(order, database, error);
  });

  test(`${database} has prepared, which isn’t heard of, and can’t be reached: it stays prepared, and nothing else is done`, async () => {
    const order = await shop.order();
    const also = (): void => whenPrepared(shop, database, () => cutOff([database]));
    const error = await assert.rejects(shop.place(order, { also }), ConnectionLostError);
    shop[database].proxy.refuse = false;
    await leftPrepared(order, database, error);
  });
}

/** What can't be rolled back is said by an error beside the one that ended the transaction, and can be rolled back by hand. */
async function leftPrepared(order: Order, database: Database, error: Error): Promise<void> {
  const [beside] = suppressedBy(error) as [TransactionError];
  assert.is(beside.resource, database);
  assert.match(beside.message, `what is prepared must be ended; `);
  assert.match(beside.message, /it keeps its locks until it is, by hand with (ROLLBACK PREPARED|XA ROLLBACK)/);
  const prepared = await shop.prepared();
  assert.equal([prepared.orders.length, prepared.stock.length], database === 'orders' ? [1, 0] : [0, 1]);
  assert.equal(await shop.look(order), NOTHING);
  await shop.endPrepared([database], 'rollback', beside.xid!);
  await shop.assertClean();
  await shop.place(order);
  assert.equal(await shop.look(order), ALL);
}

for (const wasRun of [true, false]) {
  test(`cache: whether EXEC was run can’t be found out (it was${wasRun ? '' : ' not'}): nobody else does anything`, async () => {
    const order = await shop.order();
    const { proxy, admin } = shop.cache;
    const error = await placeInDoubt(order, () => {
      onText(proxy, EXEC, (link) => {
        proxy.refuse = true;
        if (wasRun) proxy.onServerData = (_, from) => (from.cut(), false);
        else link.cut();
        return wasRun;
      });
    });
    proxy.onServerData = undefined;
    proxy.refuse = false;

    assert.instance(error.cause, CommitOutcomeUnknownError);
    assert.equal(error.finished, []);
    assert.equal(error.unfinished, [inErrors.files, inErrors.orders, inErrors.stock, inErrors.mail]);
    assert.match(error.message, /the outcome at cache must be known .* then commit or roll back what is prepared/);
    const [files, mails] = suppressedBy(error.cause);
    assert.equal(filesOf(files), [`rename ${shop.incoming(order)} ${shop.placed(order)} not tried`]);
    assert.equal(mailsOf(mails), ['alice@example.org not sent']);
    assert.equal(await shop.look(order), { ...NOTHING, cache: Number(wasRun) });

    // The key that the error names says how it ended.
    const [, token] = /where the key (\S+) exists, it was/.exec((error.cause as Error).message)!;
    assert.is(await admin.exists(token!), Number(wasRun));
    await shop.endPrepared(['orders', 'stock'], wasRun ? 'commit' : 'rollback', error.xid!);
    if (wasRun) await rename(shop.incoming(order), shop.placed(order));
    assert.equal(await shop.look(order), wasRun ? { ...ALL, mail: 0 } : NOTHING);
    await shop.assertClean();
    if (!wasRun) await shop.place(order);
  });
}
