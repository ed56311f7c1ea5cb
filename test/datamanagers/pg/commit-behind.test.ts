// Protects a commit that is sent behind statements which nobody has awaited, where a session allows that: all of them count, or nothing does.
import { type RunOptions, transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { Database, onText } from './setup.ts';

const test = suite('a commit behind statements', { timeoutMs: 60_000 });
const server = await postgres();
const db = await Database.open(server, { name: 'behind', commitsBehindStatements: true, pool: { max: 2 } });
const other = await Database.open(server, { name: 'beside', commitsBehindStatements: true });
const { session } = db;
test.after(() => Promise.all([db.close(), other.close()]));
test.after.each(async () => {
  for (const each of [db, other]) {
    each.proxy.onClientData = undefined;
    await each.assertClean();
    await each.reset();
  }
});

const insert = (id: number): Promise<unknown> => session.query('insert into accounts values ($1, 0)', [id]);
const read = (): Promise<unknown> => session.query('select * from accounts where id = $1', [1]);

/** Runs `work`, whose statements aren't awaited; resolves with the error of the commit, and that of each statement. */
async function outcomeOf(
  work: () => readonly Promise<unknown>[] | Promise<readonly Promise<unknown>[]>,
  options: RunOptions = {},
): Promise<{ commit: any; statements: any[] }> {
  let pending: Promise<unknown>[] = [];
  const commit = await failureOf(
    transaction.run(
      async () => {
        pending = (await work()).map(failureOf);
      },
      { attempts: 1, ...options },
    ),
  );
  return { commit, statements: await Promise.all(pending) };
}

async function flightsOf(work: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < 4; i++) await work();
  db.proxy.resetFlights();
  await work();
  return db.proxy.flights;
}

test('it takes no flight of its own: one for a single write, two for a read and a write', async () => {
  const write = (): Promise<unknown> => session.query('update accounts set balance = balance + 1 where id = $1', [1]);
  const single = (): Promise<unknown> => outcomeOf(() => [write()]);
  assert.is(await flightsOf(single), 1);
  const both = (): Promise<unknown> =>
    outcomeOf(async () => {
      await read();
      return [write()];
    });
  assert.is(await flightsOf(both), 2);
  assert.is(await db.balance(1), 110);
});

test('all statements count that were asked for before it, however many', async () => {
  const { commit, statements } = await outcomeOf(() => [3, 4, 5, 6].map(insert));
  assert.equal([commit, ...statements], Array.from({ length: 5 }));
  assert.equal(await db.ids(), [1, 2, 3, 4, 5, 6]);
});

