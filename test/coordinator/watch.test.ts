// Protects the warnings of transactions that are open for too long or idle, and what inspect() shows of them.
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigurationError, TransactionCoordinator, type TransactionWarning, observe } from 'unanimous';
import { Database, Gate } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('watch and inspect');
const db = await Database.open(await postgres(), { name: 'watched' });
test.after(() => db.close());

const NEVER_MS = 2_000_000_000;

test('a transaction that is open for too long is warned of once, with the place where it began', async () => {
  const warnings: TransactionWarning[] = [];
  const coordinator = new TransactionCoordinator({
    watch: { longMs: 20, idleMs: NEVER_MS, onWarning: (warning) => warnings.push(warning) },
  });
  await coordinator.run(async function closeTheBooks(txn) {
    await assert.eventually(() => assert.is(warnings.length, 1));
    await sleep(60);
    const [warning] = warnings as [TransactionWarning];
    assert.is(warning.kind, 'long');
    assert.is(warning.transaction, txn);
    assert.ok(warning.ageMs > 20);
    assert.match(warning.began!, /watch\.test\.ts/);
    assert.match(warning.message, /closeTheBooks/);
  });
  await sleep(60);
  assert.is(warnings.length, 1);
});

test('a transaction in which nothing runs is warned of; one whose statement takes long is not', async () => {
  const warnings: TransactionWarning[] = [];
  const coordinator = new TransactionCoordinator({
    watch: { longMs: NEVER_MS, idleMs: 100, stack: false, onWarning: (warning) => warnings.push(warning) },
  });
  const { session } = db.another({ register: { coordinator } });
  await coordinator.run(async () => {
    await session.query('select pg_sleep(0.5)');
    await session.query('select pg_sleep(0.3)');
  });
  assert.equal(warnings, []);
  await coordinator.run(async () => {
    await session.query('select 1');
    await assert.eventually(() => assert.is(warnings.length, 1));
  });
  assert.is(warnings[0]!.kind, 'idle');
  assert.ok(warnings[0]!.idleMs > 100);
  assert.is(warnings[0]!.began, undefined);
});

test('warnings are events too; without a listener they are process warnings; switched off there are none', async () => {
  const heard: string[] = [];
  const emitted: string[] = [];
  const onWarning = ({ name }: Error): unknown => emitted.push(name);
  process.on('warning', onWarning);
  const stop = observe({ warning: ({ kind }) => heard.push(kind) });
  const coordinator = new TransactionCoordinator({ watch: { longMs: 10 } });
  await coordinator.run(() => assert.eventually(() => assert.equal(heard, ['long'])));
  await assert.eventually(() => assert.equal(emitted, ['TransactionWarning']));
  coordinator.configure({ watch: false });
  await coordinator.run(() => sleep(60));
  assert.equal(heard, ['long']);
  stop();
  process.off('warning', onWarning);
});

test('impossible options are refused', () => {
  for (const watch of [true, { longMs: 0 }, { colour: 1 }, { onWarning: 'x' }]) {
    assert.throws(
      () => new TransactionCoordinator({ watch } as never),
      (error: unknown) => error instanceof ConfigurationError,
    );
  }
});

test('inspect: the open transactions of all contexts, with what has joined them', async () => {
  const coordinator = new TransactionCoordinator({ watch: { longMs: NEVER_MS, idleMs: NEVER_MS } });
  const { session } = db.another({ register: { coordinator } });
  const ready = new Gate();
  const go = new Gate();
  const running = coordinator.run(
    async (txn) => {
      txn.setUser('kim');
      await session.query('insert into accounts values (9, 0)');
      txn.join(recording([], 'a', { changed: false }));
      ready.open();
      await go.opened;
    },
    { note: 'seen from outside' },
  );
  await ready.opened;
  const { isClosed, transactions } = coordinator.inspect();
  assert.is(isClosed, false);
  assert.is(transactions.length, 1);
  const { id, ageMs, idleMs, began, ...rest } = transactions[0]!;
  assert.match(id, /^unanimous:/);
  assert.ok(ageMs >= idleMs!);
  assert.match(began!, /watch\.test\.ts/);
  assert.equal(rest, {
    status: 'active',
    attempt: 1,
    note: 'seen from outside',
    user: '/ kim',
    resources: [
      { name: 'pg', state: 'changed', changed: true },
      { name: 'a', changed: false },
    ],
  });
  go.open();
  await running;
  assert.equal(coordinator.inspect(), { isClosed: false, transactions: [] });
  await coordinator.close();
  assert.is(coordinator.inspect().isClosed, true);
});

test('of a transaction that began before there was a watch, statements are not counted, and nothing is warned of', async () => {
  const warnings: TransactionWarning[] = [];
  const coordinator = new TransactionCoordinator();
  const { session } = db.another({ register: { coordinator } });
  await coordinator.run(async () => {
    coordinator.configure({ watch: { longMs: 10, idleMs: 10, onWarning: (warning) => warnings.push(warning) } });
    await session.query('select 1');
    const [seen] = coordinator.inspect().transactions;
    assert.equal([seen!.idleMs, seen!.began], [0, undefined]);
    // The next one has begun later, and makes the watch look.
    await coordinator.run(() => assert.eventually(() => assert.is(warnings.length, 1)), {
      propagation: 'requires-new',
    });
  });
  assert.is(warnings.length, 1);
  coordinator.configure({ watch: false });
});
