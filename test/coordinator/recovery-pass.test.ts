// Protects what a pass of recovery asks, and in which order: the decisions behind the list, what makes them last before they are followed, another
// list before they are deleted; nothing twice, and nothing that nobody needs. And how a transaction in doubt has ended is said once it has.
import {
  type Decision,
  type DecisionLog,
  FencedError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryStore,
  type Transaction,
  TransactionCoordinator,
  type Xid,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, turns } from './recording.ts';

const test = suite('a pass of recovery');

/** What is asked of the store in a pass. */
const ASKED = [
  'nodes',
  'fence',
  'decisionsOf',
  'settle',
  'confirm',
  'forgetTombstones',
  'decisions',
  'forget',
] as const;

/** A process whose recovery runs when the test says so, over databases whose calls and those of the log are written into one list. */
function process(names = ['a']) {
  const calls: string[] = [];
  const log: DecisionLog & MemoryDecisionLog = Object.assign(new MemoryDecisionLog(), {
    confirm: async () => undefined,
  });
  for (const name of ASKED) {
    const call = log[name]!.bind(log) as (...given: unknown[]) => unknown;
    Object.assign(log, {
      [name]: (...given: unknown[]) => {
        calls.push(name);
        return call(...given);
      },
    });
  }
  const databases = names.map((name) => {
    const prepared = new Map<string, Xid>();
    const end =
      (verb: string) =>
      async (xid: Xid): Promise<void> => {
        calls.push(`${name}.${verb} ${xid.gid.split(':').slice(2).join(':')}`);
        prepared.delete(xid.gid);
      };
    const listPrepared = async (): Promise<Xid[]> => {
      calls.push(`${name}.list`);
      return [...prepared.values()];
    };
    return { name, prepared, listPrepared, commitPrepared: end('commit'), rollbackPrepared: end('rollback') };
  });
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: false,
  });
  for (const database of databases) coordinator.recovers(database);
  const gid = (incarnation: string, number: number): string => `shop:${log.store.identity}:${incarnation}:${number}`;
  const prepare = (id: string): void =>
    databases.forEach(({ name, prepared }) => prepared.set(id, { gid: id, branch: name }));
  const decided = (id: string, participants = names): void => {
    const incarnation = id.split(':')[2]!;
    log.store.decisions.set(id, { gid: id, incarnation, participants, outcome: 'committed', createdAt: new Date() });
  };
  /** What another pass asks. */
  const pass = async (): Promise<string[]> => {
    // The first one registers.
    await coordinator.recover();
    calls.length = 0;
    await coordinator.recover();
    return calls.slice();
  };
  return { log, coordinator, calls, gid, prepare, decided, databases, pass };
}

test('one that finds nothing asks who is there, what is prepared, and what is decided, once each', async () => {
  const { coordinator, pass } = process();
  assert.equal(await pass(), ['nodes', 'a.list', 'forgetTombstones', 'decisions']);
  await coordinator.close();
});

test('one that ends something asks for decisions behind the list, makes sure of them before it commits, and lists again before it deletes', async () => {
  const { coordinator, calls, gid, prepare, decided } = process();
  await coordinator.recover();
  prepare(gid('dead', 1));
  prepare(gid('dead', 2));
  decided(gid('dead', 2));
  calls.length = 0;
  await coordinator.recover();
  assert.equal(calls, [
    'nodes',
    'a.list',
    'nodes',
    'decisionsOf',
    'confirm',
    'a.rollback dead:1',
    'a.commit dead:2',
    'forgetTombstones',
    'decisions',
    'nodes',
    'a.list',
    'forget',
  ]);
  await coordinator.close();
});

