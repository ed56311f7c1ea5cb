// Protects a connection whose statement was cancelled by a deadline: it is kept, and the cancel never hits the transaction that has it next.
import { setTimeout as sleep } from 'node:timers/promises';
import { TransactionTimeoutError, transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { Database } from './setup.ts';

const test = suite('a connection whose statement was cancelled', { timeoutMs: 60_000 });
const db = await Database.open(await postgres(), { name: 'cancelled', pool: { max: 1 } });
const { session } = db;
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

async function pid(): Promise<number> {
  const { rows } = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]!.pid;
}

const nap = (ms: number): Promise<unknown> => session.query('select pg_sleep($1)', [ms / 1_000]);

for (const [title, work] of Object.entries<() => Promise<unknown>>({
  'that began the transaction': () => nap(10_000),
  'behind others': () => pid().then(() => nap(10_000)),
  'of several asked for at once': () => Promise.all([nap(0), nap(10_000), nap(0)]),
})) {
  test(`a statement ${title} is cancelled, and the next transaction has its connection`, async () => {
    const before = await transaction.run(pid);
    assert.instance(await failureOf(transaction.run(work, { timeoutMs: 50 })), TransactionTimeoutError);
    assert.is(await transaction.run(pid, { attempts: 1 }), before);
    assert.is(db.pool.totalCount, 1);
  });
}

test('whenever the deadline passes, what the next transaction asks is not cancelled', async () => {
  const outcomes = { late: 0, inTime: 0 };
  const pids = new Set<number>();
  for (let i = 0; i < 150; i++) {
    const failure = await failureOf(
      transaction.run(
        async () => {
          await nap(5);
          await nap(1 + (i % 5));
        },
        { timeoutMs: 8, attempts: 1 },
      ),
    );
    outcomes[failure === undefined ? 'inTime' : 'late']++;
    // Takes longer than a cancel that is on its way.
    await transaction.run(
      async () => {
        pids.add(await pid());
        await nap(3);
      },
      { attempts: 1 },
    );
  }
  assert.ok(outcomes.late > 20, 'deadlines do pass');
  assert.ok(pids.size < outcomes.late, 'connections are kept');
});

test('a cancel that can’t get through closes the connection', async () => {
  const before = await transaction.run(pid);
  const cancelled = failureOf(transaction.run(() => nap(10_000), { timeoutMs: 50 }));
  await sleep(10);
  db.proxy.refuse = true;
  try {
    assert.instance(await cancelled, TransactionTimeoutError);
  } finally {
    db.proxy.refuse = false;
  }
  assert.is.not(await transaction.run(pid, { attempts: 1 }), before);
  await db.terminate("query like 'select pg_sleep%'");
});
