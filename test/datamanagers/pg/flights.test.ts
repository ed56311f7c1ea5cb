import { transaction } from 'unanimous';
import { startPostgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from './setup.ts';

const test = suite('round trips and flushes of a transaction', { timeoutMs: 60_000 });
// A server of its own, so that nobody else's flushes are counted.
const server = await startPostgres({ settings: { autovacuum: 'off' } });
const a = await Database.open(server, { name: 'a' });
const b = await Database.open(server, { name: 'b' });
test.after(async () => {
  await Promise.all([a.close(), b.close()]);
  await server.stop();
});

const write = (database: Database, id = 1): Promise<unknown> =>
  database.session.query('update accounts set balance = balance + 1 where id = $1', [id]);
const read = (database: Database): Promise<unknown> =>
  database.session.query('select * from accounts where id = $1', [1]);

/** The round trips of each database, once the connections are open and know what they learn in their first transactions. */
async function flightsOf(work: () => Promise<unknown>, options: object = {}): Promise<[number, number]> {
  const once = async (): Promise<void> => {
    await transaction.run(work, { attempts: 1, ...options }).catch(() => undefined);
    // The end of a read-only transaction isn't waited for.
    await assert.eventually(() => a.pool.idleCount === a.pool.totalCount);
  };
  for (let i = 0; i < 4; i++) await once();
  a.proxy.resetFlights();
  b.proxy.resetFlights();
  await once();
  return [a.proxy.flights, b.proxy.flights];
}

for (const statements of [1, 2, 5]) {
  test(`one database, ${statements} statements that write: statements + 1, as BEGIN rides with the first`, async () => {
    const work = async (): Promise<void> => {
      for (let i = 0; i < statements; i++) await write(a);
    };
    assert.equal(await flightsOf(work), [statements + 1, 0]);
  });
}

const cases: Record<string, { work: () => Promise<unknown>; flights: [number, number]; options?: object }> = {
  'a read and a write: 3': { work: () => read(a).then(() => write(a)), flights: [3, 0] },
  'only reads: one each, and the end': { work: () => read(a).then(() => read(a)), flights: [3, 0] },
  'only a read, in a read-only transaction: 2': { work: () => read(a), flights: [2, 0], options: { readOnly: true } },
  'a write without parameters: 2': {
    work: () => a.session.query('update accounts set balance = 0 where id = 1'),
    flights: [2, 0],
  },
  'a named write: 2': {
    work: () => a.session.query({ name: 'flight', text: 'update accounts set balance = $1 where id = 1', values: [1] }),
    flights: [2, 0],
  },
  'an abort: the statement and the ROLLBACK': {
    work: async () => {
      await write(a);
      throw new Error('aborted');
    },
    flights: [2, 0],
  },
  'a failing statement: it and the ROLLBACK': { work: () => a.session.query('select 1 / 0'), flights: [2, 0] },
  'two databases that wrote: a statement, PREPARE and COMMIT PREPARED each': {
    work: () => write(a).then(() => write(b)),
    flights: [3, 3],
  },
  'two databases, one only read by a function: the read, the question what it wrote, the end': {
    work: () => write(a).then(() => read(b)),
    flights: [2, 3],
  },
  'statements that are asked for at once: one for all': {
    work: () => Promise.all([write(a), write(a, 2), read(a)]),
    flights: [2, 0],
  },
};
for (const [title, { work, flights, options }] of Object.entries(cases)) {
  test(title, async () => assert.equal(await flightsOf(work, options), flights));
}

test('a transaction that never speaks to the database: none, and no connection is taken', async () => {
  const cold = a.another({ name: 'cold' });
  await transaction.run(() => undefined);
  await transaction.run(() => cold.session.joinTransaction());
  await transaction.run(() => cold.session.markChanged());
  await transaction
    .run(async () => {
      cold.session.joinTransaction({ initialState: 'changed' });
      throw new Error('aborted');
    })
    .catch(() => undefined);
  await transaction.run(async () => {
    cold.session.joinTransaction();
    await write(a);
  });
  assert.is(cold.pool.totalCount, 0);
});

test('flushes to disk: 1 for one database, 4 for two in two phases, none for reads and aborts', async () => {
  const { rows: versions } = await a.admin.query("select current_setting('server_version_num')::int as version");
  const count =
    versions[0].version >= 180_000
      ? "select sum(fsyncs)::int as n from pg_stat_io where object = 'wal' and backend_type = 'client backend'"
      : 'select wal_sync::int as n from pg_stat_wal';
  const flushes = async (): Promise<number> => {
    // Each connection hands in its statistics before it says that it is ready again.
    for (const { pool } of [a, b]) await pool.query('select pg_stat_force_next_flush()');
    const { rows } = await a.admin.query(count);
    return rows[0].n;
  };
  // Rounded: now and then the server's own WAL writer flushes first, and one flush of the twenty is saved.
  const per = async (work: () => Promise<unknown>): Promise<number> => {
    const times = 20;
    const before = await flushes();
    for (let i = 0; i < times; i++) await transaction.run(work, { attempts: 1 }).catch(() => undefined);
    return Math.round(((await flushes()) - before) / times);
  };
  assert.is(await per(() => write(a)), 1);
  assert.is(await per(() => read(a)), 0);
  assert.is(await per(() => write(a).then(() => Promise.reject(new Error('aborted')))), 0);
  assert.is(await per(() => write(a).then(() => write(b))), 4);
});
