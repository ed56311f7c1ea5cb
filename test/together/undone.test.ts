// Protects that an order is undone with all five when it is aborted, doomed, or runs out of time, at whatever moment before its decision, and
// that nothing of this matters behind it; and that a part of it is undone with all five by a savepoint.
import { DoomedTransaction, SavepointsUnsupportedError, type Transaction, TransactionTimeoutError } from 'unanimous';
import { RecordingDataManager } from 'unanimous/testing';
import { raise } from '../coordinator/recording.ts';
import { onText } from '../datamanagers/sql/helpers.ts';
import { assert, suite } from '../support/suite.ts';
import { EXEC } from './faults.ts';
import { type Place, at, places } from './moments.ts';
import { ALL, NOTHING, type Order, type Resource, resources } from './order.ts';
import { Shop } from './shop.ts';

const shop = await Shop.open();
const { coordinator, sessions } = shop;

const aborted = suite('all together: an abort');
aborted.after.each(() => shop.assertClean());

const no = new Error('no');
const aborts: Record<string, (txn: Transaction) => unknown> = {
  'an error is thrown': () => raise(no),
  'a hook before the commit fails': (txn) => txn.addBeforeCommitHook(() => raise(no)),
  'a synchronizer fails before the commit': () => coordinator.registerSynch({ beforeCompletion: () => raise(no) }),
};

for (const [what, go] of Object.entries(aborts)) {
  aborted(`${what}: nothing is done anywhere`, async () => {
    const order = await shop.order();
    assert.is(await assert.rejects(shop.place(order, { also: go })), no);
    assert.equal(await shop.look(order), NOTHING);
  });
}

aborted('it is aborted by hand: nothing is done anywhere', async () => {
  const order = await shop.order();
  const txn = await shop.place(order, { also: (current) => current.abort() });
  assert.is(txn.status, 'aborted');
  assert.equal(await shop.look(order), NOTHING);
});

aborted('it is doomed: nothing is done anywhere', async () => {
  const order = await shop.order();
  await assert.rejects(shop.place(order, { also: (txn) => txn.doom() }), DoomedTransaction);
  assert.equal(await shop.look(order), NOTHING);
});

const late = suite('all together: out of time');
late.after.each(() => shop.assertClean());

const slow: Record<string, () => unknown> = {
  'orders: a statement': () => sessions.orders.query('select pg_sleep(30)'),
  'stock: a statement': () => sessions.stock.query('select sleep(30)'),
  'cache: a read': () => {
    shop.cache.proxy.hold();
    return sessions.cache.get('something');
  },
  'mail: the server': () => shop.mailProxy.hold(),
};

for (const [what, go] of Object.entries(slow)) {
  late(`${what} takes longer than the transaction may: nothing is done anywhere`, async () => {
    const order = await shop.order();
    const placing = shop.place(order, { also: go, run: { timeoutMs: 1000 } });
    await assert.rejects(placing, TransactionTimeoutError);
    for (const proxy of [shop.cache.proxy, shop.mailProxy]) proxy.release();
    assert.equal(await shop.look(order), NOTHING);
  });
}

for (const resource of resources) {
  late(`${resource}: used when the time is up, it refuses, and nothing is done anywhere`, async () => {
    const order = await shop.order();
    const stop = new AbortController();
    const placing = shop.place(order, {
      steps: resources.filter((each) => each !== resource),
      also: (txn) => {
        stop.abort();
        return shop.step(resource, order, txn);
      },
      run: { signal: stop.signal },
    });
    await assert.rejects(placing, DoomedTransaction);
    assert.equal(await shop.look(order), NOTHING);
  });
}

const moments = Object.keys(places) as Place[];

for (const phase of ['commit', 'tpcVote'] as const) {
  for (const where of moments) {
    late(`the signal comes in ${phase}, ${where}: nothing is done anywhere`, async () => {
      const order = await shop.order();
      const stop = new AbortController();
      const also = (txn: Transaction): void => at(txn, phase, where, () => stop.abort());
      await assert.rejects(shop.place(order, { also, run: { signal: stop.signal } }), DoomedTransaction);
      assert.equal(await shop.look(order), NOTHING);
    });
  }
}

