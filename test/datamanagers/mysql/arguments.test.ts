import driver from 'mysql2/promise';
import callbackDriver from 'mysql2';
import { ConfigurationError, transaction } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { checkServer } from '../../../datamanagers/mysql/check.ts';
import { assert, suite } from '../../support/suite.ts';
import { says } from '../sql/helpers.ts';
import { Database, products } from './setup.ts';

const test = suite('what a MysqlSession is made with');
const all = await products();
const db = await Database.open(all[0]!.server, { name: 'arguments' });
test.after(() => db.close());

const refuses = (make: () => unknown, said: RegExp): void =>
  assert.throws(make, (error: unknown) => error instanceof ConfigurationError && says(said)(error));

test('a pool of mysql2 is needed, of either kind; what came instead is named', async () => {
  for (const [wrong, said] of [
    [undefined, /pool of mysql2.*not undefined/],
    [null, /pool of mysql2.*not null/],
    ['mysql://localhost', /pool of mysql2.*'mysql:\/\/localhost'/],
    [{}, /pool of mysql2.*an object/],
    [{ uri: db.url }, /pool of mysql2.*uri/],
    [{ getConnection: () => undefined, query: () => undefined }, /pool of mysql2/],
    [driver.createPool, /pool of mysql2.*createPool/],
  ] as const) {
    refuses(() => new MysqlSession(wrong as never), said);
  }
  const connection = await driver.createConnection(db.url);
  refuses(() => new MysqlSession(connection as never), /pool of mysql2.*Connection/);
  await connection.end();
  const cluster = callbackDriver.createPoolCluster();
  refuses(() => new MysqlSession(cluster as never), /pool of mysql2.*PoolCluster/);
  const pools = [
    driver.createPool(db.url),
    callbackDriver.createPool(db.url),
    callbackDriver.createPool(db.url).promise(),
  ];
  for (const pool of pools) assert.is(new MysqlSession(pool).name, 'mysql');
});

test('options are checked by name and value', () => {
  for (const [options, said] of [
    [{ nmae: 'x' }, /no option 'nmae'.*name/],
    [{ isolation: 'serializable' }, /no option 'isolation'/],
    [{ name: 7 }, /'name' must be a string, not 7/],
    [{ acquireTimeoutMs: 0 }, /'acquireTimeoutMs' must be a number of milliseconds above 0.*not 0/],
    [{ endTimeoutMs: Infinity }, /'endTimeoutMs'.*Infinity/],
    [{ resolveTimeoutMs: -1 }, /'resolveTimeoutMs'.*-1/],
    [{ preparedWaitSeconds: 0 }, /'preparedWaitSeconds'.*0/],
    [{ preparedWaitSeconds: 1.5 }, /'preparedWaitSeconds'.*1.5/],
    [{ preparedWaitSeconds: '1; drop table accounts' }, /'preparedWaitSeconds'/],
    [{ retriesLockTimeouts: 'no' }, /'retriesLockTimeouts'.*'no'/],
    [null, /object of options, not null/],
  ] as const) {
    refuses(() => new MysqlSession(db.pool, options as never), said);
  }
});

test('a name becomes part of an identity that can’t be a parameter: only harmless ones are taken', () => {
  for (const name of ['', ' ', "a'b", 'a:b', 'ä', 'a b', 'a\n', 'x'.repeat(64), 'a;b', 'a\\']) {
    refuses(() => new MysqlSession(db.pool, { name }), /1 to 63 letters/);
  }
  for (const name of ['a', 'A-b_c.9', 'x'.repeat(63)]) assert.is(new MysqlSession(db.pool, { name }).name, name);
});

for (const { product, server } of all) {
  test(`check() says that ${product} is right, for each way to take part`, async () => {
    const own = await Database.open(server, { name: 'check' });
    await own.session.check();
    for (const twoPhase of [true, false] as const) {
      const { session } = own.another({ name: 'way', register: { twoPhase } });
      await session.check();
      await transaction.run(() => session.query('select 1'));
    }
    await own.close();
  });
}

test('a server that can’t be reached is a plain rejection', async () => {
  const nowhere = driver.createPool({ host: '127.0.0.1', port: 1, user: 'root' });
  const session = new MysqlSession(nowhere, { name: 'nowhere' });
  await assert.rejects(session.check(), { code: 'ECONNREFUSED' });
  await assert.rejects(session.listPrepared(), { code: 'ECONNREFUSED' });
  await assert.rejects(
    transaction.run(() => session.query('select 1'), { attempts: 1 }),
    { code: 'ECONNREFUSED' },
  );
  await nowhere.end();
});

