// Protects what a session of MySQL or MariaDB finds out about prepared branches at odd moments: one that is owned only now, or that nobody
// may end, a KILL that is lost; and its own connections, where they fail while they are made or used.
import type { PoolConnection } from 'mysql2/promise';
import { ConfigurationError, HeuristicError, type Xid } from 'unanimous';
import { MysqlDecisionLog } from 'unanimous/mysql';
import { corePoolOf } from '../../../datamanagers/mysql/driver.ts';
import { ownerLock } from '../../../datamanagers/mysql/owner-lock.ts';
import { pipeline } from '../../../datamanagers/mysql/pipeline.ts';
import { PrivatePool } from '../../../datamanagers/mysql/private-pool.ts';
import { type Question, endPrepared } from '../../../datamanagers/mysql/resolve.ts';
import { warningsOf } from '../../../datamanagers/mysql/warnings.ts';
import { xidText } from '../../../datamanagers/mysql/xid.ts';
import { assert, suite } from '../../support/suite.ts';
import { onText, outcomes, says } from '../sql/helpers.ts';
import { Database, products } from './setup.ts';

let branches = 0;

for (const { product, server } of await products()) {
  const test = suite(`odd moments on ${product}`, { timeoutMs: 60_000 });
  const db = await Database.open(server, { name: 'odd', pool: { multipleStatements: true } });
  const { proxy } = db;
  const core = corePoolOf(db.pool)!;
  const left: { readonly xid: Xid; readonly owner: PoolConnection }[] = [];
  test.after.each(async () => {
    proxy.onClientData = undefined;
    proxy.onServerData = undefined;
    // A test that has failed leaves a branch to those behind it otherwise.
    for (const { xid, owner } of left.splice(0)) {
      await owner.query(`xa rollback ${xidText(xid)}`).catch(() => undefined);
      owner.destroy();
    }
    await db.reset();
    await db.assertClean();
  });
  test.after(() => db.close());

  /** A branch that is prepared by somebody who hasn't said that it is theirs. */
  async function prepared(work: string): Promise<{ xid: Xid; owner: PoolConnection }> {
    const xid = { gid: `odd:-:0123456789abcdef0123:${++branches}`, branch: 'odd' };
    const owner = await db.admin.getConnection();
    owner.on('error', () => undefined);
    left.push({ xid, owner });
    const text = xidText(xid);
    await owner.query(`xa start ${text}; ${work}; xa end ${text}; xa prepare ${text}`);
    return { xid, owner };
  }

  const asked = (timeoutMs: number, threadId?: number): Question => ({
    pool: core,
    timeoutMs,
    owner: threadId === undefined ? undefined : { threadId, sinceMs: performance.now(), changedRows: true },
  });
  const INSERT = 'insert into accounts values (3, 0)';

  test('a branch that another connection has, which nobody knows to end, is told to be there when the time is up', async () => {
    const { xid, owner } = await prepared(INSERT);
    // Or that the last question had no answer in time.
    const pattern = /could not be ended within 2500 ms$|did not answer within \d+ ms|could not be reached/;
    await assert.rejects(endPrepared(asked(2_500), 'rollback', xid), says(pattern));
    await owner.query(`xa rollback ${xidText(xid)}`);
  });

  test('a connection that says only now that it has the branch is ended, and then the branch', async () => {
    const { xid, owner } = await prepared(INSERT);
    onText(proxy, 'xa commit', () => {
      proxy.hold();
      void owner.query(`do get_lock(${ownerLock(xid)}, 0)`).then(() => proxy.release());
    });
    await endPrepared(asked(20_000), 'commit', xid);
    assert.equal(await db.ids(), [1, 2, 3]);
    await assert.rejects(owner.query('select 1'));
  });

  test('a KILL of the connection that has the branch is sent again where its own connection is lost', async () => {
    const { xid, owner } = await prepared(INSERT);
    let killed = 0;
    proxy.onClientData = (data, link) => {
      if (!data.toString('latin1').includes('kill connection')) return undefined;
      if (++killed > 1) return undefined;
      link.cut();
      return false;
    };
    await endPrepared(asked(20_000, owner.threadId), 'rollback', xid);
    assert.ok(killed > 1, String(killed));
    assert.equal(await db.ids(), [1, 2]);
  });

  if (product === 'MariaDB') {
    test('a branch of another process that the server has rolled back is said to be so, unless it had only read', async () => {
      const { xid, owner } = await prepared('select * from accounts');
      owner.destroy();
      const error = await assert.rejects(endPrepared(asked(20_000), 'commit', xid), HeuristicError);
      assert.match(error.message, /the server has rolled it back, unless it had only read: the others have committed/);
    });
  }

  test('statements of one flight may have rows, and each has its own', async () => {
    const connection = await db.pool.getConnection();
    const inner = (connection as unknown as { connection: Parameters<typeof pipeline>[0] }).connection;
    const answers = await pipeline(inner, ['select id from accounts order by id', 'select nothing', 'select 7 as n']);
    assert.equal(
      answers.map(({ rows, error }) => error?.errno ?? rows),
      [[{ id: 1 }, { id: 2 }], 1054, [{ n: 7 }]],
    );
    connection.release();
  });

  test('a connection of the store’s own that fails while it is made leaves room for another one', async () => {
    const store = new PrivatePool(core, 5_000);
    for (let count = 0; count < 6; count++) {
      onText(proxy, 'innodb_lock_wait_timeout', (link) => {
        link.cut();
        return false;
      });
      await assert.rejects(store.query('select 1'));
    }
    assert.equal((await store.query('select 2 as n')).rows, [{ n: 2 }]);
    store.end();
  });

  test('one that the server ends while it is at work is gone, and the next one is sound', async () => {
    const store = new PrivatePool(core, 20_000);
    for (let count = 0; count < 6; count++) {
      const slow = outcomes(store.query('select sleep(20)'));
      await assert.eventually(() => db.isRunning('sleep(20)'));
      await db.terminate(({ info }) => info?.includes('sleep(20)') === true);
      assert.instance((await slow)[0], Error);
    }
    assert.equal((await store.query('select 2 as n')).rows, [{ n: 2 }]);
    store.end();
  });

  test('who may not list what is prepared warns of that; a server that can not be asked is no such warning', async () => {
    const refusing = (failure: Error) => (): Promise<never> => Promise.reject(failure);
    const denied = Object.assign(new Error('access denied'), { errno: 1227, sqlState: '42000' });
    const [warning, ...others] = await warningsOf(refusing(denied), 'odd', 10);
    assert.is(warning?.kind, 'missing-right');
    assert.match(warning!.message, /XA_RECOVER_ADMIN/);
    assert.equal(others, []);
    const lost = await assert.rejects(warningsOf(refusing(new Error('gone')), 'odd', 10), says(/^gone$/));
    assert.not.instance(lost, ConfigurationError);
  });

  test('a claim in order that fails otherwise than by being another one’s turn says so, rather than that nothing is there', async () => {
    const log = new MysqlDecisionLog(db.session, { tablePrefix: 'odd_', timeoutMs: 5_000 });
    await log.open();
    const claim = { prefix: 'odd', targets: ['t'], inOrder: ['t'], limit: 10, forMs: 1_000 };
    assert.equal(await log.outbox.claim(claim), []);
    onText(proxy, 'for update nowait', (link) => {
      link.cut();
      return false;
    });
    await assert.rejects(log.outbox.claim(claim));
    await db.admin.query('drop table odd_meta');
    await assert.rejects(log.outbox.claim(claim), { errno: 1146 });
    // A process that died as it had made the table, and nothing in it, leaves it to the next one.
    await db.admin.query('create table odd_meta (name varchar(20) primary key, value varchar(64) not null)');
    assert.type(await log.open(), 'string');
    await log.close();
    await db.admin.query('drop table odd_meta, odd_node, odd_lease, odd_decision, odd_outbox, odd_audit, odd_dropped');
  });
}
