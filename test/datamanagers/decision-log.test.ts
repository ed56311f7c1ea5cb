// Protects the decision store itself, wherever it is kept: a register that is written once, by those alone who are registered, and a
// fence that waits for what is on its way.
import { DecisionFailedError, type DecisionLog, FencedError, MemoryDecisionLog, MemoryDecisionStore } from 'unanimous';
import { mariadb, mysql, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { type DecisionStore, decisionOf, mysqlStore, pgStore } from './decision-stores.ts';

const LEASE_MS = 60_000;

/** Logs of several processes over the same store; a store of its own for each test. */
type Open = () => () => DecisionLog;

let tables = 0;

function inTables(store: DecisionStore): Open {
  return () => {
    const tablePrefix = `log${++tables}_`;
    return () => store.process({ tablePrefix }).log;
  };
}

const stores: { title: string; open: Open; store?: DecisionStore }[] = [
  {
    title: 'memory',
    open: () => {
      const store = new MemoryDecisionStore();
      return () => new MemoryDecisionLog(store);
    },
  },
];
const servers = [pgStore(await postgres()), mysqlStore('MariaDB', await mariadb())];
const oracle = await mysql();
if (oracle !== undefined) servers.push(mysqlStore('MySQL', oracle));
for (const store of await Promise.all(servers)) stores.push({ title: store.title, open: inTables(store), store });

for (const { title, open, store } of stores) {
  const test = suite(`decision log in ${title}`);
  test.after.each(() => store?.endProcesses());
  test.after(() => store?.close());

  /** Two processes, of which the first is registered. */
  const twoProcesses = async (): Promise<{ log: DecisionLog; other: DecisionLog }> => {
    const another = open();
    const [log, other] = [another(), another()];
    await log.open();
    await log.register('one', 'first', LEASE_MS);
    return { log, other };
  };

  test('every process finds the same identity, fit to be a part of an id', async () => {
    const another = open();
    const identities = await Promise.all([another(), another(), another()].map((log) => log.open()));
    assert.is(new Set(identities).size, 1);
    assert.match(identities[0]!, /^[A-Za-z0-9_.-]{1,12}$/);
    assert.is(await another().open(), identities[0]);
    assert.not.equal(await open()().open(), identities[0], 'another store has another one');
  });

  test('what is decided is there for others, with who must follow', async () => {
    const { log, other } = await twoProcesses();
    const before = Date.now();
    await log.decide(decisionOf('one'));
    const [row] = await other.decisionsOf([decisionOf('one').gid, decisionOf('one', 2).gid]);
    const { createdAt, messages: _, ...rest } = row!;
    assert.equal(rest, { ...decisionOf('one'), outcome: 'committed' });
    assert.ok(Math.abs(createdAt.getTime() - before) < 60_000, `${createdAt.toISOString()} is now`);
  });

  test('a decision is written once', async () => {
    const { log, other } = await twoProcesses();
    await log.decide(decisionOf('one'));
    const error = await assert.rejects(log.decide(decisionOf('one')), DecisionFailedError);
    assert.not.instance(error, FencedError);
    assert.is(await other.settle(decisionOf('one')), 'committed');
    assert.is((await log.decisions(10)).length, 1);
  });

  test('who isn’t registered can’t decide', async () => {
    const { log } = await twoProcesses();
    await assert.rejects(log.decide(decisionOf('two')), FencedError);
    assert.equal(await log.decisions(10), []);
  });

  test('who was fenced can’t decide any more; what was decided before stands', async () => {
    const { log, other } = await twoProcesses();
    await log.decide(decisionOf('one', 1));
    assert.is(await other.fence('one'), true);
    await assert.rejects(log.decide(decisionOf('one', 2)), FencedError);
    assert.equal(
      (await other.decisions(10)).map(({ gid }) => gid),
      [decisionOf('one', 1).gid],
    );
    assert.equal(await other.nodes(), []);
    assert.is(await log.renew('one', LEASE_MS), false);
    assert.is(await other.fence('one'), true, 'fencing again is no error');
  });

  test('a tombstone is a decision too: after it there is no other', async () => {
    const { log, other } = await twoProcesses();
    assert.is(await other.settle(decisionOf('one')), 'aborted');
    const error = await assert.rejects(log.decide(decisionOf('one')), DecisionFailedError);
    assert.not.instance(error, FencedError);
    assert.is(await other.settle(decisionOf('one')), 'aborted');
    assert.equal(
      (await log.decisions(10)).map(({ gid, outcome }) => [gid, outcome]),
      [[decisionOf('one').gid, 'aborted']],
    );
  });

  test('of who was fenced there is no tombstone: what was decided stands, and of the rest nothing is said', async () => {
    const { log, other } = await twoProcesses();
    await log.decide(decisionOf('one', 1));
    await log.settle(decisionOf('one', 2));
    await other.fence('one');
    assert.is(await log.settle(decisionOf('one', 1)), 'committed');
    assert.is(await log.settle(decisionOf('one', 2)), 'aborted');
    assert.is(await log.settle(decisionOf('one', 3)), undefined);
    assert.is((await log.decisions(10)).length, 2);
  });

  test('a lease runs out, can be renewed, and is a hint only', async () => {
    const { log, other } = await twoProcesses();
    await other.register('two', 'second', 1);
    const expired = async (): Promise<unknown[]> =>
      (await log.nodes()).map(({ incarnation, node, isExpired }) => [incarnation, node, isExpired]);
    await assert.eventually(async () => {
      assert.equal(
        new Set(await expired()),
        new Set([
          ['one', 'first', false],
          ['two', 'second', true],
        ]),
      );
    });
    await other.decide(decisionOf('two'));
    assert.is(await other.renew('two', LEASE_MS), true);
    assert.equal(
      (await log.nodes()).map(({ isExpired }) => isExpired),
      [false, false],
    );
    const [node] = await log.nodes();
    assert.ok(Math.abs(node!.startedAt.getTime() - Date.now()) < 60_000, `${node!.startedAt.toISOString()} is now`);
  });

  test('decisions are listed oldest first, and deleted by name', async () => {
    const { log } = await twoProcesses();
    for (const sequence of [3, 1, 2]) {
      await log.decide(decisionOf('one', sequence));
      // The clock of a store counts milliseconds.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const listed = async (limit: number): Promise<string[]> =>
      (await log.decisions(limit)).map(({ gid }) => gid.slice(-1));
    assert.equal(await listed(10), ['3', '1', '2']);
    assert.equal(await listed(2), ['3', '1']);
    await log.forget([decisionOf('one', 1).gid, decisionOf('one', 99).gid]);
    await log.forget([]);
    assert.equal(await listed(10), ['3', '2']);
    assert.equal(await log.decisionsOf([]), []);
  });

  test('tombstones are deleted once nobody can decide against them', async () => {
    const { log, other } = await twoProcesses();
    await log.decide(decisionOf('one', 1));
    await log.settle(decisionOf('one', 2));
    await log.forgetTombstones();
    assert.is((await log.decisions(10)).length, 2);
    await other.fence('one');
    await other.forgetTombstones();
    assert.equal(
      (await log.decisions(10)).map(({ outcome }) => outcome),
      ['committed'],
    );
  });

  test('of a decision and a tombstone at the same moment there is one', async () => {
    const { log, other } = await twoProcesses();
    for (let sequence = 1; sequence <= 20; sequence++) {
      const decision = decisionOf('one', sequence);
      const [decided, settled] = await Promise.all([
        log.decide(decision).then(
          () => 'committed',
          (error: unknown) => (error instanceof DecisionFailedError ? 'aborted' : error),
        ),
        other.settle(decision),
      ]);
      assert.is(decided, settled);
    }
  });

  test('of a decision and a fence at the same moment the decision was written, or never will be', async () => {
    const { log, other } = await twoProcesses();
    for (let turn = 1; turn <= 20; turn++) {
      const incarnation = `turn${turn}`;
      await log.register(incarnation, 'first', LEASE_MS);
      const deciding = log.decide(decisionOf(incarnation)).then(
        () => true,
        (error: unknown) => (error instanceof FencedError ? false : error),
      );
      assert.is(await other.fence(incarnation), true);
      const seen = await other.decisionsOf([decisionOf(incarnation).gid]);
      assert.is(await deciding, seen.length === 1);
    }
  });
}
