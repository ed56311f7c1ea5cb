// Protects messages that are stored with a decision over the application's own connection, whose clock is put forward and back in its time
// zone: that of a server which lives by the clock of Berlin.
import driver, { type RowDataPacket } from 'mysql2/promise';
import { TransactionCoordinator, outboxed, register } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { type PrivateMariadb, startMariadb, startMysql } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';

/** How long a message is its deliverer's alone. */
const CLAIM_MS = 30_000;

/** Servers that begin as a child of a process in Berlin. */
async function inBerlin(start: () => Promise<PrivateMariadb | undefined>): Promise<PrivateMariadb | undefined> {
  const before = process.env['TZ'];
  process.env['TZ'] = 'Europe/Berlin';
  try {
    return await start();
  } finally {
    if (before === undefined) delete process.env['TZ'];
    else process.env['TZ'] = before;
  }
}

for (const start of [startMariadb, startMysql]) {
  const server = await inBerlin(start);
  if (server === undefined) continue;
  const test = suite(`time zones of ${server.product}`, { timeoutMs: 60_000 });
  const url = await server.database('zones');
  const admin = await driver.createConnection({ uri: url, timezone: 'Z' });
  await admin.query("set time_zone = '+00:00'");
  // What it takes for now, in the connections of the application.
  let now = '';
  const pool = driver.createPool({ uri: url, connectionLimit: 1 });
  pool.on('connection', (connection) => void connection.query(`set timestamp = ${Date.parse(now) / 1_000}`));
  const coordinator = new TransactionCoordinator();
  const session = register(new MysqlSession(pool, { name: 'zones' }), { coordinator });
  const log = new MysqlDecisionLog(session);
  coordinator.configure({ decisionLog: log });
  const called: unknown[] = [];
  const call = outboxed('note', (payload: unknown) => void called.push(payload), { coordinator });
  await admin.query('create table notes (id int primary key)');
  test.after(async () => {
    await coordinator.close();
    await pool.end();
    await admin.end();
    await server.stop();
  });

  for (const [what, moment] of [
    ['forward', '2026-03-29T00:59:50Z'],
    ['back', '2026-10-25T00:59:50Z'],
    ['back, in the hour that comes for the first time', '2026-10-25T00:30:00Z'],
    ['back, in the hour that comes for the second time', '2026-10-25T01:30:00Z'],
  ] as const) {
    test(`messages are stored, and are somebody else’s only after their time, when clocks are put ${what}`, async () => {
      now = moment;
      const id = Date.parse(moment) / 1_000;
      await pool.query(`set timestamp = ${id}`);
      await coordinator.run(
        async () => {
          await session.query('insert into notes values (?)', [id]);
          call(id);
        },
        { attempts: 1 },
      );
      assert.is(called.at(-1), id);
      await pool.query(log.outbox.insertText(`zones:${id}`, [{ target: 'nobody', payload: '{}' }]));
      const [[row]] = await admin.query<RowDataPacket[]>(
        'select created_at, next_at from unanimous_outbox where gid = ?',
        [`zones:${id}`],
      );
      assert.is((row!['created_at'] as Date).getTime(), id * 1_000);
      assert.is((row!['next_at'] as Date).getTime() - id * 1_000, CLAIM_MS);
      assert.equal((await pool.query<RowDataPacket[]>("select @@time_zone = 'SYSTEM' as isSo"))[0], [{ isSo: 1 }]);
    });
  }
}
