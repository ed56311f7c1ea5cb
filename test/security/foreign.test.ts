// Protects recovery and npx unanimous from what others have prepared at the same servers: names that look nearly like ours, and hold
// quotes, backslashes, statements or commands of a terminal. They are left alone, and neither keep recovery from its work nor reach a terminal.
import pgDriver from 'pg';
import mysqlDriver from 'mysql2/promise';
import { type RecoveryReport, TransactionCoordinator, register } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { join } from 'node:path';
import { run } from '../../cli/run.ts';
import { mariadb, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { QUOTED, TERMINAL, UNPRINTABLE } from './hostile-texts.ts';

const test = suite('what others have prepared', { timeoutMs: 60_000 });

const url = await (await postgres()).database('bank');
const admin = new pgDriver.Pool({ connectionString: url, max: 2 });
// Where a backslash in a text means something whoever quotes for the other kind only is found out.
await admin.query(`do $$ begin
  execute format('alter database %I set standard_conforming_strings = off', current_database());
  execute format('alter database %I set backslash_quote = on', current_database()); end $$`);
await admin.query('create table accounts (id int)');
const maria = await mariadb();
const stockUrl = await maria.database('stock');

const app = `s${process.pid.toString(36)}`;
const bankPool = new pgDriver.Pool({ connectionString: url });
const stockPool = mysqlDriver.createPool({ uri: stockUrl });
const coordinator = new TransactionCoordinator();
const bank = register(new PgSession(bankPool, { name: 'bank' }), { coordinator });
const stock = register(new MysqlSession(stockPool, { name: 'stock' }), { coordinator });
const log = new PgDecisionLog(bank);
const reported: Error[] = [];
coordinator.configure({
  app,
  decisionLog: log,
  onError: (error) => reported.push(error),
  recovery: { everyMs: 1_000_000, resources: [bank, stock] },
});
const store = await log.open();
const prefix = `${app}:${store}:`;
await coordinator.recover();
const { incarnation } = coordinator.inspect().decisions!;
/** What a process that died before it had decided has left: to be rolled back. */
const ours = `${prefix}${'0'.repeat(19)}a:1`;

// A test that fails leaves none of its names to the next.
test.after.each(async () => {
  for (const name of await prepared()) await admin.query(`rollback prepared${escaped(name)}`);
});
test.after(async () => {
  await coordinator.close();
  await Promise.all([bankPool.end(), stockPool.end(), admin.end()]);
});

/** As PostgreSQL takes any text, whatever its settings. */
const escaped = (text: string): string => ` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

async function prepare(name: string): Promise<void> {
  const client = await admin.connect();
  try {
    await client.query('begin; insert into accounts values (1)');
    await client.query(`prepare transaction${escaped(name)}`);
  } finally {
    client.release();
  }
}

async function prepared(): Promise<string[]> {
  const { rows } = await admin.query<{ gid: string }>(
    'select gid from pg_prepared_xacts where database = current_database()',
  );
  return rows.map(({ gid }) => gid);
}

/** Runs npx unanimous, and returns what it has written. */
async function command(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await run(
    [...args, '--app', app, '--store', url, '--resource', `bank=${url}`, '--resource', `stock=${stockUrl}`],
    {
      folder: join(import.meta.dirname, '../..'),
      out: (text) => void (out += text),
      err: (text) => void (err += text),
    },
  );
  return { code, out, err };
}

/** Names of others at PostgreSQL, the nearest ones first. */
const FOREIGN: readonly string[] = [
  ...QUOTED.filter((text) => !/^[\w.-]+$/.test(text)).flatMap((text) => {
    const plain = text.replaceAll(':', ';');
    return [`${prefix}${incarnation}:${plain}:bank`, `${prefix}${plain}:1:bank`];
  }),
  `${prefix}:1:bank`,
  `${prefix}${incarnation}::bank`,
  `${prefix}${'a'.repeat(50)}:1:bank`,
  `${prefix}${'a'.repeat(199 - prefix.length - 7)}:1:bank`,
  `${prefix}${incarnation}:1`,
  prefix,
  // The names of all databases of a server are in one list, so that these are told apart from those of others who run this.
  `:::::${app}`,
  `:${app}:bank`,
  `${TERMINAL}:${store}:0a:1:bank`,
  `${prefix}0b:1:${TERMINAL}`,
];

test('names of others in PostgreSQL are left alone, and ours beside them are ended, pass after pass', async () => {
  // So many at a time, as the server has room for few, and others use it too.
  for (let at = 0; at < FOREIGN.length; at += 8) {
    const names = FOREIGN.slice(at, at + 8);
    for (const name of names) await prepare(name);
    for (let pass = 1; pass <= 2; pass++) {
      await prepare(`${ours}:bank`);
      const report: RecoveryReport = await coordinator.recover();
      assert.equal(report.failures, []);
      assert.equal(report.rolledBack, [{ gid: ours, branch: 'bank' }]);
      assert.equal(report.left, []);
    }
    assert.equal((await prepared()).toSorted(), names.toSorted());
    for (const name of names) await admin.query(`rollback prepared${escaped(name)}`);
  }
  assert.equal(reported, []);
});

test('what another role has prepared under a name of our form keeps only itself from being ended', async () => {
  const role = `stranger_${process.pid}`;
  await admin.query(`create role ${role} login password 'x'; grant insert on accounts to ${role}`);
  const strange = new URL(url);
  strange.username = role;
  strange.password = 'x';
  const stranger = new pgDriver.Client(strange.href);
  await stranger.connect();
  const me = `recoverer_${process.pid}`;
  await admin.query(`create role ${me} login password 'x'; grant all on accounts to ${me}`);
  const mine = new URL(url);
  mine.username = me;
  mine.password = 'x';
  const pool = new pgDriver.Pool({ connectionString: mine.href });
  const own = new TransactionCoordinator();
  // As any role that is no superuser has it: what others have prepared it may not end.
  const session = register(new PgSession(pool, { name: 'bank', resolveTimeoutMs: 200 }), { coordinator: own });
  own.configure({
    app,
    decisionLog: new PgDecisionLog(new PgSession(bankPool)),
    onError: () => undefined,
    recovery: { everyMs: 1_000_000, resources: [session] },
  });
  const squatted = `${prefix}${'0'.repeat(19)}b:1:bank`;
  try {
    await stranger.query(`begin; insert into accounts values (1); prepare transaction '${squatted}'`);
    for (let pass = 1; pass <= 3; pass++) {
      const client = await pool.connect();
      await client.query('begin; insert into accounts values (1)');
      await client.query(`prepare transaction '${ours}:bank'`);
      client.release();
      const report = await own.recover();
      assert.equal(report.rolledBack, [{ gid: ours, branch: 'bank' }]);
      assert.equal(
        report.left.map(({ gid }) => `${gid}:bank`),
        [squatted],
      );
    }
  } finally {
    await own.close();
    await pool.end();
    await stranger.query(`rollback prepared '${squatted}'`);
    await stranger.end();
    await admin.query(`drop owned by ${role}, ${me}; drop role ${role}, ${me}`);
  }
});

test('npx unanimous lists ours among names of others, and nothing of theirs reaches the terminal', async () => {
  const names = [...FOREIGN.slice(0, 4), ...FOREIGN.slice(-4)];
  for (const name of names) await prepare(name);
  await prepare(`${ours}:bank`);
  for (const what of ['list', 'status']) {
    for (const args of [[what], [what, '--json']]) {
      const { code, out, err } = await command(...args);
      assert.is(code, 1, out + err);
      assert.not.match(out + err, UNPRINTABLE);
      if (what === 'list') assert.ok(out.includes(ours), out);
      if (args.length === 2) JSON.parse(out);
    }
  }
  assert.is((await command('abort', ours)).code, 0);
  assert.equal((await prepared()).toSorted(), names.toSorted());
  for (const name of names) await admin.query(`rollback prepared${escaped(name)}`);
});

test('branches of others in MariaDB are left alone, and ours beside them are ended', async () => {
  const hex = (text: string): string => (text === '' ? `''` : `0x${Buffer.from(text).toString('hex')}`);
  const foreign = [
    [`${prefix}${incarnation}:'`, 'stock', 1],
    [`${prefix}0c:\\`, 'stock', 1],
    [`${prefix}0c:1`, TERMINAL, 1],
    [TERMINAL, `';--`, 1],
    [`${prefix}0c:1`, 'stock', 4_711],
    ['\u00ff\u0000:', '', 1],
  ] as const;
  const xid = ([gid, branch, format]: readonly [string, string, number]): string =>
    `${hex(gid)},${hex(branch)},${format}`;
  const others = mysqlDriver.createPool({ uri: stockUrl, connectionLimit: 10 });
  try {
    for (const each of [...foreign, [ours, 'stock', 1] as const]) {
      const connection = await others.getConnection();
      const text = xid(each);
      for (const verb of ['start', 'end', 'prepare']) await connection.query(`xa ${verb} ${text}`);
      // As when its process has died.
      connection.destroy();
    }
    const list = async (): Promise<string[]> => {
      const [rows] = await others.query<any[]>(`xa recover format='sql'`);
      const listed = rows.map(({ data }) => String(data).toLowerCase());
      return foreign
        .map(([gid]) => Buffer.from(gid).toString('hex'))
        .filter((id) => listed.some((text) => text.includes(id)));
    };
    assert.is((await list()).length, foreign.length);
    const report = await coordinator.recover();
    assert.equal(report.failures, []);
    assert.equal(report.rolledBack, [{ gid: ours, branch: 'stock' }]);
    assert.is((await list()).length, foreign.length);
    const { out, err } = await command('list');
    assert.not.match(out + err, UNPRINTABLE);
  } finally {
    for (const each of foreign) await others.query(`xa rollback ${xid(each)}`).catch(() => undefined);
    await others.end();
  }
});
