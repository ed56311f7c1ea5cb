// Protects the unit of work: one object for all requests, which a second one can't overwrite (pitfall 11).
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigurationError, TransactionCoordinator, UnitOfWork, transaction } from 'unanimous';
import { Database } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('UnitOfWork');
const db = await Database.open(await postgres(), { name: 'work', pool: { max: 8 }, acquireTimeoutMs: 60_000 });
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

class Accounts {
  async add(id: number): Promise<void> {
    await db.session.query('insert into accounts values ($1, 0)', [id]);
  }
  async owner(): Promise<string> {
    return (await db.session.query('select pg_current_xact_id()::text as id')).rows[0].id;
  }
}

class Bank extends UnitOfWork {
  readonly accounts = new Accounts();
}

test('run: the repositories work in one transaction, which commits or not as a whole', async () => {
  const bank = new Bank();
  assert.is(
    await bank.run(async ({ accounts }, txn) => {
      assert.is(bank.transaction, txn);
      await accounts.add(3);
      return 'done';
    }),
    'done',
  );
  const no = new Error('no');
  const refused = bank.run(async ({ accounts }) => {
    await accounts.add(4);
    throw no;
  });
  assert.is(await assert.rejects(refused), no);
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('pitfall 11: 200 interleaved requests share one, and each has a transaction of its own', async () => {
  const bank = new Bank();
  const owners = new Map<string, number>();
  await Promise.allSettled(
    Array.from({ length: 200 }, (_, request) =>
      bank.run(async ({ accounts }) => {
        const owner = await accounts.owner();
        assert.is(owners.has(owner), false);
        owners.set(owner, request);
        await accounts.add(1_000 + request);
        await sleep(request % 7);
        assert.is(await accounts.owner(), owner, 'the same transaction after every await');
        if (request % 4 === 0) throw new Error('not this one');
      }),
    ),
  );
  const expected = Array.from({ length: 200 }, (_, request) => 1_000 + request).filter((id) => id % 4 !== 0);
  assert.equal(await db.ids(), [1, 2, ...expected]);
  assert.is(owners.size, 200);
});

test('begin, savepoint, commit and abort: for those who end it by hand', async () => {
  const bank = new Bank();
  await transaction.context(async () => {
    await bank.begin();
    await bank.accounts.add(5);
    const savepoint = await bank.savepoint();
    await bank.accounts.add(6);
    await savepoint.rollback();
    await bank.commit();
    {
      await using txn = await bank.begin();
      await bank.accounts.add(7);
      assert.is(bank.transaction, txn);
    }
    await bank.begin();
    await bank.accounts.add(8);
    await bank.abort();
  });
  assert.equal(await db.ids(), [1, 2, 5]);
});

test('options: what run has by default, and for once', async () => {
  const coordinator = new TransactionCoordinator();
  const work = new UnitOfWork({ coordinator, isolation: 'serializable', note: 'work' });
  const seen = await work.run((_, txn) => [txn.options.isolation, txn.description], { note: 'once' });
  assert.equal(seen, ['serializable', 'once']);
  assert.is(await work.run(() => transaction.current), undefined, 'it is the other coordinator’s');
  let attempts = 0;
  await assert.rejects(
    new Bank().run(() => {
      attempts++;
      throw Object.assign(new Error('busy'), { isTransient: true });
    }),
  );
  assert.is(attempts, 1);
});

test('what is impossible is refused', async () => {
  assert.throws(
    () => new UnitOfWork({ colour: 1 } as never),
    (error: unknown) => error instanceof ConfigurationError,
  );
  assert.throws(
    () => new UnitOfWork({ attempts: 0 }),
    (error: unknown) => error instanceof RangeError,
  );
  await assert.rejects(new UnitOfWork().run(5 as never), ConfigurationError);
});
