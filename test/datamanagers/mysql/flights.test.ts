import { transaction } from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { Database, poolState, products } from './setup.ts';

for (const { product, server } of await products()) {
  const test = suite(`round trips of a transaction, on ${product}`);
  const a = await Database.open(server, { name: 'a' });
  const b = await Database.open(server, { name: 'b' });
  const plain = await Database.open(server, { name: 'plain', register: { twoPhase: false } });
  const all = [a, b, plain];
  test.after(() => Promise.all(all.map((each) => each.close())));

  const write = (database: Database, id = 1): Promise<unknown> =>
    database.session.execute('update accounts set balance = balance + 1 where id = ?', [id]);
  const read = (database: Database): Promise<unknown> =>
    database.session.execute('select * from accounts where id = ?', [1]);

  /** The round trips of each database, once the connections are open and the statements prepared. */
  const flightsOf = async (work: () => Promise<unknown>, options: object = {}): Promise<number[]> => {
    const once = (): Promise<unknown> => transaction.run(work, { attempts: 1, ...options }).catch(() => undefined);
    for (let i = 0; i < 4; i++) await once();
    for (const { proxy } of all) proxy.resetFlights();
    await once();
    return all.map(({ proxy }) => proxy.flights);
  };

  const cases: Record<string, { work: () => Promise<unknown>; flights: number[]; options?: object }> = {
    'one statement that writes: XA START, it, the end': { work: () => write(a), flights: [3, 0, 0] },
    'two statements: one more': { work: () => write(a).then(() => write(a)), flights: [4, 0, 0] },
    'one statement in a plain transaction: as many': { work: () => write(plain), flights: [0, 0, 3] },
    'a text instead of a prepared statement: as many': {
      work: () => a.session.query('update accounts set balance = 0 where id = 1'),
      flights: [3, 0, 0],
    },
    'an isolation level: no more': { work: () => write(a), flights: [3, 0, 0], options: { isolation: 'serializable' } },
    'only a read: as many': { work: () => read(a), flights: [3, 0, 0] },
    'only a read, in a read-only transaction: as many': {
      work: () => read(a),
      flights: [3, 0, 0],
      options: { readOnly: true },
    },
    'an abort: as many': { work: () => write(a).then(() => Promise.reject(new Error('no'))), flights: [3, 0, 0] },
    'a failing statement: as many': { work: () => a.session.query('selectt'), flights: [3, 0, 0] },
    'two that wrote: XA START, a statement, PREPARE and COMMIT each': {
      work: () => write(a).then(() => write(b)),
      flights: [4, 4, 0],
    },
    'one that wrote beside one that only read': { work: () => write(a).then(() => read(b)), flights: [3, 3, 0] },
    'a last resource beside one that is prepared': {
      work: () => write(a).then(() => write(plain)),
      flights: [4, 0, 3],
    },
    'a savepoint: one, and its rollback one': {
      work: async () => {
        await write(a);
        const savepoint = await transaction.savepoint();
        await savepoint.rollback();
      },
      flights: [5, 0, 0],
    },
  };
  for (const [title, { work, flights, options }] of Object.entries(cases)) {
    test(title, async () => assert.equal(await flightsOf(work, options), flights));
  }

  test('a transaction that never speaks to the database: none, and no connection is taken', async () => {
    const cold = a.another({ name: 'cold' });
    await transaction.run(() => cold.session.joinTransaction());
    await transaction.run(() => cold.session.markChanged());
    await transaction.run(async () => {
      cold.session.joinTransaction();
      await write(a);
    });
    assert.is(poolState(cold.pool).all, 0);
  });
}
