// What takes part beside a database in a sandbox: several databases, Redis, files, mails, memory, functions and data managers of others.
import { type DataManager, MemoryStore, type Transaction, onAbort, onFinish, onVote, outboxed } from 'unanimous';
import { FaultyDataManager, RecordingDataManager, faulty, rollback } from 'unanimous/testing';
import { assert, suite } from '../../../support/suite.ts';
import { ALL, NOTHING, type Order } from '../../../together/order.ts';
import { Shop } from '../../../together/shop.ts';
import { says } from '../../sql/helpers.ts';

for (const isDecided of [true, false]) {
  const test = suite(`a sandbox over five resources, ${isDecided ? 'with' : 'without'} a decision log`, {
    timeoutMs: 60_000,
  });
  const shop = await Shop.open({ isDecided });
  const { coordinator, sessions } = shop;
  let order: Order;

  test.before.each(async () => {
    order = await shop.order();
  });
  test.after.each(() => shop.assertClean());
  test.after(() => shop.close());

  const orders = (): Promise<number> =>
    coordinator.run(
      async () => (await sessions.orders.query('select from orders where id = $1', [order.id])).rowCount!,
    );

  test('it goes the way that it goes outside, later transactions see the databases, nothing is stored and nothing leaves', async () => {
    const shown = await rollback(
      async (sandbox) => {
        const ended = await shop.place(order);
        assert.is(ended.status, 'committed');
        assert.is(await orders(), 1);
        assert.equal(await shop.look(order), NOTHING, 'nobody else sees anything');
        const works = sandbox.withheld.map(({ resource, xid, work }) => {
          assert.is(xid, ended.id);
          return { resource, work: work as Record<string, unknown> };
        });
        assert.equal(works.map(({ resource }) => resource).toSorted(), ['cache', 'files', 'mail']);
        const of = (name: string): Record<string, unknown> =>
          works.find(({ resource }) => resource === name)?.work ?? {};
        assert.equal(
          { to: of('mail')['to'], subject: of('mail')['subject'] },
          { to: order.to, subject: `order ${order.id}` },
        );
        assert.equal(of('cache'), { command: 'hset', args: [`order:${order.id}`, 'customer', 'alice'] });
        assert.is(of('files')['operation'], 'rename');
        return ended.outcome;
      },
      { coordinator },
    );
    assert.equal(await shop.look(order), NOTHING);
    const real = await shop.place(order);
    assert.equal(shown, real.outcome);
    assert.equal(await shop.look(order), ALL);
  });

  test('what is rolled back is not among what would have been sent', async () => {
    await rollback(
      async (sandbox) => {
        await assert.rejects(
          shop.place(order, {
            also: () => {
              throw new Error('no');
            },
          }),
          says(/^no$/),
        );
        await coordinator.run(async () => {
          const savepoint = await coordinator.savepoint();
          sessions.mail.send({ to: 'bob@example.org', subject: 'dropped' });
          await savepoint.rollback();
        });
        assert.equal(sandbox.withheld, []);
        assert.is(await orders(), 0);
      },
      { coordinator },
    );
  });

  test('a deferred constraint that would refuse the commit refuses it, and takes all others back', async () => {
    await rollback(
      async (sandbox) => {
        await assert.rejects(shop.place({ ...order, customer: 'refused' }), says(/the customer is refused/));
        assert.is(await orders(), 0);
        const { rows } = await coordinator.run(async () => {
          const [found] = await sessions.stock.query('select quantity from articles where id = ?', [order.article]);
          return { rows: found };
        });
        assert.equal(rows, [{ quantity: 10 }]);
        assert.equal(sandbox.withheld, []);
        await shop.place(order);
        assert.is(await orders(), 1);
      },
      { coordinator },
    );
  });

  test('somebody who says no, or a fault in a database, takes all of its transaction back', async () => {
    await rollback(
      async (sandbox) => {
        const no = new FaultyDataManager({ phase: 'tpcVote', error: new Error('no') }, { sortKey: '~~~' });
        await assert.rejects(shop.place(order, { also: (txn) => txn.join(no) }), says(/^no$/));
        const broken = (txn: Transaction): unknown =>
          faulty(txn.joined(sessions.stock), { phase: 'tpcVote', error: new Error('broken') });
        await assert.rejects(shop.place(order, { also: broken }), says(/^broken$/));
        assert.is(await orders(), 0);
        assert.equal(sandbox.withheld, []);
      },
      { coordinator },
    );
  });

  test('a session that is let through commits for good', async () => {
    await rollback(
      async (sandbox) => {
        await coordinator.run(() => sessions.cache.set(`let:${order.id}`, 'through'));
        assert.is(await coordinator.run(() => sessions.cache.get(`let:${order.id}`)), 'through');
        await coordinator.run(() =>
          sessions.stock.query('update articles set quantity = 5 where id = ?', [order.article]),
        );
        assert.equal(sandbox.withheld, []);
      },
      { coordinator, letThrough: [sessions.cache, sessions.stock] },
    );
    assert.is(await shop.cache.admin.get(`let:${order.id}`), 'through');
    assert.equal(await shop.stock.rows('select quantity from articles where id = ?', [order.article]), [
      { quantity: 5 },
    ]);
  });

  test('a function of outboxed is not called, and what it would be called with is shown', async () => {
    const called: unknown[] = [];
    const notify = outboxed<{ id: number }>('notify', (payload) => called.push(payload), { coordinator });
    await rollback(
      async (sandbox) => {
        await coordinator.run(async () => {
          await sessions.orders.query('insert into orders values ($1, $2, $3)', [order.id, 'alice', '']);
          notify({ id: order.id });
        });
        assert.equal(
          sandbox.withheld.map(({ work }) => work),
          [{ function: 'notify', payload: { id: order.id } }],
        );
      },
      { coordinator },
    );
    assert.equal(called, []);
  });

  test('a store in memory is committed, seen and put back; functions are called as ever', async () => {
    const store = new MemoryStore<string, number>({ coordinator });
    await coordinator.run(() => store.set('a', 1));
    const called: string[] = [];
    await rollback(
      async () => {
        await coordinator.run(() => {
          store.set('a', 2);
          onVote(() => called.push('vote'), { coordinator });
          onFinish(() => called.push('finish'), { coordinator });
          onAbort(() => called.push('abort'), { coordinator });
        });
        assert.equal(called, ['vote', 'finish']);
        assert.is(store.committed.get('a'), 2);
        assert.is(await coordinator.run(() => store.get('a')), 2);
        await coordinator.run(() => store.set('b', 3));
      },
      { coordinator },
    );
    assert.equal([...store.committed], [['a', 1]]);
  });

  test('a data manager that says nothing of sandboxes is neither asked nor finished; one that records is', async () => {
    const log: string[] = [];
    const stranger: DataManager = {
      sortKey: 'stranger',
      tpcBegin: () => void log.push('tpcBegin'),
      commit: () => void log.push('commit'),
      tpcVote: () => void log.push('tpcVote'),
      tpcFinish: () => void log.push('tpcFinish'),
      tpcAbort: () => void log.push('tpcAbort'),
      abort: () => void log.push('abort'),
    };
    await rollback(
      async () => {
        await coordinator.run((txn) => {
          txn.join(stranger);
          txn.join(new RecordingDataManager({ name: 'recording', log }));
        });
      },
      { coordinator },
    );
    assert.equal(log, [
      'recording.tpcBegin',
      'tpcBegin',
      'recording.commit',
      'recording.tpcVote',
      'recording.tpcFinish',
      'tpcAbort',
    ]);
    log.length = 0;
    await coordinator.run((txn) => txn.join(stranger));
    assert.equal(log, ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'], 'outside of the sandbox it is called as ever');
  });
}
