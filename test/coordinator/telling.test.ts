// Protects whoever watches from outside: what is told of transactions, of decisions and of recovery where somebody comes late, leaves things
// out, or something fails.
import {
  CommitOutcomeUnknownError,
  type DecisionLog,
  HeuristicError,
  MemoryDecisionLog,
  MemoryStore,
  type RecoverableResource,
  type RecoveryWarning,
  type Transaction,
  TransactionCoordinator,
  type TransactionLogger,
  TransactionManager,
  TransactionStateError,
  type TransactionWarning,
  TransientError,
  logTransactions,
  observe,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { recording, thrownBy } from './recording.ts';

const test = suite('what is told');

const { now } = environment;
/** How much later than it is. */
let laterMs = 0;
test.before(() => void (environment.now = () => now() + laterMs));
test.before.each(() => void (laterMs = 0));
test.after(() => void (environment.now = now));

/** Says each line as `level message`. */
function logger(lines: string[], fields: object[] = []): TransactionLogger {
  const at = (level: string) => (what: unknown, message: unknown) => {
    lines.push(`${level} ${String(message)}`);
    fields.push(what as object);
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

test('who begins to listen while a transaction of a plain manager is open is told its end, though not how long it took', async () => {
  const txn = await new TransactionManager().begin();
  const heard: object[] = [];
  const stop = observe({ commit: (event) => heard.push(event) });
  await txn.commit();
  stop();
  assert.equal(
    heard.map((event) => Object.keys(event)),
    [['transaction']],
  );
});

test('a decision that could not be written is told with its error', async () => {
  const log = new MemoryDecisionLog();
  const full = new Error('the disk is full');
  log.decide = () => Promise.reject(full);
  const coordinator = new TransactionCoordinator({ decisionLog: log, recovery: false, onError: () => undefined });
  const stores = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const told: (Error | undefined)[] = [];
  const stop = observe({ decide: ({ error }) => told.push(error) });
  await assert.rejects(
    coordinator.run(
      () => {
        for (const store of stores) store.set('key', 'x');
      },
      { attempts: 1 },
    ),
  );
  stop();
  assert.is(told.length, 1);
  assert.instance(told[0], Error);
});

test('an attempt says which one it is, and nothing below the level is written', async () => {
  const coordinator = new TransactionCoordinator();
  const fail = (): Promise<void> =>
    coordinator
      .run((txn) => {
        if (txn.attempt === 1) throw new TransientError('busy');
        txn.join(recording([], 'a', { fails: { tpcVote: new Error('full') } }));
      })
      .catch(() => undefined);
  const lines: string[] = [];
  const fields: object[] = [];
  const stop = logTransactions(logger(lines, fields), { level: 'warn' });
  await fail();
  stop();
  assert.equal(lines, ['warn transaction could not commit']);
  assert.is((fields[0] as { attempt: number }).attempt, 2);
});

test('a pass of recovery that has nothing to do is debug, one that could not reach something a warning', async () => {
  const unreachable: RecoverableResource = {
    name: 'away',
    listPrepared: () => Promise.reject(new Error('away')),
    commitPrepared: () => Promise.resolve(),
    rollbackPrepared: () => Promise.resolve(),
  };
  const lines: string[] = [];
  const stop = logTransactions(logger(lines), { level: 'debug' });
  for (const resources of [[], [unreachable]]) {
    const decisionLog = new MemoryDecisionLog();
    const coordinator = new TransactionCoordinator({
      decisionLog,
      recovery: { everyMs: 2_000_000_000, resources },
      onError: () => undefined,
    });
    await coordinator.recover();
    await coordinator.close();
  }
  stop();
  assert.equal(new Set(lines), new Set(['debug recovery pass', 'warn recovery could not reach everything']));
});

test('what is watched from later on is warned of only where it has begun later', async () => {
  const coordinator = new TransactionCoordinator();
  const warnings: TransactionWarning[] = [];
  const early = await coordinator.begin();
  coordinator.configure({ watch: { longMs: 10, onWarning: (warning) => warnings.push(warning) } });
  await coordinator.run(
    async (txn) => {
      await assert.eventually(() => assert.is(warnings.length, 1));
      assert.is(warnings[0]!.transaction, txn);
    },
    { propagation: 'requires-new' },
  );
  await early.abort();
});

test('without a time of its own a transaction is open for too long after ten seconds', async () => {
  const warnings: TransactionWarning[] = [];
  const coordinator = new TransactionCoordinator({
    watch: { idleMs: 2_000_000_000, stack: false, onWarning: (warning) => warnings.push(warning) },
  });
  await coordinator.run(async () => {
    laterMs = 9_000;
    await assert.eventually(() => assert.ok(coordinator.inspect().transactions[0]!.ageMs >= 9_000));
    assert.equal(warnings, []);
    laterMs = 10_001;
    await assert.eventually(() =>
      assert.equal(
        warnings.map(({ kind }) => kind),
        ['long'],
      ),
    );
  });
});

test('a transaction that is begun by Node itself is said to have begun in the coordinator', async () => {
  const coordinator = new TransactionCoordinator({ watch: { onWarning: () => undefined } });
  const txn = await new Promise<Transaction>((resolve) => {
    const stop = observe({ begin: ({ transaction }) => (stop(), resolve(transaction)) });
    setImmediate(coordinator.begin.bind(coordinator));
  });
  assert.match(coordinator.inspect().transactions[0]!.began!, /\bbegin\b/);
  await txn.abort();
});

test('inspect says only what is known of decisions before the store was opened', async () => {
  const coordinator = new TransactionCoordinator({ decisionLog: new MemoryDecisionLog(), recovery: false });
  assert.equal(coordinator.inspect().decisions, { inDoubt: [] });
  await coordinator.close();
});

test('without onError a failure of recovery is a process warning', async () => {
  const emitted: string[] = [];
  const onWarning = ({ message }: Error): unknown => emitted.push(message);
  process.on('warning', onWarning);
  const log = new MemoryDecisionLog();
  log.register = () => Promise.reject(new Error('the decision store is away'));
  const coordinator = new TransactionCoordinator({ decisionLog: log });
  await assert.eventually(() => assert.ok(emitted.includes('the decision store is away')));
  process.off('warning', onWarning);
  await coordinator.close();
});

test('several branches that have been prepared for long are counted in one warning', async () => {
  const warnings: Error[] = [];
  const app = 'shop';
  const log = new MemoryDecisionLog();
  const store = await log.open();
  const prepared = ['1', '2'].map((number) => ({ gid: `${app}:${store}:elsewhere:${number}`, prepared: true }));
  const resource: RecoverableResource = {
    name: 'bank',
    listPrepared: () => Promise.resolve(prepared as never),
    commitPrepared: () => Promise.reject(new Error('not now')),
    rollbackPrepared: () => Promise.reject(new Error('not now')),
  };
  const coordinator = new TransactionCoordinator({
    app,
    decisionLog: log,
    recovery: { everyMs: 2_000_000_000, resources: [resource], oldBranchMs: 60_000 },
    onError: (error) => void warnings.push(error),
  });
  await coordinator.recover();
  laterMs = 120_000;
  await coordinator.recover();
  await coordinator.close();
  const told = warnings.filter((warning) => (warning as Partial<RecoveryWarning>).kind === 'old-branch');
  assert.is(told.length, 1);
  assert.match(told[0]!.message, "at 'bank' 2 branches have been prepared for 120 s");
});

test('a decision log of one’s own may have no outbox', async () => {
  const decisionLog: DecisionLog = new MemoryDecisionLog();
  Object.defineProperty(decisionLog, 'outbox', { value: undefined });
  const coordinator = new TransactionCoordinator({ decisionLog, recovery: false });
  const report = await coordinator.recover();
  assert.is(report.delivered, 0);
  await coordinator.close();
});

test('in doubt before a way was chosen, the outcome names none', async () => {
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { fails: { commit: new CommitOutcomeUnknownError('lost') } }));
  await assert.rejects(txn.commit());
  assert.equal(txn.outcome, { result: 'in doubt' });
});

test('after a savepoint has failed, doom says so, and an error without a stack is named all the same', async () => {
  const bare = new Error('bare');
  delete bare.stack;
  const txn = await new TransactionManager().begin();
  txn.join(recording([], 'a', { savepoints: true, fails: { savepoint: bare } }));
  await assert.rejects(txn.savepoint());
  const refused = thrownBy(() => txn.doom());
  assert.instance(refused, TransactionStateError);
  assert.match(refused.message, 'this one is commit failed');
  assert.match((await assert.rejects(txn.commit())).message, 'it failed with:\n\nError: bare');
  await txn.abort();
});

test('a part that turns out to be committed by hand while all is rolled back is told beside the error', async () => {
  const told: Error[] = [];
  const coordinator = new TransactionCoordinator({ onError: (error) => void told.push(error) });
  const heuristic = new HeuristicError('somebody has committed that');
  const refusal = new Error('no');
  const work = coordinator.run((txn) => {
    txn.join(recording([], 'a', { fails: { tpcAbort: heuristic } }));
    txn.join(recording([], 'b', { fails: { tpcAbort: new Error('anything else') } }));
    txn.join(recording([], 'c', { fails: { tpcVote: refusal } }));
  });
  assert.is(await assert.rejects(work), refusal);
  assert.equal(told, [heuristic]);
});

test('inspect shows the way of a commit when it was chosen, and changes of those who say whether they have any', async () => {
  const coordinator = new TransactionCoordinator();
  const seen: unknown[] = [];
  const look = (): void => {
    const [txn] = coordinator.inspect().transactions;
    seen.push([txn!.status, txn!.way, 'idleMs' in txn!, txn!.resources]);
  };
  await coordinator.run((txn) => {
    txn.join(recording([], 'a', { does: { tpcFinish: look } }));
    txn.join(recording([], 'b', { changed: true }));
    look();
  });
  const resources = [{ name: 'a' }, { name: 'b', changed: true }];
  assert.equal(seen, [
    ['active', undefined, false, resources],
    ['committing', 'two-phase', false, resources],
  ]);
});
