// Protects the decision: that changes of several durable resources commit only where it was written down before, that it is written
// once, and that whoever may not write it any more rolls back.
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  type DataManager,
  DecisionFailedError,
  FencedError,
  HeuristicError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryStore,
  TransactionCoordinator,
  type CoordinatorOptions,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording, thrownBy } from './recording.ts';

const test = suite('decision');

/** Two stores that can prepare, and a coordinator that decides in `log`. */
function process(log: MemoryDecisionLog | undefined, options: CoordinatorOptions = {}) {
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    onError: () => undefined,
    ...(log === undefined ? {} : { decisionLog: log, recovery: false }),
    ...options,
  });
  const store = (name: string): MemoryStore => new MemoryStore({ name, role: 'recoverable', coordinator });
  return { coordinator, a: store('a'), b: store('b') };
}

type Process = ReturnType<typeof process>;

const both = async ({ coordinator, a, b }: Process, value: string, attempts = 1) =>
  coordinator.run(
    (txn) => {
      a.set('key', value);
      b.set('key', value);
      return txn;
    },
    { attempts, backoff: false },
  );

const seen = ({ a, b }: Process): unknown[] => [a.committed.get('key'), b.committed.get('key')];

test('changes of several durable resources are refused without a decision log, by name and before anyone votes', async () => {
  const one = process(undefined);
  const error = await assert.rejects(both(one, 'x'), ConfigurationError);
  assert.match(error.message, 'new PgDecisionLog');
  assert.match(error.message, 'has changed a and b');
  assert.equal(seen(one), [undefined, undefined]);
  assert.equal([await one.a.listPrepared(), await one.b.listPrepared()], [[], []]);
});

test('allowUnsafeCommit is zope’s ordering and nothing more', async () => {
  const one = process(undefined, { allowUnsafeCommit: true });
  assert.equal((await both(one, 'x')).outcome, { result: 'committed', way: 'two-phase' });
  assert.equal(seen(one), ['x', 'x']);
});

test('one durable resource needs no decision, nor do those that have only read', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  const txn = await one.coordinator.run((txn) => {
    one.a.set('key', 'x');
    one.b.get('key');
    return txn;
  });
  assert.equal(txn.outcome, { result: 'committed', way: 'one-phase' });
  assert.equal(log.store.decisions.size, 0);
});

test('the decision is written when all have voted and before anyone finishes, with who must follow it, and deleted when all have', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  const seenThere: unknown[] = [];
  const calls: string[] = [];
  const spy: DataManager = {
    ...recording(calls, '!', {
      does: {
        tpcVote: () => void seenThere.push(log.store.decisions.size),
        tpcFinish: () => void seenThere.push([...log.store.decisions.values()].map((row) => row.participants)),
      },
    }),
  };
  const txn = await one.coordinator.run((txn) => {
    txn.join(spy);
    one.a.set('key', 'x');
    one.b.set('key', 'x');
    return txn;
  });
  assert.equal(seenThere, [0, [['a', 'b']]]);
  assert.equal(txn.outcome, { result: 'committed', way: 'two-phase' });
  await one.coordinator.close();
  assert.equal(log.store.decisions.size, 0);
  assert.equal(log.store.nodes.size, 0, 'a process that closes gives back its right to decide');
});

test('an id names application, store and incarnation, in at most 64 bytes', async () => {
  const log = new MemoryDecisionLog();
  const { coordinator } = process(log, { app: 'twelve-bytes' });
  const id = await coordinator.run((txn) => txn.id);
  const [app, store, incarnation] = id.split(':');
  assert.equal([app, store], ['twelve-bytes', log.store.identity]);
  assert.ok(log.store.nodes.has(incarnation!));
  assert.ok(id.length <= 64 - 8, 'with room for a long sequence');
});

test('a process that was fenced rolls back, and goes on under a new identity', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  await both(one, 'before');
  log.store.nodes.clear();
  const error = await assert.rejects(both(one, 'fenced'), FencedError);
  assert.match(error.message, 'taken for dead');
  assert.equal(seen(one), ['before', 'before']);
  assert.equal(await one.a.listPrepared(), []);
  const again = await both(one, 'after', 2);
  assert.equal(seen(one), ['after', 'after']);
  assert.is(again.attempt, 1, 'the new identity is there already');
});

test('being fenced is transient: run tries again', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  await both(one, 'before');
  log.store.nodes.clear();
  const txn = await both(one, 'again', 3);
  assert.is(txn.attempt, 2);
  assert.equal(seen(one), ['again', 'again']);
});

