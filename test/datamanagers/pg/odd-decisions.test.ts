// Protects what a decision store in PostgreSQL answers, and what it leaves behind, where its tables, its connection or what it is given is odd.
import type pg from 'pg';
import { ConfigurationError, MemoryStore, type Transaction, TransactionCoordinator } from 'unanimous';
import { PgDecisionLog, type PgSession } from 'unanimous/pg';
import { inlined } from '../../../datamanagers/pg/own-statement.ts';
import { endBackend } from '../../../datamanagers/pg/resolve.ts';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf, plain } from '../sql/helpers.ts';
import { Database, says } from './setup.ts';

const test = suite('decision stores in odd circumstances', { timeoutMs: 60_000 });
const server = await postgres();
const db = await Database.open(server, { name: 'odd' });
const logs: PgDecisionLog[] = [];
test.after(async () => {
  await Promise.all(logs.map((log) => log.close()));
  await db.close();
});
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

let stores = 0;
function logOn(session: PgSession = db.session): { log: PgDecisionLog; prefix: string } {
  const prefix = `odd${++stores}_`;
  const log = new PgDecisionLog(session, { tablePrefix: prefix });
  logs.push(log);
  return { log, prefix };
}

/** A registered incarnation, and a decision of it. */
async function decisionIn(log: PgDecisionLog): Promise<{ gid: string; incarnation: string; participants: string[] }> {
  await log.open();
  const incarnation = '0123456789abcdef0123';
  await log.register(incarnation, 'here', 60_000);
  return { gid: `app:store:${incarnation}:1`, incarnation, participants: ['a', 'b'] };
}

test('a log needs a session of PostgreSQL; what came instead is named', () => {
  for (const wrong of [undefined, {}, db.pool]) {
    assert.throws(
      () => new PgDecisionLog(wrong as never),
      (error: unknown) => error instanceof ConfigurationError && says(/needs the session.*a PgSession, not/)(error),
    );
  }
});

test('a table of settings that somebody has made and left empty is filled in', async () => {
  const { log, prefix } = logOn();
  await db.admin.query(`create table ${prefix}meta (key text primary key, value text not null)`);
  const store = await log.open();
  assert.match(store, /^[0-9a-f]{10}$/);
  assert.is(await log.open(), store);
  await log.decide(await decisionIn(log));
  assert.is((await log.decisions(10)).length, 1);
});

test('tables that are gone: each call says so, and gives its connection back idle', async () => {
  const { log } = logOn();
  const decision = { gid: 'app:store:i:1', incarnation: 'i', participants: [] };
  for (let round = 0; round < 5; round++) {
    for (const call of [
      () => log.fence('i'),
      () => log.actByHand({ action: 'abort', by: 'me', forced: false }, decision),
      () => log.handActions('x'),
      () => log.nodes(),
    ]) {
      await assert.rejects(call(), { code: '42P01' });
    }
  }
  const busy = (await db.activity()).filter(({ state }) => state !== 'idle');
  assert.equal(busy, []);
});

test('an id with a zero byte never gets into a text, and one with anything else is one like any other', async () => {
  const { log } = logOn();
  const decision = await decisionIn(log);
  await assert.rejects(log.settle({ ...decision, gid: 'a\0b' }), TypeError);
  assert.equal(await log.decisions(10), []);
  const gid = `a\\'; drop table accounts; --`;
  assert.is(await log.settle({ ...decision, gid }), 'aborted');
  assert.equal(
    (await log.decisions(10)).map((row) => row.gid),
    [gid],
  );
});

test('a payload that PostgreSQL can’t hold is refused with its decision, and neither is stored', async () => {
  const { log } = logOn();
  const decision = await decisionIn(log);
  const messages = [{ target: 't', payload: 'a\0b' }] as never;
  await assert.rejects(log.decide({ ...decision, messages }), says(/payload of a message holds no zero bytes/));
  assert.equal(await log.decisions(10), []);
  assert.equal(await log.outbox.list(10), []);
});

test('a message that never failed and was dropped by hand is told of without an error', async () => {
  const { log } = logOn();
  const decision = await decisionIn(log);
  await log.decide({ ...decision, messages: [{ target: 't', payload: '{}' }] as never });
  await log.outbox.drop([{ gid: decision.gid, sequence: 1 }], { by: 'me', forced: false });
  const actions = await log.handActions(decision.gid);
  assert.equal(
    actions.map(({ action, by, message }) => [action, by, message]),
    [['drop', 'me', { sequence: 1, target: 't', error: undefined }]],
  );
});

