// Protects a sandbox on a database where turns are odd: what is begun inside of something and never ends, what was never awaited, connections
// that break at the worst moment, and an end that comes while something is under way.
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  CommitOutcomeUnknownError,
  ConcurrentUseError,
  ConnectionLostError,
  InDoubtError,
  TransactionClosed,
  transaction,
} from 'unanimous';
import { RecordingDataManager, rollback, rollbackPerTest } from 'unanimous/testing';
import { postgres } from '../../../support/servers.ts';
import { assert, suite } from '../../../support/suite.ts';
import { Database, onText, says } from '../../pg/setup.ts';

const test = suite('odd turns in a sandbox', { timeoutMs: 60_000 });
const db = await Database.open(await postgres(), { name: 'bank', pool: { max: 1 }, acquireTimeoutMs: 500 });
const { session: bank, proxy } = db;
const pool = bank.pool();
db.pool.on('error', () => undefined);

test.after.each(async () => {
  proxy.onClientData = undefined;
  assert.equal(await db.ids(), [1, 2], 'nothing is stored');
  await db.assertClean();
});
test.after(() => db.close());

const insert = (id: number): Promise<unknown> => bank.query('insert into accounts values ($1, 0)', [id]);
const count = (): Promise<number> => transaction.run(async () => (await bank.query('select from accounts')).rowCount!);
const no = (): never => {
  throw new Error('no');
};

/** Something that is waited for until somebody says so. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open!: () => void;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

/** A transaction that is rolled back while another one inside of it is open, which isn't awaited. */
async function outlivedByInner(): Promise<{ outer: Error; inner: () => Promise<unknown> }> {
  const begun = gate();
  const goOn = gate();
  let inner!: Promise<unknown>;
  const outer = await assert.rejects(
    transaction.run(
      async () => {
        await insert(3);
        inner = transaction.run(
          async () => {
            await insert(4);
            begun.open();
            await goOn.passed;
            await insert(5);
          },
          { propagation: 'requires-new', attempts: 1 },
        );
        inner.catch(() => undefined);
        await begun.passed;
        no();
      },
      { attempts: 1 },
    ),
  );
  return {
    outer: outer as Error,
    inner() {
      goOn.open();
      return inner;
    },
  };
}

test('what runs inside of a transaction that is rolled back, and doesn’t end in time, is undone with it and can do nothing more', async () => {
  await rollback(async () => {
    const { outer, inner } = await outlivedByInner();
    assert.is(outer.message, 'no');
    assert.is(await count(), 2);
    const error = await assert.rejects(inner(), TransactionClosed);
    assert.match((error as Error).message, /was rolled back before the end of transaction .*, which is undone with it/);
    assert.is(await count(), 2);
    await transaction.run(() => insert(6));
    assert.is(await count(), 3);
  });
});

test('where that can’t be undone either, as the connection is lost then, both reasons are told', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  onText(proxy, 'rollback to', (link) => {
    link.cut();
    return false;
  });
  const { outer, inner } = await outlivedByInner();
  assert.is(outer.message, 'no');
  const [late] = (outer as Error & { suppressed?: Error[] }).suppressed ?? [];
  assert.instance(late, ConcurrentUseError);
  const [lost] = (late as Error & { suppressed?: Error[] }).suppressed ?? [];
  assert.match(String(lost), /gone|lost|reset|terminated/i);
  await assert.rejects(inner());
  await sandbox.end().catch(() => undefined);
});

test('a connection that is lost between the commits and the votes stores nothing, and is told by the vote', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  const losing = new RecordingDataManager({
    sortKey: '~~~~',
    changed: false,
    vote: 'read-only',
    does: {
      async commit() {
        proxy.cut();
        await assert.eventually(() => proxy.links.size === 0);
        await new Promise((resolve) => setTimeout(resolve, 50));
      },
    },
  });
  await assert.rejects(
    transaction.run(
      async (txn) => {
        await insert(3);
        txn.join(losing);
      },
      { attempts: 1 },
    ),
    ConnectionLostError,
  );
  await sandbox.end().catch(() => undefined);
});

test('where it isn’t known whether the last resource has committed, the database is as it was, and the sandbox goes on', async () => {
  const unknown = new RecordingDataManager({
    sortKey: '~~~~',
    lastResource: true,
    changed: true,
    does: {
      tpcVote: () => {
        throw new CommitOutcomeUnknownError('the reply to the COMMIT of another one was lost');
      },
    },
  });
  await rollback(async () => {
    const error = await assert.rejects(
      transaction.run(
        async (txn) => {
          await insert(3);
          txn.join(unknown);
        },
        { attempts: 1 },
      ),
    );
    assert.ok(error instanceof InDoubtError || error instanceof CommitOutcomeUnknownError, String(error));
    assert.is(await count(), 2);
    await transaction.run(() => insert(4));
    assert.is(await count(), 3);
  });
});