test('decisions that can’t be deleted yet have nothing deleted, and those that nobody could have followed nothing listed', async () => {
  const { coordinator, gid, decided, pass, log } = process();
  decided(gid('dead', 1), ['elsewhere']);
  assert.equal(await pass(), ['nodes', 'a.list', 'forgetTombstones', 'decisions', 'nodes', 'a.list']);
  log.store.decisions.clear();
  await log.register('living', 'another process', 60_000);
  await log.settle({ gid: gid('living', 1), incarnation: 'living', participants: [] });
  assert.equal(await pass(), ['nodes', 'a.list', 'forgetTombstones', 'decisions', 'nodes']);
  await coordinator.close();
});

test('a decision of a living process stays, though all have followed it: that one may still be asked how it ended', async () => {
  const { coordinator, log, gid, decided } = process();
  await log.register('living', 'another process', 60_000);
  decided(gid('living', 1));
  await coordinator.recover();
  assert.ok(log.store.decisions.has(gid('living', 1)));
  await log.fence('living');
  await coordinator.recover();
  assert.is(log.store.decisions.size, 0);
  await coordinator.close();
});

test('a process doesn’t fence itself, whatever the store says of its lease', async () => {
  const { coordinator, log } = process();
  await coordinator.recover();
  const [own] = log.store.nodes.values();
  own!.expiresMs = -Infinity;
  assert.equal((await coordinator.recover()).fenced, []);
  assert.is(log.store.nodes.size, 1);
  await coordinator.close();
});

test('a tombstone has no participants', async () => {
  const { coordinator, log, gid, prepare } = process();
  await coordinator.recover();
  const [own] = log.store.nodes.keys();
  prepare(gid(own!, 7));
  await coordinator.recover();
  assert.equal(
    [...log.store.decisions.values()].map(({ gid: id, outcome, participants }) => [id, outcome, participants]),
    [[gid(own!, 7), 'aborted', []]],
  );
  await coordinator.close();
});

test('at most eight branches of a database are ended at once', async () => {
  const { coordinator, gid, prepare, databases } = process();
  await coordinator.recover();
  for (let number = 0; number < 20; number++) prepare(gid('dead', number));
  const [a] = databases;
  const held = gate();
  const { rollbackPrepared } = a!;
  let [now, most] = [0, 0];
  a!.rollbackPrepared = async (xid) => {
    most = Math.max(most, ++now);
    await held.promise;
    now--;
    return rollbackPrepared(xid);
  };
  const recovering = coordinator.recover();
  await assert.eventually(() => assert.is(now, 8));
  await turns(3);
  held.open();
  assert.equal([(await recovering).rolledBack.length, most], [20, 8]);
  await coordinator.close();
});

