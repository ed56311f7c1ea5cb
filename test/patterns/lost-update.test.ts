// The classic: a hundred requests read a balance, take one off it and write it back, all at the same time. Protects that each way to do
// it right, as docs/locks.md shows them, loses none of them, on every database.
import { expectUpdated, transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { type Row, places } from './places.ts';

const DEBITS = 100;
/** A conflict is tried again until it is through. */
const PATIENT = { attempts: 1_000, backoff: { baseMs: 1, maxMs: 20 } };

const test = suite('a hundred debits at once', { timeoutMs: 120_000 });
const found = await places('debits', 10);
test.after(() => Promise.all(found.map((place) => place.close())));
test.after.each(async () => {
  for (const place of found) {
    await place.assertClean();
    await place.reset();
  }
});

const times = (count: number, work: () => Promise<unknown>): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, work));

for (const { product, run, rows, balance } of found) {
  const one = async (text: string): Promise<Row> => (await rows(text))[0]!;

  test(`${product}: without a lock debits are lost, which is what the rest of this file is about`, async () => {
    let bothHaveRead!: () => void;
    const read = new Promise<void>((resolve) => (bothHaveRead = resolve));
    let count = 0;
    await times(2, () =>
      transaction.run(
        async () => {
          const { balance: before } = await one('select * from accounts where id = 1');
          if (++count === 2) bothHaveRead();
          await read;
          await run('update accounts set balance = ? where id = 1', [before - 1]);
        },
        { isolation: 'read committed' },
      ),
    );
    assert.is(await balance(), 99, 'one of two is lost');
  });

  test(`${product}: one statement that reads and writes`, async () => {
    await times(DEBITS, () =>
      transaction.run(async () => {
        const result = await run('update accounts set balance = balance - 1 where id = 1 and balance >= 1');
        expectUpdated(result, { table: 'accounts', id: 1 });
      }),
    );
    assert.is(await balance(), 0);
  });

  test(`${product}: for update, each waits for its turn`, async () => {
    let attempts = 0;
    await times(DEBITS, () =>
      transaction.run(async (txn) => {
        attempts = Math.max(attempts, txn.attempt);
        const { balance: before } = await one('select * from accounts where id = 1 for update');
        await run('update accounts set balance = ? where id = 1', [before - 1]);
      }),
    );
    assert.is(await balance(), 0);
    assert.is(attempts, 1, 'who waits needs no second attempt');
  });

  test(`${product}: for update nowait, who comes too late tries again`, async () => {
    await times(DEBITS, () =>
      transaction.run(async () => {
        const { balance: before } = await one('select * from accounts where id = 1 for update nowait');
        await run('update accounts set balance = ? where id = 1', [before - 1]);
      }, PATIENT),
    );
    assert.is(await balance(), 0);
  });

  test(`${product}: a version, and who finds another one tries again`, async () => {
    let conflicts = 0;
    await times(DEBITS, () =>
      transaction.run(async (txn) => {
        if (txn.attempt > 1) conflicts++;
        const { balance: before, version } = await one('select * from accounts where id = 1');
        const result = await run(
          'update accounts set balance = ?, version = version + 1 where id = 1 and version = ?',
          [before - 1, version],
        );
        expectUpdated(result, { table: 'accounts', id: 1, version });
      }, PATIENT),
    );
    assert.is(await balance(), 0);
    assert.ok(conflicts > 0, 'there were conflicts');
  });

  test(`${product}: serializable, and who can't be put in an order tries again`, async () => {
    await times(DEBITS, () =>
      transaction.run(
        async () => {
          const { balance: before } = await one('select * from accounts where id = 1');
          await run('update accounts set balance = ? where id = 1', [before - 1]);
        },
        { ...PATIENT, isolation: 'serializable' },
      ),
    );
    assert.is(await balance(), 0);
  });

  test(`${product}: skip locked, ten workers share a queue and none gets another's`, async () => {
    await transaction.run(() =>
      run(`insert into accounts (id, balance) values ${Array.from({ length: 40 }, (_, i) => `(${i + 10}, 0)`).join()}`),
    );
    const done: number[] = [];
    const worker = async (): Promise<void> => {
      for (;;) {
        const id = await transaction.run(async () => {
          const [job] = await rows('select * from accounts where id >= 10 order by id limit 1 for update skip locked');
          if (job === undefined) return undefined;
          await run('delete from accounts where id = ?', [job.id]);
          return job.id;
        });
        if (id === undefined) return;
        done.push(id);
      }
    };
    await times(10, worker);
    // Whoever found nothing that isn't locked has gone home, while others were still at theirs.
    await worker();
    assert.equal(
      done.toSorted((a, b) => a - b),
      Array.from({ length: 40 }, (_, i) => i + 10),
    );
  });
}