test('a statement as one text is what it is with parameters, whatever the values hold and strings may mean', async () => {
  const values = ['it’s $2', "it's", '\\', "\\'; drop table accounts; --", '$1', '', 'a\nb', '%s', 'é🤖'];
  const statement = {
    text: `select ${values.map((_value, index) => `$${index + 1}::text`).join(" || '|' || ")} as v`,
    values,
  };
  const client = await db.admin.connect();
  try {
    await client.query('set escape_string_warning = off');
    for (const setting of ['standard_conforming_strings = off', 'backslash_quote = off', 'backslash_quote = on']) {
      await client.query(`reset standard_conforming_strings; set ${setting}`);
      const { rows } = await client.query<{ v: string }>(inlined(statement));
      assert.is(rows[0]!.v, values.join('|'), setting);
    }
  } finally {
    client.release(true);
  }
});

/** A process that writes to the store's database and to a memory, so that it needs decisions. */
async function deciding(options: { namesStatements?: boolean } = {}) {
  const coordinator = new TransactionCoordinator({ app: 'odd' });
  const clients: pg.Client[] = [];
  const { pool, session } = db.another({ name: 'store', register: { coordinator }, ...options });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => void clients.push(client as unknown as pg.Client));
  const { log, prefix } = logOn(session);
  coordinator.configure({ decisionLog: log, recovery: false });
  const memory = new MemoryStore({ name: 'memory', role: 'recoverable', coordinator });
  const run = (id: number, work?: (txn: Transaction) => unknown): Promise<unknown> =>
    coordinator.run(
      async (txn) => {
        await session.query('insert into accounts values ($1, 0)', [id]);
        memory.set(`thing ${id}`, id);
        await work?.(txn);
        return txn.id;
      },
      { attempts: 1 },
    );
  return { coordinator, memory, run, clients, prefix, session };
}

test('a session that names no statements writes its decisions with the commit too', async () => {
  const one = await deciding({ namesStatements: false });
  const seen = new Set<string>();
  const look = async (): Promise<void> => {
    for (const { gid } of await decisions(one.prefix)) seen.add(gid);
  };
  for (const id of [3, 4, 5]) await one.run(id, (txn) => txn.join(plain('!', { tpcFinish: look })));
  assert.is(seen.size, 3, 'each was there when the others were told');
  assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
  await one.coordinator.close();
});

async function decisions(prefix: string): Promise<{ gid: string }[]> {
  return (await db.admin.query<{ gid: string }>(`select gid from ${prefix}decision`)).rows;
}

test('the connection is lost when all others have voted, and the decision has not been sent: nothing is stored anywhere', async () => {
  const one = await deciding();
  // From the third time on it goes by prepared statements.
  for (const id of [3, 4, 5]) await one.run(id);
  const lose = async (): Promise<void> => {
    const gone = Promise.race(one.clients.map((client) => new Promise((resolve) => client.once('end', resolve))));
    await db.terminate();
    await gone;
  };
  const error = await failureOf(one.run(6, (txn) => txn.join(plain('!', { tpcVote: lose }))));
  assert.ok(error !== undefined);
  assert.equal(await db.ids(), [1, 2, 3, 4, 5]);
  assert.is(one.memory.committed.get('thing 6'), undefined);
  await one.run(7);
  assert.equal(await db.ids(), [1, 2, 3, 4, 5, 7]);
  await one.coordinator.close();
});

test('the process of a lost connection that still has the transaction open is ended before anybody looks for its decision', async () => {
  const client = await db.admin.connect();
  client.on('error', () => undefined);
  await client.query('begin; insert into accounts values (3, 0)');
  const { rows } = await client.query<{ xid: string; pid: number }>(
    'select pg_current_xact_id()::text as xid, pg_backend_pid() as pid',
  );
  const { xid, pid } = rows[0]!;
  await endBackend({ pool: db.pool, pid, timeoutMs: 10_000 }, String(BigInt(xid) + 1n));
  await client.query('select 1');
  await endBackend({ pool: db.pool, pid, timeoutMs: 10_000 }, xid);
  await assert.rejects(client.query('commit'));
  client.release(true);
  assert.equal(await db.ids(), [1, 2]);
});
