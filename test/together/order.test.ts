// Protects what an order over five resources comes to when nothing goes wrong: all five, by the last-resource way; and who is asked
// and told before whom, whatever the order in which they were used.
import { WatchConflictError } from 'unanimous/redis';
import { assert, suite } from '../support/suite.ts';
import { type Place, at, places } from './moments.ts';
import { ALL, NOTHING, resources } from './order.ts';
import { Shop } from './shop.ts';

const test = suite('all together: an order');
const shop = await Shop.open();
test.after(() => shop.close());
test.after.each(() => shop.assertClean());

test('an order is complete, and nothing of it is to be seen before its commit', async () => {
  const order = await shop.order();
  const txn = await shop.place(order, { also: async () => assert.equal(await shop.look(order), NOTHING) });
  assert.equal(await shop.look(order), ALL);
  assert.equal(txn.outcome, { result: 'committed', way: 'last-resource' });
});

test('what can be undone votes before what can’t, and what can’t be taken back is done last', async () => {
  const log: string[] = [];
  await shop.place(await shop.order(), { log });
  assert.equal(log, [
    'files.tpcBegin',
    'cache.tpcBegin',
    'orders.tpcBegin',
    'stock.tpcBegin',
    'mail.tpcBegin',
    'files.commit',
    'cache.commit',
    'orders.commit',
    'stock.commit',
    // Asks the mail server: where it isn't there, no database has prepared yet.
    'mail.commit',
    // Finds what would keep the file from being put in place, and has nothing to undo when it says no.
    'files.tpcVote',
    // PREPARE and XA PREPARE, at once: what is prepared can be rolled back.
    'orders.tpcVote',
    'stock.tpcVote',
    'mail.tpcVote',
    // EXEC, which can't be taken back: it decides, so it comes when all others have said yes.
    'cache.tpcVote',
    // Before the databases: whoever reads of it in the database finds the file in place.
    'files.tpcFinish',
    // COMMIT PREPARED and XA COMMIT, at once.
    'orders.tpcFinish',
    'stock.tpcFinish',
    // Behind them: nobody gets a mail about what can't be seen yet.
    'mail.tpcFinish',
    'cache.tpcFinish',
  ]);
});

test('nothing is to be seen before the decision, and then each when it is its turn', async () => {
  const order = await shop.order();
  const seen: Record<string, unknown> = {};
  await shop.place(order, {
    also: (txn) => {
      for (const phase of ['tpcVote', 'tpcFinish'] as const) {
        for (const where of Object.keys(places) as Place[]) {
          at(txn, phase, where, async () => {
            const prepared = Object.values(await shop.prepared()).map((branches) => branches.length);
            seen[`${phase} ${where}`] = { ...(await shop.look(order)), prepared };
          });
        }
      }
    },
  });
  const decided = { ...NOTHING, cache: 1 };
  assert.equal(seen, {
    'tpcVote first': { ...NOTHING, prepared: [0, 0] },
    'tpcVote beforeDatabases': { ...NOTHING, prepared: [0, 0] },
    'tpcVote behindDatabases': { ...NOTHING, prepared: [1, 1] },
    'tpcVote last': { ...NOTHING, prepared: [1, 1] },
    'tpcFinish first': { ...decided, prepared: [1, 1] },
    'tpcFinish beforeDatabases': { ...decided, files: 1, prepared: [1, 1] },
    'tpcFinish behindDatabases': { ...ALL, mail: 0, prepared: [0, 0] },
    'tpcFinish last': { ...ALL, prepared: [0, 0] },
  });
});

const everyOrder = [...permutations(resources)];

test('in whatever order the resources are used, they are asked and told in the same one', async () => {
  assert.is(everyOrder.length, 120);
  const logs: string[][] = [];
  await atOnce(10, everyOrder, async (steps) => {
    const order = await shop.order();
    const log: string[] = [];
    await shop.place(order, { steps, log });
    assert.equal(await shop.look(order), ALL, steps.join());
    logs.push(log);
  });
  for (const log of logs) assert.equal(log, logs[0]);
});

test('in whatever order the resources are used, a conflict at the last vote leaves nothing', async () => {
  await atOnce(10, everyOrder, async (steps) => {
    const order = await shop.order();
    const conflicting = shop.place(order, {
      steps,
      first: () => shop.sessions.cache.watch('catalogue'),
      also: () => shop.cache.admin.incr('catalogue'),
    });
    await assert.rejects(conflicting, WatchConflictError);
    assert.equal(await shop.look(order), NOTHING, steps.join());
  });
});

test('what was refused for a passing reason is tried again, as a whole, and is done once', async () => {
  const order = await shop.order();
  const attempts: number[] = [];
  await shop.place(order, {
    first: () => shop.sessions.cache.watch('catalogue'),
    also: (txn) => (attempts.push(txn.attempt) < 3 ? shop.cache.admin.incr('catalogue') : undefined),
    run: { attempts: 3 },
  });
  assert.equal(attempts, [1, 2, 3]);
  assert.equal(await shop.look(order), ALL);
});

test('an order that only reads is committed nowhere, and sends no mail', async () => {
  const order = await shop.order();
  const { orders, stock, cache, files, mail } = shop.sessions;
  const log: string[] = [];
  await shop.coordinator.run(async (txn) => {
    await orders.query('select from orders where id = $1', [order.id]);
    await stock.query('select quantity from articles where id = ?', [order.article]);
    await cache.get(`order:${order.id}`);
    await files.exists(shop.incoming(order));
    mail.joinTransaction();
    shop.record(txn, log);
  });
  assert.is(log.filter((call) => call.endsWith('.tpcVote')).length, 5);
  assert.is(log.filter((call) => call.endsWith('.tpcFinish')).length, 0);
  assert.equal(await shop.look(order), NOTHING);
});

/** Every order in which some can be lined up. */
function* permutations<T>(all: readonly T[]): Generator<T[]> {
  if (all.length === 0) yield [];
  for (const [index, first] of all.entries()) {
    for (const rest of permutations(all.toSpliced(index, 1))) yield [first, ...rest];
  }
}

/** Calls `work` for each, for so many at once; each that fails fails the whole, with all that failed. */
async function atOnce<T>(count: number, items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items];
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) {
      await work(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: count }, worker));
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} of ${items.length} failed`);
}