test('who leaves a transaction twice is inside of it all the same', async () => {
  await rollback(async () => {
    await transaction.run(async () => {
      await insert(3);
      await transaction.suspend(() =>
        transaction.suspend(() => pool.query('insert into accounts values (4, 0)') as Promise<unknown>),
      );
    });
    assert.is(await count(), 4);
  });
});

test('a client of a library hears the notices of its statements, and of nobody else’s', async () => {
  const heard: (string | undefined)[] = [];
  const raise = (text: string): string => `do $$ begin raise notice '${text}'; end $$`;
  await rollback(() =>
    transaction.run(async () => {
      const client = await pool.connect();
      client.on('notice', ({ message }) => heard.push(message));
      await client.query(raise('mine'));
      await bank.query(raise('another’s'));
      client.release();
    }),
  );
  assert.equal(heard, ['mine']);
});

test('what a client asks for that hears notices is a statement of its transaction: in a read-only one it writes nothing', async () => {
  await rollback(async () => {
    await assert.rejects(
      transaction.run(
        async () => {
          const client = await pool.connect();
          client.on('notice', () => undefined);
          await client.query('insert into accounts values (3, 0)').finally(() => client.release());
        },
        { readOnly: true },
      ),
      says(/read-only/),
    );
    assert.is(await count(), 2);
  });
});

test('a bare statement of work that has outlived its sandbox is in no other one’s', async () => {
  const late = gate();
  let work!: Promise<unknown>;
  await rollback(() => {
    work = late.passed.then(() => pool.query('insert into accounts values (3, 0)') as Promise<unknown>);
  });
  work.catch(() => undefined);
  await rollback(async () => {
    late.open();
    await assert.rejects(work, TransactionClosed);
    assert.is(await count(), 2);
  });
});

test('a bare statement of a session that is let through is for good', async () => {
  await rollback(() => pool.query('insert into accounts values (3, 0)') as Promise<unknown>, { letThrough: [bank] });
  assert.equal(await db.ids(), [1, 2, 3]);
  await db.reset();
});

/** Begins a transaction by hand, in a context that stays open for as long as `open` does; returns what calls a function in it. */
async function leftOpen(open: Promise<void>, note = ''): Promise<<R>(fn: () => R) => R> {
  const begun = gate();
  let inside!: <R>(fn: () => R) => R;
  void transaction.context(async () => {
    await transaction.begin({ note });
    inside = AsyncLocalStorage.snapshot();
    begun.open();
    await open;
  });
  await begun.passed;
  return inside;
}

test('who first works while the sandbox ends gets no connection, which nobody would take back', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  const over = gate();
  const first = await leftOpen(over.passed);
  const last = await leftOpen(over.passed);
  let seen: unknown;
  const abort = (): Promise<unknown> => first(() => insert(3)).catch((error: unknown) => (seen = error));
  last(() => transaction.enlist().join(new RecordingDataManager({ does: { abort } })));
  await assert.rejects(sandbox.end(), says(/was left active/));
  over.open();
  assert.ok(says(/it is being ended, so that nothing more begins/)(seen), String(seen));
});

test('all that was left open is told, however much it is', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  const over = gate();
  for (const note of ['first', 'second']) await leftOpen(over.passed, note);
  const error = await assert.rejects(sandbox.end(), says(/\(second\) was left active/));
  over.open();
  const { suppressed = [] } = error as Error & { suppressed?: Error[] };
  assert.equal(
    suppressed.map(({ message }) => /\((\w+)\) was left active/.exec(message)?.[1]),
    ['first'],
  );
});

test('an end that comes while a commit is under way waits for it, and finds no fault with it', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  const voting = gate();
  const goOn = gate();
  const tpcVote = (): Promise<void> => {
    voting.open();
    return goOn.passed;
  };
  const committing = transaction.run(async (txn) => {
    await insert(3);
    txn.join(new RecordingDataManager({ changed: false, does: { tpcVote } }));
    return txn;
  });
  await voting.passed;
  const ended = sandbox.end();
  // Ending twice at once does no harm.
  const again = sandbox.end();
  setTimeout(() => goOn.open(), 50);
  await Promise.all([ended, again]);
  assert.is((await committing).status, 'committed');
});