test('a transaction that recovery has decided to abort can’t be committed any more', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  const error = await assert.rejects(
    one.coordinator.run(
      async (txn) => {
        one.a.set('key', 'x');
        one.b.set('key', 'x');
        await log.settle({ gid: txn.id, incarnation: txn.id.split(':')[2]!, participants: [] });
      },
      { attempts: 1 },
    ),
    DecisionFailedError,
  );
  assert.match(error.message, 'decided once');
  assert.equal(seen(one), [undefined, undefined]);
});

test('a decision whose answer was lost is looked up: written, it is followed', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  const decide = log.decide.bind(log);
  log.decide = async (decision) => {
    await decide(decision);
    throw new Error('the answer was lost');
  };
  assert.is((await both(one, 'x')).outcome!.result, 'committed');
  assert.equal(seen(one), ['x', 'x']);
});

test('a decision whose answer was lost is looked up: not written, it never will be', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log);
  log.decide = () => Promise.reject(new Error('the line is cut'));
  const error = await assert.rejects(both(one, 'x'), DecisionFailedError);
  assert.match(error.message, 'the line is cut');
  assert.equal(seen(one), [undefined, undefined]);
  assert.equal(
    [...log.store.decisions.values()].map((row) => row.outcome),
    ['aborted'],
    'a tombstone',
  );
});

test('a resource that fails to finish is committed all the same, and recovery goes on with it', async () => {
  const log = new MemoryDecisionLog();
  const reported: string[] = [];
  const one = process(log, { onError: (error) => void reported.push(error.message) });
  const down = new Error('b is down');
  const txn = await one.coordinator.run((txn) => {
    one.a.set('key', 'x');
    one.b.set('key', 'x');
    const manager = txn.resources[1]! as { tpcFinish: unknown };
    manager.tpcFinish = () => Promise.reject(down);
    return txn;
  });
  assert.equal(txn.outcome, { result: 'committed', way: 'two-phase', pendingFinish: ['b'] });
  assert.equal(reported, ['b is down']);
  assert.equal(seen(one), ['x', undefined]);
  assert.is(log.store.decisions.size, 1);
  const report = await one.coordinator.recover();
  assert.equal(report.committed, [{ gid: txn.id, branch: 'b' }]);
  assert.equal(seen(one), ['x', 'x']);
  assert.is(log.store.decisions.size, 0);
});

test('what can’t be recovered and fails to finish is in doubt, also where recovery goes on with another that failed', async () => {
  const one = process(new MemoryDecisionLog());
  const error = await assert.rejects(
    one.coordinator.run((txn) => {
      txn.join(recording([], 'mail', { fails: { tpcFinish: new Error('no mail') } }));
      one.a.set('key', 'x');
      one.b.set('key', 'x');
      const manager = txn.resources[2]! as { tpcFinish: unknown };
      manager.tpcFinish = () => Promise.reject(new Error('b is down'));
    }),
    InDoubtError,
  );
  assert.equal([error.unfinished.toSorted(), error.finished], [['b', 'mail'], ['a']]);
  await one.coordinator.recover();
  assert.equal(seen(one), ['x', 'x']);
});

test('what can’t be recovered and fails to finish is in doubt, though all else is committed', async () => {
  const one = process(new MemoryDecisionLog());
  const error = await assert.rejects(
    one.coordinator.run((txn) => {
      txn.join(recording([], 'mail', { fails: { tpcFinish: new Error('no mail') } }));
      one.a.set('key', 'x');
      one.b.set('key', 'x');
    }),
    InDoubtError,
  );
  assert.equal([error.unfinished, error.finished], [['mail'], ['a', 'b']]);
  assert.equal(seen(one), ['x', 'x']);
});

test('while the store can’t be reached what is prepared is held; transaction.resolved tells how it ended', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log, { decisionTimeoutMs: 200 });
  await both(one, 'before');
  const [decide, settle] = [log.decide.bind(log), log.settle.bind(log)];
  log.decide = async (decision) => {
    await decide(decision);
    throw new Error('the answer was lost');
  };
  let isReachable = false;
  log.settle = (decision) => (isReachable ? settle(decision) : Promise.reject(new Error('unreachable')));
  let txn: Awaited<ReturnType<typeof both>> | undefined;
  const error = await assert.rejects(
    one.coordinator.run(
      (current) => {
        txn = current;
        one.a.set('key', 'x');
        one.b.set('key', 'x');
      },
      { attempts: 3 },
    ),
    InDoubtError,
  );
  assert.is(txn!.status, 'in doubt');
  assert.equal(error.unfinished, ['a', 'b']);
  const cause = error.cause as CommitOutcomeUnknownError;
  assert.instance(cause, CommitOutcomeUnknownError);
  assert.match(error.message, 'stays prepared until recovery can read the decision; transaction.resolved tells');
  assert.match(cause.message, "(the answer was lost), and the store can't be reached");
  assert.equal([cause.xid, cause.phase, cause.resource], [txn!.id, 'tpcVote', 'the decision store']);
  assert.equal(await one.a.listPrepared(), [{ gid: txn!.id, branch: 'a' }]);
  isReachable = true;
  await one.coordinator.recover();
  assert.is(await txn!.resolved, 'committed');
  assert.equal(seen(one), ['x', 'x']);
});

