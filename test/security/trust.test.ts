// Says who must be trusted, by what servers let a stranger with a login and no rights do to what is prepared: SECURITY.md says it in words.
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import { MysqlSession } from 'unanimous/mysql';
import { ownerLock } from '../../datamanagers/mysql/owner-lock.ts';
import { xidText } from '../../datamanagers/mysql/xid.ts';
import { mariadb, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('strangers at the same server');

test('PostgreSQL shows them what is prepared, and lets them not end it', async () => {
  const url = new URL(await (await postgres()).database('trust'));
  const admin = new pgDriver.Client(url.href);
  await admin.connect();
  const role = `stranger_${process.pid}`;
  const gid = `shop:s:${process.pid}:1:bank`;
  await admin.query(`create table accounts (id int); create role ${role} login password 'x'`);
  url.username = role;
  url.password = 'x';
  const stranger = new pgDriver.Client(url.href);
  await stranger.connect();
  try {
    await admin.query('begin; insert into accounts values (1)');
    await admin.query(`prepare transaction '${gid}'`);
    const { rows } = await stranger.query('select gid from pg_prepared_xacts where gid = $1', [gid]);
    assert.equal(rows, [{ gid }]);
    for (const verb of ['commit', 'rollback'])
      await assert.rejects(stranger.query(`${verb} prepared '${gid}'`), { code: '42501' });
  } finally {
    await stranger.end();
    await admin.query(`rollback prepared '${gid}'`);
    await admin.query(`drop role ${role}`);
    await admin.end();
  }
});

test('MariaDB shows them what is prepared, and lets them end what a dead process has left: users of one server trust each other', async () => {
  const url = new URL(await (await mariadb()).database('trust'));
  const admin = await mysqlDriver.createConnection(url.href);
  const user = `stranger_${process.pid}`;
  const xid = `'shop:s:${process.pid.toString(16)}:1','stock'`;
  await admin.query('create table accounts (id int) engine=innodb');
  await admin.query(`create user ${user}@'%' identified by 'x'`);
  const dying = await mysqlDriver.createConnection(url.href);
  await dying.query(`xa start ${xid}`);
  await dying.query('insert into accounts values (1)');
  await dying.query(`xa end ${xid}`);
  await dying.query(`xa prepare ${xid}`);
  dying.destroy();
  const stranger = await mysqlDriver.createConnection({
    host: url.hostname,
    port: Number(url.port),
    user,
    password: 'x',
  });
  try {
    await assert.rejects(stranger.query(`select * from ${url.pathname.slice(1)}.accounts`), { errno: 1142 });
    const [rows] = await stranger.query<any[]>('xa recover');
    assert.ok(rows.some(({ data }) => String(data).startsWith(`shop:s:${process.pid.toString(16)}:1`)));
    await assert.eventually(async () => {
      await stranger.query(`xa rollback ${xid}`);
      return true;
    });
  } finally {
    await stranger.end();
    await admin.query(`drop user ${user}@'%'`);
    await admin.end();
  }
});

test('in MariaDB they can keep what a dead process has left from being ended by a user without special rights, as long as they stay', async () => {
  const url = new URL(await (await mariadb()).database('trust'));
  const admin = await mysqlDriver.createConnection(url.href);
  const [user, stranger] = [`app_${process.pid}`, `taker_${process.pid}`];
  await admin.query('create table accounts (id int) engine=innodb');
  for (const each of [user, stranger]) await admin.query(`create user ${each}@'%' identified by 'x'`);
  await admin.query(`grant all on ${url.pathname.slice(1)}.* to ${user}@'%'`);
  url.username = user;
  url.password = 'x';
  const xid = { gid: `shop:s:${process.pid.toString(16)}:2`, branch: 'stock' };
  const dying = await mysqlDriver.createConnection(url.href);
  for (const verb of ['start', 'end', 'prepare']) {
    await dying.query(`xa ${verb} ${xidText(xid)}`);
    if (verb === 'start') await dying.query('insert into accounts values (1)');
  }
  dying.destroy();
  const pool = mysqlDriver.createPool(url.href);
  const stock = new MysqlSession(pool, { name: 'stock', resolveTimeoutMs: 500 });
  const taker = await mysqlDriver.createConnection({
    host: url.hostname,
    port: Number(url.port),
    user: stranger,
    password: 'x',
  });
  try {
    await taker.query(`select get_lock(${ownerLock(xid)}, 0)`);
    const kept = await assert.rejects(stock.rollbackPrepared(xid), Error);
    assert.match(kept.message, 'by hand with XA ROLLBACK');
    await taker.query(`select release_lock(${ownerLock(xid)})`);
    await stock.rollbackPrepared(xid);
    assert.equal(
      (await stock.listPrepared()).filter(({ gid }) => gid === xid.gid),
      [],
    );
  } finally {
    await taker.end();
    await pool.end();
    await admin.query(`drop user ${user}@'%', ${stranger}@'%'`);
    await admin.end();
  }
});