test('a log that stores no messages is recovered from as well, and closes', async () => {
  const log = new MemoryDecisionLog();
  const decisionLog: DecisionLog = new Proxy(log, {
    get: (target, name) => {
      const value: unknown = name === 'outbox' ? undefined : Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const passed = gate();
  const onPass = (): void => passed.open();
  const coordinator = new TransactionCoordinator({ decisionLog, recovery: { onPass } });
  await passed.promise;
  assert.is((await coordinator.recover()).delivered, 0);
  await coordinator.close();
  assert.is(log.store.nodes.size, 0);
});

/** A process whose next transaction is in doubt, as the answer to its decision is lost; written or not. */
function doubting(isWritten: boolean) {
  const log = new MemoryDecisionLog();
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: false,
    decisionTimeoutMs: 1,
    onError: () => undefined,
  });
  const [a, b] = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const { decide, settle } = log;
  let txn: Transaction | undefined;
  let outcome: string | undefined;
  const commit = async (): Promise<void> => {
    log.decide = async (decision: Decision) => {
      if (isWritten) await decide.call(log, decision);
      throw new Error('the answer was lost');
    };
    log.settle = () => Promise.reject(new Error('unreachable'));
    const work = coordinator.run((current) => {
      txn = current;
      a!.set('key', 'x');
      b!.set('key', 'x');
    });
    await assert.rejects(work, InDoubtError);
    Object.assign(log, { decide, settle });
    void txn!.resolved!.then((resolved) => (outcome = resolved));
  };
  /** How the transaction has ended, as far as that was said. */
  const said = async (): Promise<string | undefined> => {
    await turns();
    return outcome;
  };
  /** Another process takes this one for dead, and it has learned that. */
  const fence = async (): Promise<void> => {
    await log.fence(txn!.id.split(':')[2]!);
    const work = coordinator.run(() => [a!, b!].forEach((store) => store.set('other', 'x')), { attempts: 1 });
    await assert.rejects(work, FencedError);
    await turns();
  };
  return { log, coordinator, a: a!, b: b!, commit, said, fence, id: () => txn!.id };
}

test('how a transaction in doubt has ended is said when nothing of it is left, not before', async () => {
  const { coordinator, a, b, commit, said, id } = doubting(true);
  await commit();
  const { commitPrepared } = b;
  b.commitPrepared = () => Promise.reject(new Error('b is locked'));
  const report = await coordinator.recover();
  assert.equal([report.left, a.committed.get('key')], [[{ gid: id(), branch: 'b' }], 'x']);
  assert.equal(
    report.failures.map(({ resource, error }) => [resource, error.message]),
    [['b', 'b is locked']],
  );
  assert.is(await said(), undefined);
  // By hand, as recovery lets it rest.
  await commitPrepared.call(b, { gid: id(), branch: 'b' });
  await coordinator.recover();
  assert.is(await said(), 'committed');
  await coordinator.close();
});

test('what stays prepared of others keeps nobody from saying how a transaction in doubt has ended', async () => {
  const { log, coordinator, a, commit, said } = doubting(true);
  await commit();
  const other: Xid = { gid: `shop:${log.store.identity}:living:1`, branch: 'a' };
  await log.register('living', 'another process', 60_000);
  const { listPrepared } = a;
  a.listPrepared = async () => [...(await listPrepared.call(a)), other];
  assert.equal((await coordinator.recover()).left, [other]);
  assert.is(await said(), 'committed');
  await coordinator.close();
});

test('a pass that began before a transaction came to be in doubt says nothing of it and ends nothing of it; the next one does', async () => {
  const { coordinator, a, b, commit, said } = doubting(true);
  await coordinator.run(() => undefined);
  const [began, listing] = [gate(), gate()];
  const { listPrepared } = b;
  b.listPrepared = async () => {
    const listed = await listPrepared.call(b);
    began.open();
    await listing.promise;
    return listed;
  };
  const recovering = coordinator.recover();
  await began.promise;
  await commit();
  listing.open();
  const { left } = await recovering;
  assert.equal([left, await said(), a.committed.size], [[], undefined, 0]);
  await coordinator.recover();
  assert.equal([await said(), a.committed.size], ['committed', 1]);
  await coordinator.close();
});

test('what was not decided by then is rolled back, which is said', async () => {
  const { coordinator, a, commit, said } = doubting(false);
  await commit();
  await coordinator.recover();
  assert.equal([await said(), a.committed.size], ['aborted', 0]);
  assert.equal(await a.listPrepared(), []);
  await coordinator.close();
});

for (const outcome of ['committed', 'aborted'] as const) {
  test(`of a process that was taken for dead meanwhile it is said where that stands in the store: ${outcome}`, async () => {
    const { log, coordinator, a, commit, said, fence, id } = doubting(outcome === 'committed');
    await commit();
    if (outcome === 'aborted') await log.settle({ gid: id(), incarnation: id().split(':')[2]!, participants: [] });
    await fence();
    await coordinator.recover();
    assert.equal([await said(), a.committed.size], [outcome, outcome === 'committed' ? 1 : 0]);
    await coordinator.close();
  });
}

test('and unknown where nothing stands there: others may have followed a decision, and deleted it', async () => {
  const { log, coordinator, commit, said, fence, id } = doubting(true);
  await commit();
  await fence();
  await log.forget([id()]);
  await coordinator.recover();
  assert.is(await said(), 'unknown');
  await coordinator.close();
});