test('begun, written and committed without an await in between', async () => {
  await transaction.context(async () => {
    await transaction.begin();
    await Promise.all([insert(3), insert(4), transaction.commit()]);
    assert.is(transaction.current, undefined);
  });
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

for (const at of [0, 1, 2]) {
  test(`statement ${at + 1} of three fails: nothing is stored, and both it and the commit say so`, async () => {
    const { commit, statements } = await outcomeOf(() => [3, 4, 5].map((id, i) => insert(i === at ? 1 : id)));
    assert.is(commit.name, 'SilentRollbackError');
    assert.is(commit.cause.code, '23505');
    assert.equal(
      statements.map((error) => error?.code),
      [0, 1, 2].map((i) => (i < at ? undefined : i === at ? '23505' : '25P02')),
    );
    assert.equal(await db.ids(), [1, 2]);
  });
}

test('a statement that pg refuses to send: the commit isn’t sent either', async () => {
  const { commit, statements } = await outcomeOf(() => [insert(3), session.query('select 1', 'x' as never), insert(4)]);
  assert.ok(commit !== undefined);
  assert.ok(statements[1] !== undefined);
  assert.equal(await db.ids(), [1, 2]);
});

test('the COMMIT itself fails: its error is that of the commit, the statements have done theirs', async () => {
  await db.admin.query('create table late (id int unique deferrable initially deferred)');
  const { commit, statements } = await outcomeOf(() => [
    session.query('insert into late values ($1)', [1]),
    session.query('insert into late values ($1)', [1]),
  ]);
  assert.is(commit.code, '23505');
  assert.equal(statements, [undefined, undefined]);
  assert.is((await db.admin.query('select from late')).rowCount, 0);
  await db.admin.query('drop table late');
});

test('statements that can’t travel with others are waited for', async () => {
  const { commit, statements } = await outcomeOf(() => [
    insert(3),
    session.query('insert into accounts values (4, 0); insert into accounts values (5, 0)'),
    session.query('create temp table passing (i int)'),
    insert(6),
  ]);
  assert.equal([commit, ...statements], Array.from({ length: 5 }));
  assert.equal(await db.ids(), [1, 2, 3, 4, 5, 6]);
  const failing = await outcomeOf(() => [insert(7), session.query('select 1; select 1 / 0')]);
  assert.is(failing.commit.name, 'SilentRollbackError');
  assert.equal(await db.ids(), [1, 2, 3, 4, 5, 6]);
});

test('the reply to a write and its COMMIT is lost: the outcome is not known, and that is said', async () => {
  await transaction.run(() => read());
  onText(db.proxy, 'commit', (link) => {
    link.dropReplies = true;
    setTimeout(() => link.cut(), 100);
  });
  const { commit } = await outcomeOf(() => [insert(3)]);
  assert.is(commit.name, 'CommitOutcomeUnknownError');
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('the same where an earlier write was awaited: it is found out that it has committed', async () => {
  onText(db.proxy, 'commit', (link) => {
    link.dropReplies = true;
    setTimeout(() => link.cut(), 100);
  });
  const { commit } = await outcomeOf(async () => {
    await insert(3);
    return [insert(4)];
  });
  assert.is(commit, undefined);
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('the link is cut before anything has reached the server: nothing is stored, and no success is told', async () => {
  await transaction.run(() => read());
  onText(db.proxy, 'commit', (link) => {
    link.cut();
    return false;
  });
  const { commit, statements } = await outcomeOf(() => [insert(3)]);
  assert.ok(commit !== undefined);
  assert.ok(statements[0] !== undefined);
  assert.equal(await db.ids(), [1, 2]);
});

test('the deadline passes while a statement waits for a lock, with the COMMIT behind it: rolled back', async () => {
  const blocker = await db.admin.connect();
  await blocker.query('begin; update accounts set balance = 0 where id = 1');
  try {
    const { commit, statements } = await outcomeOf(
      () => [insert(3), session.query('update accounts set balance = 5 where id = $1', [1])],
      { timeoutMs: 300 },
    );
    assert.is(commit.name, 'TransactionTimeoutError');
    assert.ok(statements[1] !== undefined);
  } finally {
    await blocker.query('rollback');
    blocker.release();
  }
  assert.equal(await db.ids(), [1, 2]);
  assert.is(await db.balance(1), 100);
});

test('an abort: what was asked for and not sent is refused, and nothing is stored', async () => {
  const { statements } = await outcomeOf(() => {
    const pending = [insert(3), insert(4)];
    transaction.get().doom();
    return pending;
  });
  assert.equal(await db.ids(), [1, 2]);
  assert.ok(statements.length === 2);
  const pending: Promise<unknown>[] = [];
  await failureOf(
    transaction.run(
      () => {
        pending.push(insert(3), insert(4));
        throw new Error('changed my mind');
      },
      { attempts: 1 },
    ),
  );
  for (const each of pending) assert.ok((await failureOf(each)) !== undefined);
  assert.equal(await db.ids(), [1, 2]);
});

test('a hook that fails before the commit: nothing is sent behind the statements', async () => {
  const { commit } = await outcomeOf(() => {
    transaction.get().addBeforeCommitHook(() => {
      throw new Error('no');
    });
    return [insert(3)];
  });
  assert.is(commit.message, 'no');
  assert.equal(await db.ids(), [1, 2]);
});

test('two databases: both wait for their statements, and both or none are stored', async () => {
  const beside = (id: number): Promise<unknown> => other.session.query('insert into accounts values ($1, 0)', [id]);
  const good = await outcomeOf(() => [insert(3), beside(3), insert(4)]);
  assert.equal([good.commit, ...good.statements], Array.from({ length: 4 }));
  assert.equal(await other.ids(), [1, 2, 3]);
  const bad = await outcomeOf(() => [insert(5), beside(3), insert(6)]);
  assert.is(bad.commit.name, 'SilentRollbackError');
  assert.equal(await db.ids(), [1, 2, 3, 4]);
  assert.equal(await other.ids(), [1, 2, 3]);
});

test('reads only, declared or not: answered, and the connection is given back', async () => {
  for (const options of [{}, { readOnly: true }]) {
    const { commit, statements } = await outcomeOf(() => [read(), read()], options);
    assert.equal([commit, ...statements], [undefined, undefined, undefined]);
  }
});

test('a cursor that is still read is no statement to commit behind', async () => {
  const { default: Cursor } = await import('pg-cursor');
  const { commit } = await outcomeOf(async () => {
    await insert(3);
    session.query(new Cursor('select generate_series(1, 1000)') as never);
    return [];
  });
  assert.is(commit.name, 'ConcurrentUseError');
  assert.equal(await db.ids(), [1, 2]);
});

test('without the option such a commit is refused', async () => {
  const plain = db.another({ name: 'plain' });
  let asked: Promise<unknown> | undefined;
  const commit = await failureOf(
    transaction.run(
      () => {
        asked = plain.session.query('insert into accounts values (3, 0)').catch(() => undefined);
      },
      { attempts: 1 },
    ),
  );
  await asked;
  assert.is(commit.name, 'ConcurrentUseError');
  assert.equal(await db.ids(), [1, 2]);
});