test('a decision stays while a transaction is in doubt, also where all have followed: else its outcome would be taken for an abort', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log, { decisionTimeoutMs: 200 });
  await both(one, 'before');
  const [decide, settle] = [log.decide.bind(log), log.settle.bind(log)];
  log.decide = async (decision) => {
    await decide(decision);
    throw new Error('the answer was lost');
  };
  let isReachable = false;
  log.settle = (decision) => (isReachable ? settle(decision) : Promise.reject(new Error('unreachable')));
  let txn: Awaited<ReturnType<typeof both>> | undefined;
  const work = one.coordinator.run((current) => {
    txn = current;
    one.a.set('key', 'x');
    one.b.set('key', 'x');
  });
  await assert.rejects(work, InDoubtError);
  isReachable = true;
  // Commits, and the answer to that is lost as well.
  const commitPrepared = one.b.commitPrepared.bind(one.b);
  one.b.commitPrepared = async (xid) => {
    one.b.commitPrepared = commitPrepared;
    await commitPrepared(xid);
    throw new Error('this answer was lost, too');
  };
  await one.coordinator.recover();
  assert.equal(seen(one), ['x', 'x']);
  await one.coordinator.recover();
  assert.is(await txn!.resolved, 'committed');
  // And then it goes, when the store that did not answer has had its rest.
  await assert.eventually(async () => {
    await one.coordinator.recover();
    assert.equal([...log.store.decisions.values()], []);
  });
});

test('who was taken for dead before a lost answer could be looked up doesn’t say how it ended: others may have followed the decision and deleted it', async () => {
  const log = new MemoryDecisionLog();
  const one = process(log, { decisionTimeoutMs: 200 });
  const decide = log.decide.bind(log);
  log.decide = async (decision) => {
    await decide(decision);
    // Another process fences this one, commits what it has prepared, and deletes the decision.
    log.store.nodes.clear();
    for (const store of [one.a, one.b]) await store.commitPrepared({ gid: decision.gid, branch: store.name });
    log.store.decisions.clear();
    throw new Error('the answer was lost');
  };
  let txn: Awaited<ReturnType<typeof both>> | undefined;
  const error = await assert.rejects(
    one.coordinator.run(
      (current) => {
        txn = current;
        one.a.set('key', 'x');
        one.b.set('key', 'x');
      },
      { attempts: 3 },
    ),
    InDoubtError,
  );
  assert.equal([txn!.status, txn!.attempt], ['in doubt', 1]);
  assert.match((error.cause as Error).message, 'this process was taken for dead before it could ask again');
  await one.coordinator.recover();
  assert.is(await txn!.resolved, 'unknown');
  assert.equal(seen(one), ['x', 'x']);
  assert.is(log.store.decisions.size, 0, 'no tombstone of what was committed');
});

test('a commit that is known to be undone by hand at one of them is in doubt, not committed', async () => {
  const one = process(new MemoryDecisionLog());
  const error = await assert.rejects(
    one.coordinator.run((txn) => {
      one.a.set('key', 'x');
      one.b.set('key', 'x');
      const manager = txn.resources[1]! as { tpcFinish: unknown };
      manager.tpcFinish = () => Promise.reject(new HeuristicError('rolled back by somebody'));
    }),
    InDoubtError,
  );
  assert.equal([error.finished, error.unfinished], [['a'], ['b']]);
  assert.instance(error.cause, HeuristicError);
});

test('the decision log, the application and the node are set once', () => {
  const { coordinator } = process(new MemoryDecisionLog());
  for (const late of [{ decisionLog: new MemoryDecisionLog() }, { app: 'other' }, { node: 'n' }]) {
    assert.instance(
      thrownBy(() => coordinator.configure(late)),
      ConfigurationError,
    );
  }
  coordinator.configure({ explicit: false });
});

test('a store that can’t be reached when a transaction begins keeps none of one resource, and refuses those of several', async () => {
  const log = new MemoryDecisionLog();
  log.open = () => Promise.reject(new Error('unreachable'));
  const one = process(log);
  await one.coordinator.run(() => one.a.set('key', 'alone'));
  assert.equal(seen(one), ['alone', undefined]);
  const error = await assert.rejects(both(one, 'x'), DecisionFailedError);
  assert.match(error.message, 'could not be reached when it began');
});
