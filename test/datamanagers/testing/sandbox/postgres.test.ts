// What is PostgreSQL's own in a sandbox: deferred constraints, what has written, cursors, a reader, a connection that is lost.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import Cursor from 'pg-cursor';
import {
  ConfigurationError,
  SilentRollbackError,
  type Transaction,
  TransactionStateError,
  observe,
  register,
  transaction,
} from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { rollback, rollbackPerTest } from 'unanimous/testing';
import { postgres } from '../../../support/servers.ts';
import { assert, suite } from '../../../support/suite.ts';
import { Database, says } from '../../pg/setup.ts';

// As it is for everybody, rather than for other tests.
transaction.configure({ allowUnsafeCommit: false });

const test = suite('a sandbox on PostgreSQL alone');
const server = await postgres();
// One connection is enough, whatever is begun inside of what.
const db = await Database.open(server, { name: 'bank', pool: { max: 1 }, acquireTimeoutMs: 1_000 });
const other = await Database.open(server, { name: 'audit', pool: { max: 1 } });
const bank = db.session;
const audit = other.session;

test.before(async () => {
  await db.admin.query(`
    create table words (word text primary key,
      later text constraint later references words deferrable initially deferred,
      sooner text constraint sooner references words deferrable initially immediate);
    create table seen (n int);
    create function writes() returns int language sql as $$ insert into seen values (1) returning n $$`);
});
test.after.each(async () => {
  const { rows } = await db.admin.query(
    'select (select count(*) from words)::int + (select count(*) from seen)::int as n',
  );
  assert.equal(rows, [{ n: 0 }], 'nothing is stored');
  assert.equal(await db.ids(), [1, 2]);
  assert.equal(await other.ids(), [1, 2]);
  await db.assertClean();
  await other.assertClean();
});
test.after(async () => {
  await db.close();
  await other.close();
});

const word = (text: string, fields: { later?: string; sooner?: string } = {}): Promise<unknown> =>
  bank.query('insert into words values ($1, $2, $3)', [text, fields.later, fields.sooner]);
const words = async (): Promise<string[]> =>
  transaction.run(async () => (await bank.query('select word from words order by 1')).rows.map((row) => row.word));

test('a deferred constraint is checked by each commit, and waits again in the next transaction', async () => {
  await rollback(async () => {
    await assert.rejects(
      transaction.run(() => word('a', { later: 'missing' })),
      { code: '23503', constraint: 'later' },
    );
    await transaction.run(async () => {
      await word('b', { later: 'c' });
      await word('c');
    });
    await assert.rejects(
      transaction.run(async () => {
        await word('d', { later: 'e' });
        await assert.rejects(word('x', { sooner: 'y' }), { code: '23503', constraint: 'sooner' });
      }),
      SilentRollbackError,
    );
    await transaction.run(async () => {
      await word('d', { later: 'e' });
      await word('e');
    });
    assert.equal(await words(), ['b', 'c', 'd', 'e']);
  });
});

test('SET CONSTRAINTS holds for its transaction, and not for the next one', async () => {
  await rollback(async () => {
    await transaction.run(async () => {
      await bank.query('set constraints all deferred');
      await word('a', { sooner: 'b' });
      await word('b');
    });
    await assert.rejects(
      transaction.run(async () => {
        await word('c', { sooner: 'd' });
        await word('d');
      }),
      { code: '23503', constraint: 'sooner' },
    );
    assert.equal(await words(), ['a', 'b']);
  });
});

test('a transaction of a read-only database and a written one needs no decision log, though the first was written before', async () => {
  await rollback(async () => {
    await transaction.run(() => bank.query('insert into accounts values (3, 0)'));
    const outcomes = async (propagation: 'required' | 'requires-new'): Promise<unknown> =>
      transaction.run(
        async (txn) => {
          await bank.query('select * from accounts');
          await audit.query('update accounts set balance = 0 where id = 1');
          return txn;
        },
        { propagation },
      );
    const { outcome } = (await outcomes('required')) as { outcome: unknown };
    assert.equal(outcome, { result: 'committed', way: 'one-phase' });
    await transaction.run(async () => {
      await bank.query('insert into accounts values (4, 0)');
      const { outcome: inner } = (await outcomes('requires-new')) as { outcome: unknown };
      assert.equal(inner, { result: 'committed', way: 'one-phase' });
    });
  });
});

