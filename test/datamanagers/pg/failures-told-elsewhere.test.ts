// Protects a transaction in which something has failed or was refused that nobody has awaited: it isn't committed without it.
import Cursor from 'pg-cursor';
import { transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { Database } from './setup.ts';

const test = suite('failures that somebody else was told of');
const db = await Database.open(await postgres(), { name: 'elsewhere' });
const { session } = db;
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

const attempts = { attempts: 1 };

test('a cursor fails in a library’s own transaction: its COMMIT says so, and the transaction goes on without it', async () => {
  await transaction.run(async () => {
    const client = await session.pool().connect();
    await client.query('begin');
    await client.query('insert into accounts values (3, 0)');
    const cursor = client.query(new Cursor('select 1 / 0') as never) as unknown as Cursor;
    assert.is((await failureOf(cursor.read(1))).code, '22012');
    assert.is((await failureOf(client.query('commit'))).name, 'SilentRollbackError');
    client.release();
    await session.query('insert into accounts values (4, 0)');
  }, attempts);
  assert.equal(await db.ids(), [1, 2, 4]);
});

test('a cursor fails in a serializable transaction that only reads: it ends as it does after any statement that failed', async () => {
  const options = { ...attempts, readOnly: true, isolation: 'serializable' } as const;
  for (const fail of [
    () => failureOf(session.query('select 1 / 0')),
    () => failureOf((session.query(new Cursor('select 1 / 0') as never) as unknown as Cursor).read(1)),
  ]) {
    assert.is((await transaction.run(fail, options)).code, '22012');
  }
});

test('a statement waits for a client that was left with its transaction open: the commit is refused', async () => {
  let asked: Promise<unknown> | undefined;
  const work = async (): Promise<void> => {
    const client = await session.pool().connect();
    await client.query('begin');
    await client.query('insert into accounts values (3, 0)');
    client.release();
    asked = failureOf(session.query('insert into accounts values (4, 0)'));
  };
  const error = await failureOf(transaction.run(work, attempts));
  assert.is(error?.name, 'ConcurrentUseError');
  assert.ok((await asked) !== undefined);
  assert.equal(await db.ids(), [1, 2]);
});
