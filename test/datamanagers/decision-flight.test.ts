// Protects decisions that are on their way when somebody fences, buries or loses them: the register has one outcome, and everybody
// hears of that one.
import { DecisionFailedError, FencedError } from 'unanimous';
import { mariadb, mysql, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { type DecisionStore, decisionOf, mysqlStore, pgStore } from './decision-stores.ts';

const oracle = await mysql();
const stores: DecisionStore[] = [
  await pgStore(await postgres()),
  await mysqlStore('MariaDB', await mariadb()),
  ...(oracle === undefined ? [] : [await mysqlStore('MySQL', oracle)]),
];

let tables = 0;

/** Whether a promise is settled. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  return (await Promise.race([promise.catch(() => undefined).then(() => 1), Promise.resolve(2)])) === 1;
}

for (const store of stores) {
  const test = suite(`decisions on their way in ${store.title}`);
  let tablePrefix: string;
  test.before.each(() => {
    tablePrefix = `flight${++tables}_`;
  });
  test.after.each(() => store.endProcesses());
  test.after(() => store.close());

  /** A process that is registered, and another one. */
  const twoProcesses = async () => {
    const [one, other] = [store.process({ tablePrefix, timeoutMs: 5_000 }), store.process({ tablePrefix })];
    await one.log.open();
    await one.log.register('one', 'first', 60_000);
    return { one, other };
  };

  /** Somebody is about to write a row about the same transaction, so that whoever else does that waits. */
  const rival = (outcome: 'A' | 'C') =>
    store.transaction(
      `insert into ${tablePrefix}decision (gid, incarnation, outcome, participants) values ('${decisionOf('one').gid}', 'one', '${outcome}', '[]')`,
    );

  /** Waits until the server has something that waits for a lock. */
  const whenWaiting = (text: string): Promise<unknown> =>
    assert.eventually(async () => {
      const rows = await store.rows<{ query: string | null }>(
        store.title === 'PostgreSQL'
          ? "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
          : "select info as query from information_schema.processlist where command = 'Query' and db = database()",
      );
      return rows.some(({ query }) => query?.includes(text) === true && !query.includes('processlist'));
    });

  test('a fence waits for a decision on its way, and gives up in time; the decision stands', async () => {
    const { one, other } = await twoProcesses();
    const held = await rival('A');
    const deciding = one.log.decide(decisionOf('one'));
    deciding.catch(() => undefined);
    await whenWaiting(`insert into ${tablePrefix}decision`);
    assert.is(await other.log.fence('one'), false, 'it could not wait any longer');
    assert.is((await other.log.nodes()).length, 1);
    const fencing = other.log.fence('one');
    await whenWaiting(`delete from ${tablePrefix}node`);
    await held.rollback();
    await deciding;
    assert.is(await fencing, true);
    assert.is(await other.log.settle(decisionOf('one')), 'committed');
  });

  test('a decision waits for a fence on its way, and fails when that is through', async () => {
    const { one } = await twoProcesses();
    const fence = await store.transaction(`delete from ${tablePrefix}node where incarnation = 'one'`);
    const deciding = one.log.decide(decisionOf('one'));
    deciding.catch(() => undefined);
    await whenWaiting(`insert into ${tablePrefix}decision`);
    await fence.commit();
    await assert.rejects(deciding, FencedError);
    assert.equal(await one.log.decisions(10), []);
  });

  test('a decision waits for a fence on its way, and is written when that comes to nothing', async () => {
    const { one } = await twoProcesses();
    const fence = await store.transaction(`delete from ${tablePrefix}node where incarnation = 'one'`);
    const deciding = one.log.decide(decisionOf('one'));
    await whenWaiting(`insert into ${tablePrefix}decision`);
    await fence.rollback();
    await deciding;
    assert.is((await one.log.decisions(10)).length, 1);
  });

  test('a tombstone waits for a decision on its way, and says what that has become', async () => {
    const { other } = await twoProcesses();
    for (const [end, outcome] of [
      ['rollback', 'aborted'],
      ['commit', 'committed'],
    ] as const) {
      await other.log.forget([decisionOf('one').gid]);
      const decision = await rival('C');
      const settling = other.log.settle(decisionOf('one'));
      await whenWaiting(`${tablePrefix}decision`);
      assert.is(await isSettled(settling), false);
      await decision[end]();
      assert.is(await settling, outcome);
    }
  });

  test('a decision waits for a tombstone on its way, and is refused when that is there', async () => {
    const { one } = await twoProcesses();
    const tombstone = await rival('A');
    const deciding = one.log.decide(decisionOf('one'));
    deciding.catch(() => undefined);
    await whenWaiting(`insert into ${tablePrefix}decision`);
    await tombstone.commit();
    const error = await assert.rejects(deciding, DecisionFailedError);
    assert.match(error.message, 'decided once');
    assert.is((await one.log.decisionsOf([decisionOf('one').gid]))[0]!.outcome, 'aborted');
  });

  test('tombstones are deleted, decisions listed and leases renewed while a decision is on its way', async () => {
    const { one, other } = await twoProcesses();
    await other.log.register('gone', 'second', 60_000);
    await other.log.settle(decisionOf('gone'));
    await other.log.fence('gone');
    const decision = await rival('C');
    await other.log.forgetTombstones();
    assert.equal(await other.log.decisions(10), []);
    assert.is(await one.log.renew('one', 60_000), true);
    await one.log.decide(decisionOf('one', 2));
    await other.log.forget([decisionOf('one', 2).gid]);
    await decision.commit();
  });

  for (const isWritten of [true, false]) {
    test(`the reply to a decision that was${isWritten ? '' : ' not'} written is lost: that is found out`, async () => {
      const { one, other } = await twoProcesses();
      store.proxy.onClientData = (data, link) => {
        if (!data.includes(`insert into ${tablePrefix}decision`)) return undefined;
        store.proxy.onClientData = undefined;
        link.dropReplies = true;
        setTimeout(() => link.cut(), 200);
        return isWritten;
      };
      const error = await assert.rejects(one.log.decide(decisionOf('one')));
      assert.not.instance(error, DecisionFailedError, 'it isn’t certain');
      assert.is(await other.log.settle(decisionOf('one')), isWritten ? 'committed' : 'aborted');
    });
  }

  test('a decision that comes late finds the tombstone', async () => {
    const { one, other } = await twoProcesses();
    // Every connection that the log has is open, so that holding one back holds nothing else.
    let letGo: (() => void) | undefined;
    store.proxy.onClientData = (data, link) => {
      if (!data.includes(`insert into ${tablePrefix}decision`) || !data.includes("'C'")) return undefined;
      store.proxy.onClientData = undefined;
      letGo = () => void link.server.write(data);
      return false;
    };
    const deciding = one.log.decide(decisionOf('one'));
    deciding.catch(() => undefined);
    await assert.eventually(() => letGo !== undefined);
    assert.is(await other.log.settle(decisionOf('one')), 'aborted');
    letGo!();
    await assert.rejects(deciding, DecisionFailedError);
    assert.is(await other.log.settle(decisionOf('one')), 'aborted');
  });

  test('a store that can’t be reached has written nothing for certain', async () => {
    const { one } = await twoProcesses();
    store.proxy.refuse = true;
    store.proxy.cut();
    await assert.eventually(() => store.proxy.links.size === 0);
    await assert.eventually(async () => {
      const error = await assert.rejects(one.log.decide(decisionOf('one')));
      assert.instance(error, DecisionFailedError, 'nothing was sent');
    });
    await assert.rejects(
      one.log.settle(decisionOf('one')),
      (error: unknown) => !(error instanceof DecisionFailedError),
    );
    store.proxy.refuse = false;
    assert.is(await one.log.settle(decisionOf('one')), 'aborted');
  });
}