test('a function that writes in a SELECT is found out, and two databases without a decision log are refused as elsewhere', async () => {
  await rollback(async () => {
    await transaction.run(() => bank.query('insert into accounts values (3, 0)'));
    await assert.rejects(
      transaction.run(async () => {
        await bank.query('select writes()');
        await audit.query('update accounts set balance = 0 where id = 1');
      }),
      ConfigurationError,
    );
    const seen = (): Promise<number> => transaction.run(async () => (await bank.query('select * from seen')).rowCount!);
    assert.is(await seen(), 0);
    await transaction.run(() => bank.query('select writes()'));
    assert.is(await seen(), 1);
  });
});

test('cursors and streams read what was committed in the sandbox', async () => {
  await rollback(async () => {
    await transaction.run(() => bank.query('insert into accounts select n, 0 from generate_series(3, 20) n'));
    await transaction.run(async () => {
      const cursor = bank.query(new Cursor<{ id: number }>('select id from accounts order by id'));
      assert.is((await cursor.read(5)).length, 5);
      await cursor.close();
      assert.is((await bank.query('select from accounts')).rowCount, 20);
    });
  });
});

test('a requires-new inside of a transaction with a failed statement is refused, and says why', async () => {
  await rollback(async () => {
    await assert.rejects(
      transaction.run(async () => {
        await bank.query('insert into accounts values (1, 0)').catch(() => undefined);
        await transaction.run(() => bank.query('select 1'), { propagation: 'requires-new' });
      }),
      says(/in a sandbox a transaction inside of another one shares its connection; .* a statement has failed/),
    );
    assert.is(await transaction.run(async () => (await bank.query('select from accounts')).rowCount), 2);
  });
});

test('who waits for a transaction that can’t end before it is told so in time', async () => {
  await rollback(async () => {
    await assert.rejects(
      transaction.run(async () => {
        await bank.query('insert into accounts values (3, 0)');
        // Not told where it belongs, so that it waits for its turn.
        await transaction.detached(() => transaction.run(() => bank.query('select 1')))();
      }),
      { code: 'ERR_TXN_CONCURRENT_USE' },
    );
  });
});

test('a transaction that is rolled back takes along what runs inside of it and was not awaited, and that is told', async () => {
  await assert.rejects(
    rollback(async () => {
      let inner!: Promise<unknown>;
      let begun!: () => void;
      const hasBegun = new Promise<void>((resolve) => {
        begun = resolve;
      });
      await assert.rejects(
        transaction.run(async () => {
          await bank.query('insert into accounts values (3, 0)');
          inner = transaction.run(
            async () => {
              await bank.query('insert into accounts values (4, 0)');
              begun();
              await bank.query('select pg_sleep(0.1)');
            },
            { propagation: 'requires-new' },
          );
          await hasBegun;
          throw new Error('no');
        }),
        says(/^no$/),
      );
      await inner;
      assert.is(await transaction.run(async () => (await bank.query('select from accounts')).rowCount), 2);
    }),
    says(/what is committed inside of another transaction stays/),
  );
});

test('a bare statement of the pool while its transaction is suspended is kept by itself, and told of where it is undone', async () => {
  const pool = bank.pool();
  const count = async (): Promise<number> =>
    transaction.run(async () => (await bank.query('select from accounts')).rowCount!);
  await rollback(async () => {
    await transaction.run(async () => {
      await bank.query('select * from accounts');
      await transaction.suspend(() => pool.query('insert into accounts values (3, 0)'));
      await assert.rejects(transaction.suspend(() => pool.query('insert into accounts values (3, 0)')));
      assert.is(bank.state, 'active', 'what was written is not the transaction’s');
    });
    assert.is(await count(), 3);
  });
  const body = (statement: string) => (): Promise<unknown> =>
    assert.rejects(
      transaction.run(async () => {
        await bank.query('insert into accounts values (4, 0)');
        await transaction.suspend(() => pool.query(statement));
        throw new Error('no');
      }),
      says(/^no$/),
    );
  await rollback(body('select * from accounts'));
  await assert.rejects(
    rollback(body('insert into accounts values (3, 0)')),
    says(/a statement or transaction of a library/),
  );
});

