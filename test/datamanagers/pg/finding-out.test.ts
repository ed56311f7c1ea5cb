// Protects what is believed of a transaction whose reply was lost, and of a branch that is to be ended, where the server’s answer is an odd one.
import pg from 'pg';
import { HeuristicError } from 'unanimous';
import { type Question, endPrepared, endingOf } from '../../../datamanagers/pg/resolve.ts';
import { LIFE } from '../../../datamanagers/pg/question.ts';
import { postgres, startPostgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { Database, onText } from './setup.ts';

const test = suite('finding out how a transaction ended', { timeoutMs: 60_000 });
const server = await postgres();
const db = await Database.open(server, { name: 'finding', resolveTimeoutMs: 3_000 });
test.after(() => db.close());
test.after.each(async () => {
  db.proxy.onClientData = db.proxy.onServerData = undefined;
  for (const gid of await db.prepared()) await db.admin.query(`rollback prepared '${gid}'`);
  await db.assertClean();
  await db.reset();
});

const question = (timeoutMs = 20_000, pid: number | null = null): Question => ({ pool: db.pool, pid, timeoutMs });
const life = async (): Promise<string> =>
  (await db.admin.query<{ life: string }>(`select ${LIFE} as life`)).rows[0]!.life;

/** The id of a transaction that has written, and is ended as `end` says. */
async function ended(end: 'commit' | 'rollback'): Promise<string> {
  const client = await db.admin.connect();
  try {
    await client.query('begin');
    const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
    await client.query(end);
    return rows[0]!.xid;
  } finally {
    client.release();
  }
}

let sequence = 0;
const nameOf = (): string => `test:store:finding:${++sequence}:finding`;

/** Prepares an insert under a name, and returns the transaction's id. */
async function prepare(gid: string, target: Pick<pg.Pool, 'connect'> = db.admin): Promise<string> {
  const client = await target.connect();
  try {
    await client.query('begin; insert into accounts values (3, 0)');
    const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
    await client.query(`prepare transaction '${gid}'`);
    return rows[0]!.xid;
  } finally {
    client.release();
  }
}

/** Does something at the server before a statement that holds `text` gets there. */
function before(text: string, act: () => Promise<unknown>): void {
  onText(db.proxy, text, (link, data) => {
    void act().then(() => link.server.write(data));
    return false;
  });
}

test('what has ended is told as it did, in the same life of the server', async () => {
  assert.is(await endingOf(question(), await ended('commit'), await life()), 'committed');
  assert.is(await endingOf(question(), await ended('rollback'), await life()), 'aborted');
});

test('of another life of the server only that something was not committed is certain', async () => {
  assert.is(await endingOf(question(), await ended('commit'), 'another'), 'unknown');
  assert.is(await endingOf(question(), await ended('rollback'), 'another'), 'aborted');
  const client = await db.admin.connect();
  try {
    await client.query('begin');
    const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
    assert.is(await endingOf(question(), rows[0]!.xid, 'another'), 'aborted', 'somebody else has the id now');
    const again = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
    assert.is(again.rows[0]!.xid, rows[0]!.xid, 'whose transaction is left alone');
    await client.query('commit');
  } finally {
    client.release();
  }
});

test('an id that the server has not given yet was lost with a crash; one that is too old for it to know is unknown', async () => {
  const xid = await ended('commit');
  assert.is(await endingOf(question(), String(BigInt(xid) + 1_000_000_000n), await life()), 'aborted');
  assert.is(await endingOf(question(), '3', await life()), 'unknown');
});

test('a server that is a standby by now is not believed: it may not have heard of it yet', async () => {
  const xid = await ended('commit');
  const now = await life();
  const column = Buffer.from('isStandby');
  /** `false`, as the only byte of a field. */
  const no = Buffer.from([0, 0, 0, 1, 0x66]);
  let answers = 0;
  db.proxy.onServerData = (data, link) => {
    const at = data.indexOf(no, data.indexOf(column));
    if (!data.includes(column) || at < 0) return undefined;
    answers++;
    data.write('t', at + 4);
    link.client.write(data);
    return false;
  };
  assert.is(await endingOf(question(1_500), xid, now), 'unknown');
  db.proxy.onServerData = undefined;
  assert.ok(answers > 0);
  assert.is(await endingOf(question(), xid, now), 'committed');
});

test('the connection over which it is asked is lost: asked again over another one', async () => {
  const xid = await ended('commit');
  let cuts = 0;
  onText(db.proxy, 'pg_xact_status', (link) => {
    cuts++;
    link.cut();
    return false;
  });
  assert.is(await endingOf(question(), xid, await life()), 'committed');
  assert.is(cuts, 1);
});

for (const verb of ['commit', 'rollback'] as const) {
  test(`a branch that wasn’t there, and is a moment later, is ended all the same: ${verb}`, async () => {
    const gid = nameOf();
    before('pg_prepared_xacts', () => prepare(gid));
    await endPrepared(question(), verb, gid, undefined);
    assert.equal(await db.prepared(), []);
    assert.equal(await db.ids(), verb === 'commit' ? [1, 2, 3] : [1, 2]);
  });

  test(`a branch that was ended the other way by hand is no success: ${verb}`, async () => {
    const gid = nameOf();
    const xid = await prepare(gid);
    await db.admin.query(`${verb === 'commit' ? 'rollback' : 'commit'} prepared '${gid}'`);
    assert.instance(await failureOf(endPrepared(question(), verb, gid, xid, true)), HeuristicError);
  });
}

test('a branch of another role, which this one may not end, stays prepared, and that is an error in bounded time', async () => {
  const role = `finding_${process.pid}`;
  await db.admin.query(`create role ${role} login password 'x'; grant all on accounts to ${role}`);
  const url = new URL(db.url);
  [url.username, url.password] = [role, 'x'];
  const weak = new pg.Pool({ connectionString: url.href });
  const gid = nameOf();
  try {
    await prepare(gid);
    // Tried again and again; the last try may have been cut short by the limit.
    const ended = endPrepared({ ...question(1_000), pool: weak }, 'commit', gid, undefined);
    assert.match((await failureOf(ended)).message, /permission denied|did not answer/);
    assert.equal(await db.prepared(), [gid]);
  } finally {
    await weak.end();
    await db.admin.query(`drop owned by ${role}; drop role ${role}`);
  }
});

test('a branch that another process is ending is waited for, for so long and no longer; once that is through it is done', async () => {
  // A COMMIT PREPARED that waits for a standby which never comes holds the branch.
  const own = await startPostgres({ settings: { synchronous_standby_names: 'nobody', synchronous_commit: 'local' } });
  const lone = await Database.open(own, { name: 'lone', resolveTimeoutMs: 500 });
  const gid = nameOf();
  const ender = await lone.admin.connect();
  try {
    const xid = await prepare(gid, lone.admin);
    await ender.query('set synchronous_commit = on');
    const done = ender.query(`commit prepared '${gid}'`);
    done.catch(() => undefined);
    await assert.eventually(async () => {
      const { rows } = await lone.admin.query("select 1 from pg_stat_activity where wait_event = 'SyncRep'");
      return rows.length === 1;
    });
    const asked = (timeoutMs: number): Question => ({ pool: lone.pool, pid: null, timeoutMs });
    const error = await failureOf(endPrepared(asked(2_000), 'commit', gid, xid));
    assert.match(error.message, /could not be ended within|did not answer/);
    await lone.admin.query("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    await done;
    await endPrepared(asked(20_000), 'commit', gid, xid);
    assert.equal(await lone.ids(), [1, 2, 3]);
  } finally {
    ender.release(true);
    await lone.close();
    await own.stop();
  }
});
