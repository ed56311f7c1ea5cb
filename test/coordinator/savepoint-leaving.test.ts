// Protects savepoints that are nested in others: whoever joined after several of them leaves once with the first that is rolled back, may come
// back, and is then undone by the ones before; with few data managers as with many.
import { type DataManager, type Transaction, TransactionManager } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { each, recording } from './recording.ts';

const test = suite('leaving by savepoints');

/** Of more than 32 there is an index. */
for (const others of [0, 1, 40]) {
  const beside = `beside ${others}`;
  const names = Array.from({ length: others }, (_, index) => `m${index}`);

  /** A transaction that `others` have joined before its savepoints. */
  async function begin(log: string[]): Promise<Transaction> {
    const txn = await new TransactionManager().begin();
    for (const name of names) txn.join(recording(log, name, { savepoints: true }));
    return txn;
  }

  test(`who left by a later savepoint is not aborted again by an earlier one (${beside})`, async () => {
    const log: string[] = [];
    const txn = await begin(log);
    const outer = await txn.savepoint();
    const inner = await txn.savepoint();
    txn.join(recording(log, 'late'));
    log.length = 0;
    await inner.rollback();
    await outer.rollback();
    assert.equal(log, [...each('rollback', ...names), 'late.abort', ...each('rollback', ...names)]);
    await txn.commit();
  });

  test(`who came back after that is undone by the earlier one, once (${beside})`, async () => {
    const log: string[] = [];
    const txn = await begin(log);
    const outer = await txn.savepoint();
    const inner = await txn.savepoint();
    const late = recording(log, 'late');
    txn.join(late);
    await inner.rollback();
    txn.join(late);
    log.length = 0;
    await outer.rollback();
    assert.equal(log, [...each('rollback', ...names), 'late.abort']);
    assert.is(txn.resources.includes(late), false);
    await outer.rollback();
    assert.equal(log, [...each('rollback', ...names), 'late.abort', ...each('rollback', ...names)]);
    await txn.commit();
    assert.is(log.includes('late.commit'), false);
  });

  test(`who came back again and again is undone each time (${beside})`, async () => {
    const log: string[] = [];
    const txn = await begin(log);
    const savepoint = await txn.savepoint();
    const late = [recording(log, 'one'), recording(log, 'two')];
    const rounds = 3;
    for (let round = 0; round < rounds; round++) {
      for (const manager of late) txn.join(manager);
      log.length = 0;
      await savepoint.rollback();
      assert.equal(log.slice(names.length), each('abort', 'one', 'two'));
      assert.is(txn.resources.length, others);
    }
    txn.join(late[0]!);
    await txn.commit();
    assert.ok(log.includes('one.tpcFinish') && !log.includes('two.commit'));
  });

  test(`of many that joined later all leave (${beside})`, async () => {
    const log: string[] = [];
    const txn = await begin(log);
    const outer = await txn.savepoint();
    const inner = await txn.savepoint();
    const late = Array.from({ length: 40 }, (_, index): DataManager => recording(log, `late${index}`));
    for (const manager of late) txn.join(manager);
    await inner.rollback();
    for (const manager of late.slice(20)) txn.join(manager);
    log.length = 0;
    await outer.rollback();
    const lateNames = late.slice(20).map((_, index) => `late${index + 20}`);
    assert.equal(log, [...each('rollback', ...names), ...each('abort', ...lateNames)]);
    assert.is(txn.resources.length, others);
    await txn.commit();
  });
}