test('a session that keeps its connection, and a reader of its own, see the sandbox', async () => {
  const readers = new pg.Pool({ connectionString: db.url });
  const pool = new pg.Pool({ connectionString: db.url, max: 2 });
  const session = register(new PgSession(pool, { name: 'keeping', readerPool: readers }), { keepSession: true });
  try {
    await rollback(async () => {
      await transaction.run(() => session.query('insert into accounts values (3, 0)'));
      const count = await transaction.run(async () => (await session.query('select from accounts')).rowCount, {
        readOnly: true,
      });
      assert.is(count, 3);
    });
    assert.is(pool.idleCount, pool.totalCount);
    assert.is(readers.totalCount, 0);
  } finally {
    await pool.end();
    await readers.end();
  }
});

test('where the connection is lost, all that comes later says so, nothing is tried for ever, and the pool is clean', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  await transaction.run(() => bank.query('insert into accounts values (3, 0)'));
  assert.is(await db.terminate(), 1);
  await assert.rejects(
    transaction.run(() => bank.query('select 1'), { backoff: false }),
    TransactionStateError,
  );
  await sandbox.end().catch(() => undefined);
  await rollback(async () => {
    assert.is(await transaction.run(async () => (await bank.query('select from accounts')).rowCount), 2);
  });
});

test('requests to a server that was started before are in the sandbox, each whole, however many there are at once', async () => {
  const listening = createServer((request, response) => {
    const id = Number(request.url!.slice(1));
    const done = transaction.run(async () => {
      await bank.query('insert into accounts values ($1, 0)', [id]);
      await bank.query('update accounts set balance = balance + 1 where id = 1');
      if (id % 3 === 0) throw new Error('no');
    });
    done.then(
      () => response.end('done'),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const { port } = listening.address() as AddressInfo;
  const sandbox = rollbackPerTest();
  try {
    await sandbox.begin();
    const ids = Array.from({ length: 20 }, (_, index) => index + 10);
    const statuses = await Promise.all(ids.map(async (id) => (await fetch(`http://127.0.0.1:${port}/${id}`)).status));
    assert.equal(
      statuses,
      ids.map((id) => (id % 3 === 0 ? 500 : 200)),
    );
    const { rows } = await transaction.run(() =>
      bank.query('select (select count(*)::int from accounts) as count, balance from accounts where id = 1'),
    );
    const stored = ids.filter((id) => id % 3 !== 0).length;
    assert.equal(rows, [{ count: 2 + stored, balance: 100 + stored }]);
  } finally {
    await sandbox.end();
    listening.close();
    listening.closeAllConnections();
  }
});

test('a test that hangs in a statement is ended: the statement is stopped, and its transaction rolled back', async () => {
  const sandbox = rollbackPerTest();
  await sandbox.begin();
  const hanging = transaction.run(async () => {
    await bank.query('insert into accounts values (3, 0)');
    await bank.query('select pg_sleep(60)');
  });
  hanging.catch(() => undefined);
  await assert.eventually(async () => (await db.activity()).some(({ query }) => query.includes('pg_sleep')));
  await assert.rejects(sandbox.end(), says(/was left active/));
  await assert.rejects(hanging);
});

test('who observes transactions sees those of the test, and none of the sandbox', async () => {
  const seen: string[] = [];
  const told =
    (name: string) =>
    ({ transaction: txn }: { transaction: Transaction }): void =>
      void seen.push(`${name} ${txn.description}`);
  const stop = observe({ begin: told('begin'), join: told('join'), commit: told('commit'), abort: told('abort') });
  try {
    await rollback(async () => {
      await transaction.run(() => bank.query('select 1'), { note: 'a' });
      await bank.pool().query('select 1');
      await assert.rejects(transaction.run(() => bank.query('select 1 / 0'), { note: 'b' }));
    });
  } finally {
    stop();
  }
  assert.equal(seen, ['begin a', 'join a', 'commit a', 'begin b', 'join b', 'abort b']);
});

test('the sandbox has no connection until one is needed, and then one for all', async () => {
  await rollback(async () => {
    await transaction.run(() => undefined);
    assert.is(db.pool.totalCount - db.pool.idleCount, 0);
    await transaction.run(() => bank.query('select 1'));
    await transaction.run(() => bank.query('select 1'));
    assert.is(db.pool.totalCount - db.pool.idleCount, 1);
    assert.is(other.pool.totalCount - other.pool.idleCount, 0);
  });
});
