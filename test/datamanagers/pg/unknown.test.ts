import {
  CommitOutcomeUnknownError,
  ConnectionLostError,
  HeuristicError,
  InDoubtError,
  transaction,
  type DataManager,
  type Transaction,
  TransientError,
} from 'unanimous';
import { postgres } from '../../support/servers.ts';
import type { Link } from '../../support/proxy.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database, onText } from './setup.ts';

const test = suite('an outcome whose reply was lost (pitfall 9)');
const server = await postgres();
const short = { endTimeoutMs: 300, resolveTimeoutMs: 3_000 };
const db = await Database.open(server, { name: 'unknown', ...short });
const other = await Database.open(server, { name: 'second', ...short });
const { session, proxy } = db;
test.after(() => Promise.all([db.close(), other.close()]));
test.after.each(async () => {
  for (const each of [db, other]) {
    each.proxy.onClientData = undefined;
    each.proxy.onServerData = undefined;
    each.proxy.refuse = false;
    each.proxy.release();
    await each.cut();
    for (const gid of await each.prepared()) await each.admin.query(`rollback prepared '${gid}'`);
    await each.assertClean();
    await each.reset();
  }
});

const attempts = { attempts: 1 };
const insert = (id: number, target = session): Promise<unknown> =>
  target.query('insert into accounts values ($1, 0)', [id]);

for (const [how, lose] of Object.entries({
  'with the link': (link: Link) => void link.server.once('data', () => link.cut()),
  'and nothing more comes': () => undefined,
})) {
  test(`the reply to COMMIT is lost ${how}: it has committed, which the server is asked, and run returns`, async () => {
    onText(proxy, 'commit', (link) => {
      link.dropReplies = true;
      lose(link);
    });
    const hooks: boolean[] = [];
    const outcome = await transaction.run(async (txn) => {
      txn.addAfterCommitHook((committed) => hooks.push(committed));
      await insert(3);
      return 'done';
    }, attempts);
    assert.is(outcome, 'done');
    assert.equal(hooks, [true]);
    assert.equal(await db.ids(), [1, 2, 3]);
  });
}

test('the link is cut before COMMIT arrives: rolled back, which the server is asked, and transient', async () => {
  onText(proxy, 'commit', (link) => {
    link.cut();
    return false;
  });
  const error = await assert.rejects(
    transaction.run(() => insert(3), attempts),
    ConnectionLostError,
  );
  assert.match(error.message, /rolled the transaction back/);
  assert.equal(await db.ids(), [1, 2]);
});

test('the link is cut before COMMIT arrives: run tries again, and the row is there once', async () => {
  onText(proxy, 'commit', (link) => {
    link.cut();
    return false;
  });
  await transaction.run(async (txn) => insert(10 + txn.attempt));
  assert.equal(await db.ids(), [1, 2, 12]);
});

test('COMMIT is swallowed by the network, whose link stays: the server’s process is ended, and it is rolled back', async () => {
  onText(proxy, 'commit', () => false);
  await assert.rejects(
    transaction.run(() => insert(3), attempts),
    ConnectionLostError,
  );
  assert.equal(await db.ids(), [1, 2]);
});

test('COMMIT arrives late, after the question: whoever is believed, the answer is what the table shows', async () => {
  let late: (() => void) | undefined;
  onText(proxy, 'commit', (link, data) => {
    link.client.destroy();
    late = () => void link.server.write(data);
    return false;
  });
  const error = await transaction
    .run(() => insert(3), attempts)
    .then(
      () => undefined,
      (thrown: Error) => thrown,
    );
  late?.();
  await db.assertClean();
  assert.instance(error, ConnectionLostError);
  assert.equal(await db.ids(), [1, 2]);
});

test('only a multi-statement text wrote: its lost COMMIT is resolved too', async () => {
  onText(proxy, 'commit', (link) => void (link.dropReplies = true));
  await transaction.run(
    () => session.query('insert into accounts values (3, 0); insert into accounts values (4, 0)'),
    attempts,
  );
  assert.equal(await db.ids(), [1, 2, 3, 4]);
});

