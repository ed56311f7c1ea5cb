// A server that goes down right behind its greeting: both arrive as one piece, before anybody who waits for the connection has seen it.
import pg from 'pg';
import { transaction } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { goDown, IDLE } from './going-down.ts';
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

/** The next connection that is opened is greeted and ended in one piece. */
function goDownBehindTheNextGreeting(): void {
  const before = new Set<object>(db.proxy.links);
  goDown(db.proxy, { isReady: true, when: (_said, state, link) => state === IDLE && !before.has(link) });
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
