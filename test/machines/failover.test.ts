// A primary is lost and its standby takes its place: what becomes of what was acknowledged, decided, prepared, or on its way.
import pg from 'pg';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { orSkip } from '../support/servers/install.ts';
import { assert, suite } from '../support/suite.ts';
import type { Application } from './applications.ts';
import { across, booksOf, resetBank, startOn, transfersIn, within } from './failover.ts';
import { Network, whyNoNetwork } from './network.ts';
import { Pair } from './pair.ts';
import { LEASE_MS, atRest, eventually } from './partitions.ts';
import { ask } from './servers.ts';

const failovers = suite('a failover', { timeoutMs: 120_000 });
const why = whyNoNetwork();
const test = (name: string, body: () => Promise<void>): void =>
  why === undefined ? failovers(name, body) : failovers.skipOnPlatform(why, name);

let network: Network;
/** Of the database with the decisions, of another one that takes part, and of another one with decisions, which isn't waited for. */
let store: Pair;
let part: Pair;
let loose: Pair;
const applications: Application[] = [];
const pairs: Pair[] = [];

if (why === undefined) {
  failovers.before(async () => {
    network = await Network.open();
    const open = (name: string, address: string): Promise<Pair> => orSkip(() => Pair.open(network, name, address));
    [store, part, loose] = await Promise.all([
      open('store', '10.99.250.1'),
      open('part', '10.99.250.2'),
      open('loose', '10.99.250.3'),
    ]);
    await resetBank(store.first, part.first, loose.first);
    await Promise.all([store.synchronous(), part.synchronous()]);
  });
  failovers.after.each(() => Promise.all(applications.splice(0).map((application) => application.kill())));
  failovers.after(async () => {
    await Promise.all([store, part, loose, ...pairs].map((pair) => pair.stop()));
    await network.close();
  });
}

async function start(name: string, a: string, b: string): Promise<Application> {
  const application = await startOn(network, name, a, b);
  applications.push(application);
  return application;
}

test('to synchronous standbys loses nothing that was acknowledged, and what was decided is done there', async () => {
  const [x, y] = (await Promise.all(['x', 'y'].map((name) => start(name, store.url('bank'), part.url('bank'))))) as [
    Application,
    Application,
  ];
  for (const [index, id] of ['acked 1', 'acked 2', 'acked 3'].entries()) await x.make({ id, moves: across(index + 1) });
  await x.make({ id: 'open', moves: across(10), waitAt: 'before prepare' });
  await x.make({ id: 'prepared', moves: across(11), waitAt: 'all prepared' });
  await x.make({ id: 'decided', moves: across(12), waitAt: 'decided' });
  await y.make({ id: 'prepared by the dead', moves: across(13), waitAt: 'all prepared' });
  await y.make({ id: 'decided by the dead', moves: across(14), waitAt: 'decided' });
  await x.make({ id: 'reply lost', moves: within(15), waitAt: 'before commit' });

  await network.lose(store.first.host, x.host);
  x.goOn('reply lost');
  await eventually('the standby must have it', async () => (await transfersIn(store.second)).includes('reply lost'));
  await store.separate();
  await Promise.all([store.promote(), part.promote()]);
  // The old primary is still there, and takes the transfer: but it can't have its standby's word for it.
  await y.make({ id: 'to the old one', moves: across(16) });
  await Promise.all([store.lose(), part.lose(), y.kill()]);
  await Promise.all([store.move(), part.move()]);
  for (const id of ['open', 'prepared', 'decided']) x.goOn(id);

  assert.not.equal(y.ended.get('to the old one')?.told, 'committed');
  // The promoted server is another one, to the library: it may have given the number of the transaction again.
  const lost = await x.end('reply lost');
  assert.equal([lost.told, lost.error?.name], ['unknown', 'CommitOutcomeUnknownError']);
  assert.equal((await x.end('open')).told, 'aborted');
  assert.equal((await x.end('decided')).told, 'committed');
  await x.end('prepared');
  assert.equal(await atRest(booksOf(store.second, part.second), [x]), []);
  const there = await transfersIn(part.second);
  assert.equal(
    there.filter((id) => id !== 'prepared'),
    ['acked 1', 'acked 2', 'acked 3', 'decided', 'decided by the dead'],
  );
  await x.make({ id: 'afterwards', moves: across(20) });
  assert.equal(x.ended.get('afterwards')?.told, 'committed');
});

test('a commit that the synchronous standby has not got is not acknowledged', async () => {
  await loose.synchronous();
  const x = await start('v', loose.url('bank'), part.url('bank'));
  await x.make({ id: 'known', moves: within(9) });
  await loose.separate();
  await x.make({ id: 'unheard', moves: within(10) });
  assert.not.equal(x.ended.get('unheard')?.told, 'committed');
  await loose.asynchronous();
  await loose.rejoin();
});

