// Protects what becomes of a transaction that was declared read-only: its end isn't waited for, and its connection is clean all the same.
import { transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText } from './setup.ts';

const test = suite('the end of a read-only transaction');
const db = await Database.open(await postgres(), { name: 'read-only', pool: { max: 1 } });
test.after(() => db.close());
test.after.each(() => db.assertClean());

const reads = { readOnly: true } as const;
const readOnly = { ...reads, attempts: 1 } as const;
const read = async (): Promise<unknown> =>
  (await db.session.query('select balance from accounts where id = $1', [1])).rows;

test('its answer is not waited for, and the connection goes back when it is there', async () => {
  let wasSent = false;
  onText(db.proxy, 'rollback', () => {
    wasSent = true;
    return false;
  });
  assert.equal(await transaction.run(read, readOnly), [{ balance: 100 }]);
  await assert.eventually(() => wasSent);
  assert.is(db.pool.idleCount, 0, 'no other transaction gets the connection before it has ended');
  await db.cut();
  assert.equal(await transaction.run(read, readOnly), [{ balance: 100 }], 'the next one has another');
});

test('the next transaction waits for the connection where there is no other', async () => {
  const all = await Promise.all(Array.from({ length: 8 }, () => transaction.run(read, readOnly)));
  assert.is(all.length, 8);
  await transaction.run(() => db.session.query('update accounts set balance = balance + 1 where id = 1'));
  assert.equal(await transaction.run(read, readOnly), [{ balance: 101 }]);
  await db.assertClean();
  await db.reset();
});

test('a connection that dies at the end is thrown away, and nobody is bothered with that', async () => {
  const errors: unknown[] = [];
  const listener = (error: unknown): void => void errors.push(error);
  process.on('unhandledRejection', listener);
  try {
    onText(db.proxy, 'rollback', (link) => link.cut());
    assert.equal(await transaction.run(read, readOnly), [{ balance: 100 }]);
    await assert.eventually(() => db.pool.totalCount === 0);
    assert.equal(errors, []);
  } finally {
    process.off('unhandledRejection', listener);
  }
});

test('one that keeps its session is waited for, so that the next one of the context has it again', async () => {
  await transaction.context(async () => {
    const pids: unknown[] = [];
    for (let i = 0; i < 3; i++) {
      await transaction.begin(reads);
      db.session.joinTransaction({ keepSession: true });
      pids.push((await db.session.query('select pg_backend_pid() as pid')).rows[0].pid);
      await transaction.commit();
    }
    assert.is(new Set(pids).size, 1);
  });
});

test('a serializable one is committed and waited for, as what it has read must count', async () => {
  let said = '';
  onText(db.proxy, 'commit', () => {
    said = 'commit';
  });
  await transaction.run(read, { ...readOnly, isolation: 'serializable' });
  assert.is(said, 'commit');
  assert.is(db.pool.idleCount, 1, 'its connection is back at once');
});