/** A server that answers as it is told to. */
const answering =
  (version: string, galera = false, recover?: object) =>
  (text: string): Promise<Record<string, unknown>[]> => {
    if (text.includes('version')) return Promise.resolve([{ version }]);
    if (text === 'xa recover' && recover !== undefined) return Promise.reject(Object.assign(new Error('no'), recover));
    return Promise.resolve(galera ? [{ Variable_name: 'wsrep_on', Value: 'ON' }] : []);
  };

test('a server that is too old is refused by its version, and one that is old enough isn’t', async () => {
  for (const version of ['10.5.1-MariaDB', '10.4.32-MariaDB-log', '5.5.68-MariaDB', '5.7.44', '5.7.44-log', '5.6.1']) {
    const error = await assert.rejects(checkServer(answering(version), 'old', false), ConfigurationError);
    assert.match(
      error.message,
      new RegExp(
        `(MariaDB must be of version 10\\.5\\.2|MySQL must be of version 8\\.0\\.0) or later.*'old' is ${version}`,
      ),
    );
  }
  for (const version of [
    '10.5.2-MariaDB',
    '10.11.19-MariaDB-0+deb12u1',
    '11.0.1-MariaDB',
    '12.1-MariaDB',
    '8.0.0',
    '8.0.36-28',
    '8.4.3',
    '9.7.4-2',
    '10.0.0',
    '8.0.mysql_aurora.3.08.0',
  ]) {
    await checkServer(answering(version), 'new', true);
  }
});

test('a Galera cluster, which has no XA, and a user who can’t list what is prepared are refused, but for twoPhase: false', async () => {
  for (const [ask, said] of [
    [answering('10.11.6-MariaDB', true), /Galera.*no XA.*twoPhase: false/],
    [answering('8.4.0', false, { errno: 1401, sqlState: 'XAE03' }), /XA_RECOVER_ADMIN.*GRANT.*twoPhase: false/],
    [answering('8.4.0', false, { errno: 1227, sqlState: '42000' }), /XA_RECOVER_ADMIN/],
  ] as const) {
    assert.match((await assert.rejects(checkServer(ask, 'x', true), ConfigurationError)).message, said);
    await checkServer(ask, 'x', false);
  }
  await assert.rejects(checkServer(answering('8.4.0', false, { errno: 1064, sqlState: '42000' }), 'x', true), {
    errno: 1064,
  });
});

const oracle = all.find(({ product }) => product === 'MySQL');
if (oracle !== undefined) {
  test('MySQL: a user without XA_RECOVER_ADMIN is found out by check(), and before the first transaction with twoPhase: true', async () => {
    const own = await Database.open(oracle.server, { name: 'rights' });
    const user = `u${process.pid}`;
    const name = new URL(own.url).pathname.slice(1);
    await own.admin.query(`create user ${user}@'%' identified by 'p'; grant all on \`${name}\`.* to ${user}@'%'`);
    const url = new URL(own.url);
    url.username = user;
    url.password = 'p';
    const ssl = { rejectUnauthorized: false };
    const late = own.another({ name: 'late', pool: { uri: url.href, ssl } });
    assert.match((await assert.rejects(late.session.check(), ConfigurationError)).message, /XA_RECOVER_ADMIN/);
    const always = own.another({ name: 'always', pool: { uri: url.href, ssl }, register: { twoPhase: true } });
    await assert.rejects(
      transaction.run(() => always.session.query('insert into accounts values (3, 0)'), { attempts: 1 }),
      ConfigurationError,
    );
    // Alone, and as a last resource, nothing needs to be listed.
    await transaction.run(() => late.session.query('insert into accounts values (3, 0)'), { attempts: 1 });
    const last = own.another({ name: 'last', pool: { uri: url.href, ssl }, register: { twoPhase: false } });
    await last.session.check();
    await own.admin.query(`grant xa_recover_admin on *.* to ${user}@'%'`);
    // What was refused before is asked again.
    await transaction.run(() => always.session.query('insert into accounts values (4, 0)'), { attempts: 1 });
    assert.equal(await own.ids(), [1, 2, 3, 4]);
    await own.close();
    const admin = await driver.createConnection(oracle.server.url);
    await admin.query(`drop user ${user}@'%'`);
    await admin.end();
  });
}