late('the signal comes while EXEC is on its way, which decides: everything is done', async () => {
  const order = await shop.order();
  const stop = new AbortController();
  await shop.place(order, {
    also: () => onText(shop.cache.proxy, EXEC, () => stop.abort()),
    run: { signal: stop.signal },
  });
  assert.ok(stop.signal.aborted);
  assert.equal(await shop.look(order), ALL);
});

for (const where of moments) {
  late(`the signal comes when it is decided, ${where}: everything is done`, async () => {
    const order = await shop.order();
    const stop = new AbortController();
    const also = (txn: Transaction): void => at(txn, 'tpcFinish', where, () => stop.abort());
    await shop.place(order, { also, run: { signal: stop.signal } });
    assert.ok(stop.signal.aborted);
    assert.equal(await shop.look(order), ALL);
  });
}

const savepoints = suite('all together: savepoints');
savepoints.after.each(() => shop.assertClean());
savepoints.after(() => shop.close());

async function work(order: Order, txn: Transaction, steps: readonly Resource[] = resources): Promise<void> {
  for (const resource of steps) await shop.step(resource, order, txn);
}

savepoints('what was done behind a savepoint is undone with all five, as often as it is rolled back', async () => {
  const [kept, dropped, again] = [await shop.order(), await shop.order(), await shop.order()];
  await coordinator.run(async (txn) => {
    await work(kept, txn);
    const savepoint = await txn.savepoint();
    await work(dropped, txn);
    await savepoint.rollback();
    await work(again, txn);
    await savepoint.rollback();
  });
  assert.equal(await Promise.all([kept, dropped, again].map((order) => shop.look(order))), [ALL, NOTHING, NOTHING]);
});

savepoints('those that were first used behind the savepoint take no part any more, and may again', async () => {
  const [dropped, kept] = [await shop.order(), await shop.order()];
  await coordinator.run(async (txn) => {
    const savepoint = await txn.savepoint();
    await work(dropped, txn);
    await savepoint.rollback();
    for (const resource of resources) assert.is(sessions[resource].state, undefined, resource);
    await work(kept, txn);
  });
  assert.equal([await shop.look(dropped), await shop.look(kept)], [NOTHING, ALL]);
});

const failures: Record<Resource, (order: Order) => unknown> = {
  orders: ({ id }) => sessions.orders.query("insert into orders values ($1, 'twice', '')", [id]),
  stock: ({ article }) => sessions.stock.query('update articles set quantity = -1 where id = ?', [article]),
  cache: () => sessions.cache.get('list'),
  files: () => sessions.files.unlink('incoming/none'),
  mail: () => sessions.mail.send({ to: 'nobody' }),
};

for (const resource of resources) {
  savepoints(`${resource}: a failure in a nested run undoes that with all five, and the rest is done`, async () => {
    const [kept, dropped] = [await shop.order(), await shop.order()];
    await shop.cache.admin.rpush('list', 'a');
    await coordinator.run(async (outer) => {
      await work(kept, outer);
      const nested = coordinator.run(
        async (txn) => {
          await work(dropped, txn);
          await failures[resource](dropped);
        },
        { propagation: 'nested' },
      );
      await assert.rejects(nested);
    });
    await shop.cache.admin.del('list');
    assert.equal([await shop.look(kept), await shop.look(dropped)], [ALL, NOTHING]);
  });
}

for (const database of ['orders', 'stock'] as const) {
  savepoints(
    `${database}: a connection that is lost behind a savepoint can’t be rolled back to it: nothing is done`,
    async () => {
      const [before, behind] = [await shop.order(), await shop.order()];
      const placing = coordinator.run(
        async (txn) => {
          await work(before, txn);
          const savepoint = await txn.savepoint();
          await work(behind, txn);
          await shop[database].terminate();
          await savepoint.rollback().catch(() => undefined);
        },
        { attempts: 1 },
      );
      await assert.rejects(placing);
      assert.equal([await shop.look(before), await shop.look(behind)], [NOTHING, NOTHING]);
    },
  );
}

savepoints('one that can’t make savepoints refuses them, and nothing is done', async () => {
  const order = await shop.order();
  const placing = shop.place(order, {
    also: async (txn) => {
      txn.join(new RecordingDataManager({ savepoints: false }));
      await txn.savepoint();
    },
  });
  await assert.rejects(placing, SavepointsUnsupportedError);
  assert.equal(await shop.look(order), NOTHING);
});
