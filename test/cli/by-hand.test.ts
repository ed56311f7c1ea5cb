// Protects what the command line relies on in a decision store: deciding by hand is the same write-once register that processes and recovery
// use, nothing is written against what is decided, and who did it is kept.
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  DecisionFailedError,
  type DecisionLog,
  FencedError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryStore,
  TransactionCoordinator,
} from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { mariadb, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('deciding by hand');

const pgPool = new pgDriver.Pool({ connectionString: await (await postgres()).database('hand') });
const mysqlPool = mysqlDriver.createPool({ uri: await (await mariadb()).database('hand') });
const pgSession = new PgSession(pgPool);
const mysqlSession = new MysqlSession(mysqlPool);
const stores: { name: string; log: DecisionLog; other: DecisionLog; sql: boolean }[] = [
  { name: 'PostgreSQL', log: new PgDecisionLog(pgSession), other: new PgDecisionLog(pgSession), sql: true },
  { name: 'MariaDB', log: new MysqlDecisionLog(mysqlSession), other: new MysqlDecisionLog(mysqlSession), sql: true },
];
const memory = new MemoryDecisionLog();
stores.push({ name: 'memory', log: memory, other: new MemoryDecisionLog(memory.store), sql: false });
test.after(async () => {
  await Promise.all(stores.flatMap(({ log, other }) => [log.close(), other.close()]));
  await Promise.all([pgPool.end(), mysqlPool.end()]);
});

let sequence = 0;
/** A transaction of an incarnation that is registered, or isn't any more. */
async function undecided(log: DecisionLog, registered: boolean) {
  const store = await log.open();
  const incarnation = `f00${++sequence}`;
  if (registered) await log.register(incarnation, 'node', 60_000);
  return { gid: `shop:${store}:${incarnation}:1`, incarnation, participants: ['a', 'b'] };
}
const by = 'somebody@somewhere';

for (const { name, log, other, sql } of stores) {
  if (sql) {
    test(`${name}: a store is only made where that is asked for`, async () => {
      const tablePrefix = 'elsewhere_';
      const elsewhere =
        name === 'MariaDB'
          ? new MysqlDecisionLog(mysqlSession, { tablePrefix })
          : new PgDecisionLog(pgSession, { tablePrefix });
      for (let time = 0; time < 2; time++) {
        const error = await assert.rejects(elsewhere.open({ create: false }), ConfigurationError);
        assert.match(error.message, 'elsewhere_meta');
        assert.match(error.message, 'npx unanimous init');
      }
      const store = await elsewhere.open();
      assert.is(await elsewhere.open({ create: false }), store);
      await elsewhere.close();
    });
  }

  test(`${name}: what is decided by hand is a decision, and who did it is kept when it is forgotten`, async () => {
    for (const [action, outcome] of [
      ['commit', 'committed'],
      ['abort', 'aborted'],
    ] as const) {
      const decision = await undecided(log, true);
      assert.is(await log.actByHand({ action, by: `it's \\ "${by}" é`, forced: true }, decision), outcome);
      const [row] = await log.decisionsOf([decision.gid]);
      assert.equal([row!.outcome, row!.incarnation, row!.participants], [outcome, decision.incarnation, ['a', 'b']]);
      assert.is(await log.actByHand({ action: 'forget', by, forced: false }, decision), undefined);
      assert.equal(await log.decisionsOf([decision.gid]), []);
      const actions = await log.handActions(decision.gid);
      assert.equal(
        actions.map((each) => [each.gid, each.action, each.forced]),
        [
          [decision.gid, action, true],
          [decision.gid, 'forget', false],
        ],
      );
      assert.match(actions[0]!.by, /^it's . "somebody@somewhere" é$/);
      assert.ok(Math.abs(actions[0]!.at.getTime() - Date.now()) < 60_000);
    }
  });

  test(`${name}: nothing is written against a decision, and a second one that says the same is none`, async () => {
    const decision = await undecided(log, true);
    await log.decide(decision);
    assert.is(await log.actByHand({ action: 'abort', by, forced: true }, decision), 'committed');
    assert.equal(await log.handActions(decision.gid), []);
    assert.is(await log.actByHand({ action: 'commit', by, forced: false }, decision), 'committed');
    assert.is((await log.handActions(decision.gid)).length, 1);
  });

  test(`${name}: of those who decide at the same moment one wins, and all hear which`, async () => {
    for (let round = 0; round < 10; round++) {
      const decision = await undecided(log, true);
      const heard = await Promise.all([
        log.actByHand({ action: 'commit', by, forced: true }, decision),
        other.actByHand({ action: 'abort', by, forced: true }, decision),
        log.settle(decision),
      ]);
      const [row] = await log.decisionsOf([decision.gid]);
      assert.equal(heard, [row!.outcome, row!.outcome, row!.outcome]);
    }
  });

  test(`${name}: what nobody can decide any more is not committed by hand by mistake`, async () => {
    const decision = await undecided(log, false);
    const error = await assert.rejects(log.actByHand({ action: 'commit', by, forced: true }, decision), FencedError);
    assert.match(error.message, 'recovery may have begun to roll it back');
    assert.equal([await log.decisionsOf([decision.gid]), await log.handActions(decision.gid)], [[], []]);
    const knowing = { action: 'commit', by, forced: true, evenFenced: true } as const;
    assert.is(await log.actByHand(knowing, decision), 'committed');
  });

  test(`${name}: what nobody can decide any more is rolled back as it is, so that an abort by hand is only recorded`, async () => {
    const decision = await undecided(log, false);
    assert.is(await log.actByHand({ action: 'abort', by, forced: false }, decision), 'aborted');
    assert.equal(await log.decisionsOf([decision.gid]), []);
    assert.equal(
      (await log.handActions(decision.gid)).map((each) => each.action),
      ['abort'],
    );
    const late = await undecided(log, false);
    await log.actByHand({ action: 'commit', by, forced: true, evenFenced: true }, late);
    assert.is(await log.actByHand({ action: 'abort', by, forced: true }, late), 'committed');
  });

  test(`${name}: a process that finds its transaction rolled back by hand rolls back`, async () => {
    const decision = await undecided(log, true);
    await log.actByHand({ action: 'abort', by, forced: true }, decision);
    const error = await assert.rejects(other.decide(decision), DecisionFailedError);
    assert.match(error.message, 'decided once');
  });
}

for (const how of ['registered', 'fenced'] as const) {
  test(`a process that is ${how} and finds its transaction committed by hand goes on as decided, and does not do it again`, async () => {
    const log = new MemoryDecisionLog();
    const coordinator = new TransactionCoordinator({ decisionLog: log, recovery: false, onError: () => undefined });
    const [a, b] = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
    const decide = log.decide.bind(log);
    log.decide = async (decision) => {
      if (how === 'fenced') await log.fence(decision.incarnation);
      await log.actByHand({ action: 'commit', by, forced: true, evenFenced: true }, decision);
      return decide(decision);
    };
    let runs = 0;
    const txn = await coordinator.run(
      (txn) => {
        runs++;
        a!.set('key', runs);
        b!.set('key', runs);
        return txn;
      },
      { backoff: false },
    );
    assert.equal(txn.outcome, { result: 'committed', way: 'two-phase' });
    assert.equal([runs, a!.committed.get('key'), b!.committed.get('key')], [1, 1, 1]);
  });
}

test('what a decision by hand has left out makes an outcome that nobody tries again', async () => {
  await pgPool.query('create table accounts (id int primary key)');
  const log = new PgDecisionLog(pgSession);
  const coordinator = new TransactionCoordinator({ decisionLog: log, recovery: false, onError: () => undefined });
  pgSession.configure({ coordinator });
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  const decideWith = log.decideWith.bind(log);
  log.decideWith = async (manager, txn, decision) => {
    await log.actByHand({ action: 'commit', by, forced: true }, decision);
    return decideWith(manager, txn, decision);
  };
  let runs = 0;
  const work = async (): Promise<void> => {
    runs++;
    a.set('key', 1);
    await pgSession.query('insert into accounts values (1)');
  };
  const error = await assert.rejects(coordinator.run(work, { backoff: false }), InDoubtError);
  assert.ok(error.cause instanceof CommitOutcomeUnknownError, String(error.cause));
  assert.match(error.cause.message, 'decided to commit by hand');
  assert.is(runs, 1);
  await coordinator.recover();
  const { rowCount } = await pgPool.query('select from accounts');
  assert.equal([a.committed.get('key'), rowCount], [1, 0]);
  await coordinator.close();
});