test('the server stays away: CommitOutcomeUnknownError in bounded time, never retried, with what to ask', async () => {
  const gone = await Database.open(server, { name: 'gone', endTimeoutMs: 200, resolveTimeoutMs: 400 });
  onText(gone.proxy, 'commit', (link) => {
    gone.proxy.refuse = true;
    link.dropReplies = true;
  });
  let calls = 0;
  const hooks: boolean[] = [];
  let status: string | undefined;
  const error = await assert.rejects(
    transaction.run(async (txn) => {
      calls++;
      txn.addAfterCommitHook((committed) => {
        hooks.push(committed);
        status = txn.status;
      });
      await insert(3, gone.session);
    }),
    CommitOutcomeUnknownError,
  );
  assert.is(calls, 1);
  assert.match(error.message, /pg_xact_status\('\d+'\)/);
  assert.is(status, 'in doubt');
  gone.proxy.refuse = false;
  const xid = /pg_xact_status\('(\d+)'\)/.exec(error.message)![1]!;
  const { rows } = await gone.admin.query('select pg_xact_status($1::xid8) as status', [xid]);
  assert.equal(rows, [{ status: 'committed' }]);
  assert.equal(await gone.ids(), [1, 2, 3]);
  await gone.assertClean();
  await gone.close();
});

/** Both databases are changed, so that both are prepared. */
const onBoth = (txn?: Transaction): Promise<unknown> =>
  txn === undefined ? insert(3) : insert(3).then(() => insert(3, other.session));

test('the reply to PREPARE is lost: nothing is committed, nothing stays prepared', async () => {
  for (const each of [db, other]) {
    onText(each.proxy, 'prepare transaction', (link) => void (link.dropReplies = true));
    await assert.rejects(transaction.run(onBoth, attempts));
    for (const database of [db, other]) {
      assert.equal(await database.ids(), [1, 2]);
      assert.equal(await database.prepared(), []);
    }
  }
});

test('the link is cut before PREPARE arrives: nothing is committed, and run tries again', async () => {
  onText(other.proxy, 'prepare transaction', (link) => {
    link.cut();
    return false;
  });
  let calls = 0;
  await transaction.run(async (txn) => {
    calls++;
    await onBoth(txn);
  });
  assert.is(calls, 2);
  for (const each of [db, other]) assert.equal(await each.ids(), [1, 2, 3]);
});