test('to a standby that was not waited for loses acknowledged commits and decisions: halves are left, and only some are seen', async () => {
  await resetBank(loose.first, part.second);
  const x = await start('z', loose.url('bank'), part.url('bank'));
  await x.make({ id: 'known', moves: across(1) });
  await eventually('the standby must have it', async () => (await transfersIn(loose.second)).includes('known'));
  await x.make({ id: 'lost, not followed', moves: across(2), waitAt: 'all prepared' });
  await x.make({ id: 'of the old one', moves: across(3), waitAt: 'all prepared' });
  await x.make({ id: 'reply lost', moves: within(4), waitAt: 'before commit' });
  await loose.separate();
  await x.make({ id: 'lost, followed', moves: across(5) });
  await network.cut(x.host, [part.second.host]);
  x.goOn('lost, not followed');
  const notFollowed = await x.end('lost, not followed');
  assert.equal([notFollowed.told, notFollowed.pending], ['committed', ['b']]);

  // The old primary isn't stopped, and one application still knows it. To another one, that one is dead.
  await loose.promote();
  const y = await start('w', loose.second.url('bank'), part.url('bank'));
  await y.until('take the other one for dead', () => y.fenced.includes(x.incarnation));
  const books = booksOf(loose.second, part.second);
  await eventually('its branches must be ended', async () => (await books.prepared()).length === 0);
  await network.heal(x.host, [part.second.host]);
  x.goOn('of the old one');
  // Decided where that doesn't count any more, and rolled back by others: this is seen.
  const ofTheOldOne = await x.end('of the old one');
  assert.equal([ofTheOldOne.told, ofTheOldOne.error?.name], ['committed', 'InDoubtError']);
  assert.match(ofTheOldOne.error?.message ?? '', /rolled back by somebody else/);

  await network.lose(loose.first.host, x.host);
  x.goOn('reply lost');
  await eventually('the old primary must have it', async () => (await transfersIn(loose.first)).includes('reply lost'));
  await loose.lose();
  await loose.move();
  // The promoted server hasn't got it; it says so where it could be asked in time.
  assert.not.equal((await x.end('reply lost')).told, 'committed');
  await eventually('nothing must be left', async () => (await books.prepared()).length === 0);
  assert.equal(await transfersIn(loose.second), ['known']);
  assert.equal(await transfersIn(part.second), ['known', 'lost, followed']);
});

test('a decision that the synchronous standby has not got is not followed, though the primary shows it when it was started anew', async () => {
  const other = await Pair.open(network, 'other', '10.99.250.4');
  pairs.push(other);
  await resetBank(other.first, part.second);
  await other.synchronous();
  const pool = new pg.Pool({ connectionString: other.first.insideUrl('bank') });
  pool.on('error', () => undefined);
  const log = new PgDecisionLog(new PgSession(pool, { name: 'store' }), { timeoutMs: 1_000 });
  await log.confirm();
  const x = await start('u', other.url('bank'), part.url('bank'));
  await x.make({ id: 'known', moves: across(1) });
  await x.make({ id: 'unheard', moves: across(2), waitAt: 'all prepared' });
  await other.separate();
  x.goOn('unheard');
  await eventually('its commit must wait for the standby', async () => {
    const rows = await ask(
      other.first,
      "select 1 from pg_stat_activity where wait_event = 'SyncRep' and query ~ 'commit'",
    );
    return rows.length > 0;
  });
  await assert.rejects(log.confirm());
  await eventually('nobody must be left waiting at the server', async () => {
    const rows = await ask(
      other.first,
      "select 1 from pg_stat_activity where query ~ 'emit_message' and pid <> pg_backend_pid()",
    );
    return rows.length === 0;
  });
  await log.close();
  await pool.end();
  await other.first.kill();
  await other.first.restart();
  assert.ok((await transfersIn(other.first)).includes('unheard'), 'the primary shows it');
  const told = (await x.end('unheard')).told;
  assert.not.equal(told, 'committed');
  const books = booksOf(other.second, part.second);
  // Recovery has no more than what the primary shows, and is told nothing by it until the standby has that too.
  await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
  assert.is((await books.prepared()).length, 1, 'what is prepared waits');

  await other.promote();
  await other.lose();
  await other.move();
  await eventually('what is prepared must be rolled back', async () => (await books.prepared()).length === 0);
  assert.equal(await transfersIn(part.second), ['known']);
  assert.equal(await transfersIn(other.second), ['known']);
});
