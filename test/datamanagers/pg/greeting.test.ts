// A server that goes down right behind its greeting: both arrive as one piece, before anybody who waits for the connection has seen it.
import pg from 'pg';
import { transaction } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { Database } from './setup.ts';

const test = suite('a server that goes down right behind its greeting');
// Each connection is used once, so that the next one is new.
const db = await Database.open(await postgres(), { name: 'greeting', pool: { maxUses: 1 } });
// What is lost while nobody has it is the application's to hear.
db.pool.on('error', () => undefined);
test.after(() => db.close());
test.after.each(async () => {
  await db.assertClean();
  await db.reset();
});

/** ReadyForQuery, of a connection that is idle: the end of the greeting. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

function fatal(): Buffer {
  const fields = ['SFATAL', 'VFATAL', 'C57P01', 'Mterminating connection due to unexpected postmaster exit'];
  const body = Buffer.from(`${fields.join('\0')}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** The next connection that is opened is greeted and ended in one piece. */
function goDownBehindTheNextGreeting(): void {
  const { proxy } = db;
  const before = new Set(proxy.links);
  proxy.onServerData = (data, link) => {
    if (before.has(link) || !data.subarray(-READY.length).equals(READY)) return undefined;
    proxy.onServerData = undefined;
    link.client.end(Buffer.concat([data, fatal()]));
    link.server.destroy();
    return false;
  };
}

test('the process lives, and the transaction is tried again over another connection', async () => {
  goDownBehindTheNextGreeting();
  let attempts = 0;
  await transaction.run(
    async (txn) => {
      attempts = txn.attempt;
      await db.session.query('insert into accounts values (3, 0)');
    },
    { attempts: 2 },
  );
  assert.is(attempts, 2);
  assert.equal(await db.ids(), [1, 2, 3]);
});

test('the process lives, and the decision store says that it could not be asked', async () => {
  const log = new PgDecisionLog(db.session, { tablePrefix: 'greeting_' });
  goDownBehindTheNextGreeting();
  await assert.rejects(log.open(), Error);
  assert.type(await log.open(), 'string');
  await log.close();
});

test('the process lives, and a library’s client outside of any transaction hears of it', async () => {
  const client = new (db.session.driver(pg).Client)();
  client.on('error', () => undefined);
  await client.connect();
  goDownBehindTheNextGreeting();
  await assert.rejects(client.query('begin'), Error);
  await client.query('begin');
  await client.query('commit');
  await client.end();
});