test('PREPARE arrives late, after the abort: nothing stays prepared for ever', async () => {
  const late: (() => void)[] = [];
  onText(other.proxy, 'prepare transaction', (link, data) => {
    // The client's half dies, the server's half lives, and what the client has said comes later.
    link.client.removeAllListeners('close').removeAllListeners('end');
    link.client.resetAndDestroy();
    late.push(() => void (link.server.writable && link.server.write(data)));
    return false;
  });
  await assert.rejects(transaction.run(onBoth, attempts));
  for (const send of late) send();
  assert.is(late.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (const each of [db, other]) {
    assert.equal(await each.prepared(), []);
    assert.equal(await each.ids(), [1, 2]);
  }
  await other.terminate();
});

test('the reply to COMMIT PREPARED is lost: finished exactly once, at both', async () => {
  for (const each of [db, other]) {
    onText(each.proxy, 'commit prepared', (link) => void (link.dropReplies = true));
    const txn = await transaction.run(async (txn) => {
      await onBoth(txn);
      return txn;
    }, attempts);
    assert.equal(txn.outcome, { result: 'committed', way: 'two-phase' });
    for (const database of [db, other]) {
      assert.equal(await database.ids(), [1, 2, 3]);
      assert.equal(await database.prepared(), []);
      await database.reset();
    }
  }
});

test('the link is cut before COMMIT PREPARED arrives: finished over another connection', async () => {
  for (const each of [db, other]) {
    onText(each.proxy, 'commit prepared', (link) => {
      link.cut();
      return false;
    });
    await transaction.run(onBoth, attempts);
    for (const database of [db, other]) {
      assert.equal(await database.ids(), [1, 2, 3]);
      assert.equal(await database.prepared(), []);
      await database.reset();
    }
  }
});

test('a server stays away in phase two: InDoubtError in bounded time names it, and what is prepared can be committed by hand', async () => {
  const gone = await Database.open(server, { name: 'away', endTimeoutMs: 200, resolveTimeoutMs: 400 });
  onText(gone.proxy, 'commit prepared', (link) => {
    gone.proxy.refuse = true;
    link.cut();
    return false;
  });
  let calls = 0;
  const error = await assert.rejects(
    transaction.run(async () => {
      calls++;
      await insert(3);
      await insert(3, gone.session);
    }),
    InDoubtError,
  );
  assert.is(calls, 1);
  assert.equal([error.finished, error.unfinished], [['unknown'], ['away']]);
  assert.equal(await db.ids(), [1, 2, 3]);
  gone.proxy.refuse = false;
  const listed = await gone.session.listPrepared();
  assert.equal(listed, [{ gid: error.xid, branch: 'away' }]);
  await gone.session.commitPrepared(listed[0]!);
  assert.equal(await gone.ids(), [1, 2, 3]);
  assert.equal(await gone.session.listPrepared(), []);
  await gone.assertClean();
  await gone.close();
});

/** Stands between the databases' votes and their finish: sorts before both, so it is finished first. */
function betweenPhases(act: () => Promise<unknown>): DataManager {
  const nothing = (): void => undefined;
  return {
    sortKey: '!between',
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: async () => void (await act()),
    tpcAbort: nothing,
    abort: nothing,
  };
}

test('somebody rolled the prepared branch back by hand: the error says so (heuristic outcome)', async () => {
  const writes: Record<string, () => Promise<unknown>> = {
    'one statement': () => insert(3, other.session),
    'several statements': () =>
      other.session.query('insert into accounts values (3, 0); insert into accounts values (4, 0)'),
    'a function in a SELECT': () => other.session.query('select setseed(0), 1 from writes()'),
    'a cursor': async () => other.session.query('insert into accounts select 3, 0').then(() => undefined),
  };
  for (const [what, write] of Object.entries(writes)) {
    await other.admin.query(
      'create or replace function writes() returns int language sql volatile as $$ insert into accounts values (3, 0) returning id $$',
    );
    const error = await assert.rejects(
      transaction.run(async (txn) => {
        await insert(3);
        await write();
        txn.join(
          betweenPhases(async () => {
            for (const gid of await other.prepared()) await other.admin.query(`rollback prepared '${gid}'`);
          }),
        );
      }),
      InDoubtError,
      what,
    );
    assert.instance(error.cause, HeuristicError, what);
    const { xid, resource } = error.cause as HeuristicError;
    assert.equal([xid, resource], [error.xid, 'second']);
    assert.match(error.message, /rolled back by somebody else/);
    assert.equal(error.unfinished, ['second']);
    assert.equal(await db.ids(), [1, 2, 3]);
    assert.equal(await other.ids(), [1, 2]);
    await db.reset();
  }
});

test('somebody committed the prepared branch by hand, and it is decided to roll back: that hangs on the error, and is not tried again', async () => {
  let attempts = 0;
  const error = await assert.rejects(
    transaction.run(async (txn) => {
      attempts++;
      await onBoth(txn);
      const no = betweenPhases(() => Promise.resolve());
      const tpcVote = async (): Promise<never> => {
        for (const gid of await other.prepared()) await other.admin.query(`commit prepared '${gid}'`);
        throw new TransientError('no');
      };
      txn.join({ ...no, sortKey: '~~', tpcVote });
    }),
    TransientError,
  );
  assert.is(attempts, 1);
  const [suppressed] = error.suppressed!;
  assert.instance(suppressed, HeuristicError);
  assert.match((suppressed as Error).message, /was decided to roll back; it was committed by somebody else/);
  assert.equal(
    [await db.ids(), await other.ids()],
    [
      [1, 2],
      [1, 2, 3],
    ],
  );
  await other.reset();
});

test('somebody committed the prepared branch by hand: that is what was decided, and no error', async () => {
  await transaction.run(async (txn) => {
    await onBoth(txn);
    txn.join(
      betweenPhases(async () => {
        for (const gid of await other.prepared()) await other.admin.query(`commit prepared '${gid}'`);
      }),
    );
  }, attempts);
  for (const each of [db, other]) assert.equal(await each.ids(), [1, 2, 3]);
});

test('the last resource’s outcome is unknown: what is prepared is held, not undone, and said', async () => {
  const last = await Database.open(server, {
    name: 'last',
    endTimeoutMs: 200,
    resolveTimeoutMs: 400,
    register: { twoPhase: false },
  });
  onText(last.proxy, 'commit', (link) => {
    last.proxy.refuse = true;
    link.dropReplies = true;
  });
  const error = await assert.rejects(
    transaction.run(async () => {
      await insert(3);
      await insert(3, last.session);
    }),
    InDoubtError,
  );
  assert.instance(error.cause, CommitOutcomeUnknownError);
  assert.equal(error.unfinished, ['unknown']);
  assert.equal(await last.ids(), [1, 2, 3]);
  const held = await session.listPrepared();
  assert.equal(held, [{ gid: error.xid, branch: 'unknown' }]);
  await session.commitPrepared(held[0]!);
  assert.equal(await db.ids(), [1, 2, 3]);
  last.proxy.refuse = false;
  await last.assertClean();
  await last.close();
});
