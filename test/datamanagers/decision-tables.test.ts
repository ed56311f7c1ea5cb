// Protects the tables of a decision store: made once however many come at once, never those of another release, and never those of
// another store.
import { ConfigurationError, type DecisionLog } from 'unanimous';
import { mariadb, mysql, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { type DecisionStore, decisionOf, mysqlStore, pgStore } from './decision-stores.ts';

const oracle = await mysql();
const stores: DecisionStore[] = [
  await pgStore(await postgres()),
  await mysqlStore('MariaDB', await mariadb()),
  ...(oracle === undefined ? [] : [await mysqlStore('MySQL', oracle)]),
];

/** That of the tables now. */
const VERSION = '2';

let tables = 0;

for (const store of stores) {
  const test = suite(`decision tables in ${store.title}`);
  let tablePrefix: string;
  test.before.each(() => {
    tablePrefix = `tables${++tables}_`;
  });
  test.after.each(() => store.endProcesses());
  test.after(() => store.close());

  const meta = async (): Promise<Record<string, string>> => {
    const rows = await store.rows<Record<string, string>>(`select * from ${tablePrefix}meta`);
    return Object.fromEntries(rows.map((row) => Object.values(row) as [string, string]));
  };

  test('processes that begin at the same moment make the tables once', async () => {
    const logs = Array.from({ length: 6 }, () => store.process({ tablePrefix }).log);
    const identities = await Promise.all(logs.map((log) => log.open()));
    assert.is(new Set(identities).size, 1);
    const { store: identity, version } = await meta();
    assert.is(identity, identities[0]);
    assert.is(version, VERSION);
    await logs[0]!.register('one', 'first', 60_000);
    await logs[1]!.decide(decisionOf('one'));
  });

  test('a process that died while it made them leaves them to the next one', async () => {
    const { log } = store.process({ tablePrefix });
    const identity = await log.open();
    await store.rows(`update ${tablePrefix}meta set value = '0' where value = '${VERSION}'`);
    // PostgreSQL makes them in one transaction; elsewhere some may be there already.
    if (store.title === 'PostgreSQL') {
      for (const table of ['node', 'lease', 'decision', 'outbox', 'audit', 'dropped']) {
        await store.rows(`drop table ${tablePrefix}${table}`);
      }
    }
    assert.is(await store.process({ tablePrefix }).log.open(), identity);
    assert.is((await meta())['version'], VERSION);
    assert.equal(await log.nodes(), []);
  });

  test('tables of the release before are brought up to date, with what they hold', async () => {
    const { log } = store.process({ tablePrefix });
    const identity = await log.open();
    await log.register('one', 'first', 60_000);
    await log.decide({ ...decisionOf('one'), messages: [{ target: 'mail', payload: 'p' }] });
    await store.rows(`drop table ${tablePrefix}dropped`);
    await store.rows(`update ${tablePrefix}meta set value = '1' where value = '${VERSION}'`);
    const later = store.process({ tablePrefix }).log;
    const error = await assert.rejects(later.open({ create: false }), ConfigurationError);
    assert.match(error.message, `its tables are of version 1, not ${VERSION}`);
    assert.is(await later.open(), identity);
    assert.is((await meta())['version'], VERSION);
    const [message] = await later.outbox!.list(10);
    assert.equal(await later.outbox!.drop([message!], { by: 'ops', forced: false }).then((all) => all.length), 1);
    assert.is((await later.decisionsOf([decisionOf('one').gid])).length, 1);
  });

  test('tables of a later release are refused, and left as they are', async () => {
    await store.process({ tablePrefix }).log.open();
    await store.rows(`update ${tablePrefix}meta set value = '99' where value = '${VERSION}'`);
    const error = await assert.rejects(store.process({ tablePrefix }).log.open(), ConfigurationError);
    assert.match(error.message, /of version 99, which a later release/);
    assert.is((await meta())['version'], '99');
  });

  test('without leave to make them, nothing is made', async () => {
    const { log } = store.process({ tablePrefix });
    const error = await assert.rejects(log.open({ create: false }), ConfigurationError);
    assert.match(error.message, `there is no table ${tablePrefix}meta`);
    await assert.rejects(meta());
    const identity = await log.open();
    assert.is(await store.process({ tablePrefix }).log.open({ create: false }), identity);
  });

  test('stores side by side in a database know nothing of each other', async () => {
    const [one, other] = ['a', 'b'].map((part) => store.process({ tablePrefix: tablePrefix + part }).log) as [
      DecisionLog,
      DecisionLog,
    ];
    assert.not.equal(await one.open(), await other.open());
    for (const log of [one, other]) await log.register('same', 'first', 60_000);
    await one.decide(decisionOf('same'));
    assert.equal(await other.decisions(10), []);
    await other.fence('same');
    await one.decide(decisionOf('same', 2));
    assert.is((await one.nodes()).length, 1);
  });

  test('they may be in another schema or database of the server', async () => {
    const schema = `${tablePrefix}schema`;
    await store.rows(`create schema ${schema}`);
    const { log } = store.process({ tablePrefix: `${schema}.x_` });
    const identity = await log.open();
    assert.is(await store.process({ tablePrefix: `${schema}.x_` }).log.open(), identity);
    await log.register('one', 'first', 60_000);
    await log.decide(decisionOf('one'));
    await log.fence('one');
    const [row] = await store.rows<{ gid: string }>(`select gid from ${schema}.x_decision`);
    assert.is(row!.gid, decisionOf('one').gid);
    await assert.rejects(log.decide(decisionOf('one', 2)), { code: 'ERR_TXN_FENCED' });
    await assert.rejects(log.decide(decisionOf('one')), { code: 'ERR_TXN_FENCED' });
    await store.rows(`drop schema ${schema}${store.title === 'PostgreSQL' ? ' cascade' : ''}`);
  });

  test('a prefix that is no beginning of a name is refused before anything is sent', () => {
    for (const wrong of ['', 'Unanimous_', '1_', 'a.b.c_', 'x"y', "x'y", 'x y', '.x', 'x.', 'ä_']) {
      assert.throws(
        () => store.process({ tablePrefix: wrong }),
        (error: unknown) => error instanceof ConfigurationError && error.message.includes('tablePrefix'),
        wrong,
      );
    }
  });

  test('a database that can’t be reached is said so in time', async () => {
    const { log } = store.process({ tablePrefix, timeoutMs: 300 });
    store.proxy.hold();
    const error = await assert.rejects(log.open());
    assert.match(error.message, /within 300 ms|timeout/);
    store.proxy.release();
    await assert.eventually(async () => (await log.open()) !== '');
  });
}
