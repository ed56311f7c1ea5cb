// Protects the decision store from texts: whatever names, payloads, errors and people are called, they are data, come back as they were, and
// are never a part of a statement; with PostgreSQL where a backslash means something, and MariaDB where it doesn't and a quote is a name.
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { ConfigurationError } from 'unanimous';
import { postgres, startMariadb } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { QUOTED } from './hostile-texts.ts';

const TEXTS = [
  ...QUOTED,
  'a\\'.repeat(1_000),
  '\\"'.repeat(10),
  `{"__proto__":{"polluted":true}}`,
  '\u0001\u007f\u009b',
  'x'.repeat(1 << 20),
];

/** A store, and a table of another that statements in texts would like to drop. */
interface Store {
  readonly log: PgDecisionLog | MysqlDecisionLog;
  readonly others: () => Promise<unknown>;
  readonly close: () => Promise<void>;
}

const stores: Record<string, () => Promise<Store>> = {
  async 'PostgreSQL, standard_conforming_strings off'() {
    const url = await (await postgres()).database('texts');
    const admin = new pgDriver.Pool({ connectionString: url });
    await admin.query(
      `do $$ begin execute format('alter database %I set standard_conforming_strings = off', current_database()); end $$`,
    );
    await admin.query('create table accounts (id int); insert into accounts values (1)');
    const pool = new pgDriver.Pool({ connectionString: url });
    const log = new PgDecisionLog(new PgSession(pool, { name: 'store' }));
    return {
      log,
      others: async () => (await admin.query('select id from accounts')).rows,
      close: async () => {
        await log.close();
        await Promise.all([pool.end(), admin.end()]);
      },
    };
  },
  async 'MariaDB, ANSI_QUOTES and NO_BACKSLASH_ESCAPES'() {
    const server = await startMariadb({ flags: ['--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'] });
    const url = await server.database('texts');
    const admin = mysqlDriver.createPool({ uri: url });
    await admin.query('create table accounts (id int)');
    await admin.query('insert into accounts values (1)');
    const pool = mysqlDriver.createPool({ uri: url });
    const log = new MysqlDecisionLog(new MysqlSession(pool, { name: 'store' }));
    return {
      log,
      others: async () => (await admin.query('select id from accounts'))[0],
      close: async () => {
        await log.close();
        await Promise.all([pool.end(), admin.end()]);
        await server.stop();
      },
    };
  },
};

for (const [what, open] of Object.entries(stores)) {
  const test = suite(`hostile texts, ${what}`);
  let store: Store;
  test.before(async () => {
    store = await open();
    await store.log.open();
    await store.log.register('abc', 'web1', 60_000);
  });
  test.after(() => store.close());
  test.after.each(async () => assert.equal(await store.others(), [{ id: 1 }]));

  test('payloads come back as they were stored, and so do errors and who dropped them', async () => {
    const { log } = store;
    const gid = 'shop:s:abc:1';
    const messages = TEXTS.map((payload) => ({ target: 'function:f', payload }));
    await log.decide({ gid, incarnation: 'abc', participants: ['bank'], messages });
    const listed = await log.outbox.list(1_000);
    assert.equal(
      listed.map(({ payload }) => payload),
      TEXTS,
    );
    for (const [index, text] of TEXTS.entries()) {
      await log.outbox.failed({ gid, sequence: index + 1 }, text.slice(0, 2_000), undefined);
    }
    const failed = await log.outbox.list(1_000);
    assert.equal(
      failed.map(({ error }) => error),
      TEXTS.map((text) => text.slice(0, 2_000)),
    );
    for (const [index, text] of TEXTS.entries()) {
      await log.outbox.drop([{ gid, sequence: index + 1 }], { by: text, forced: false });
    }
    const people = (await log.handActions(gid)).map(({ by }) => by);
    assert.equal(
      people,
      TEXTS.map((text) => text.replaceAll('\\', '/').slice(0, 200)),
    );
    await log.actByHand(
      { action: 'forget', by: `'; drop table accounts; --\\`, forced: true },
      { gid, incarnation: 'abc', participants: [] },
    );
    assert.equal(await log.decisions(10), []);
  });

  test('ids that none of ours is called are asked about like any other, and are not there', async () => {
    const { log } = store;
    const ids = TEXTS.filter((text) => text.length < 100);
    assert.equal(await log.decisionsOf(ids), []);
    for (const id of ids) {
      assert.equal(await log.handActions(id), []);
      assert.is(await log.renew(id, 1_000), false);
    }
    await log.forget(ids);
  });

  test('the name of a process is shown as it is', async () => {
    const { log } = store;
    const given = QUOTED.map((text) => text.slice(0, 250));
    for (const [index, text] of given.entries()) await log.register(`d${index}`, text, 60_000);
    const seen = new Map((await log.nodes()).map(({ incarnation, node }) => [incarnation, node]));
    assert.equal(
      given.map((_, index) => seen.get(`d${index}`)),
      given,
    );
  });
}

const names = suite('names of tables and sessions');

names('only plain lower-case names begin those of tables, with one schema at most', () => {
  const session = new PgSession(new pgDriver.Pool());
  for (const tablePrefix of [
    ...QUOTED.filter((text) => !/^[a-z_]+$/.test(text)),
    '',
    'A',
    '1a',
    'a.b.c',
    'a..b',
    '.a',
    'a b',
    'a-b',
    'ä',
  ]) {
    assert.throws(
      () => new PgDecisionLog(session, { tablePrefix }),
      (error: unknown) => error instanceof ConfigurationError,
      tablePrefix,
    );
  }
});

names('a session is called by plain characters, and a name of a property is a name', () => {
  for (const name of [
    ...QUOTED.filter((text) => !/^[\w.-]+$/.test(text)),
    '',
    ' ',
    'a:b',
    'a'.repeat(64),
    'a\n',
    'ä',
  ]) {
    assert.throws(
      () => new PgSession(new pgDriver.Pool(), { name }),
      (error: unknown) => error instanceof ConfigurationError,
      name,
    );
  }
  for (const name of ['__proto__', 'constructor', 'toString', '..', '-'])
    assert.is(new PgSession(new pgDriver.Pool(), { name }).name, name);
});
