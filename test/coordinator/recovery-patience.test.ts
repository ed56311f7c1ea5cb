// Protects recovery where much stays: what can't be ended or deleted keeps nothing else from its turn, is asked about less often while it is there,
// and is told by its age; and who closes while a pass runs starts no other.
import {
  type DecisionRow,
  MemoryDecisionLog,
  type RecoverableResource,
  type RecoveryReport,
  type RecoveryWarning,
  TransactionCoordinator,
  type Xid,
  observe,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, turns } from './recording.ts';

const test = suite('patience of recovery');

const original = { ...environment };
/** Time passes where a test says so: how much since its beginning. */
let laterMs = 0;
test.before.each(() => {
  laterMs = 0;
  const startMs = Math.ceil(original.now());
  environment.now = () => startMs + laterMs;
});
test.after.each(() => void Object.assign(environment, original));

/** A process whose recovery runs when the test says so, over one database. */
function process(resource: RecoverableResource) {
  const log = new MemoryDecisionLog();
  const errors: Error[] = [];
  /** Open when the pass is over that runs by itself. */
  const begun = gate();
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: { everyMs: 2_000_000_000, resources: [resource], oldBranchMs: 300_000, onPass: () => begun.open() },
    onError: (error) => void errors.push(error),
  });
  const gid = (number: number): string => `shop:${log.store.identity}:dead:${number}`;
  const decided = (number: number, participants: readonly string[]): void => {
    const row: DecisionRow = {
      gid: gid(number),
      incarnation: 'dead',
      participants,
      outcome: 'committed',
      createdAt: new Date(),
    };
    log.store.decisions.set(row.gid, row);
  };
  return { log, coordinator, errors, gid, decided, begun: begun.promise };
}

/** A database in which this is prepared. */
function resource(prepared: Xid[] = []) {
  const asked: string[] = [];
  const end = async ({ gid, branch }: Xid): Promise<void> => {
    asked.push(gid);
    if (stuck.has(gid)) throw new Error(`${branch} can't end that`);
    prepared.splice(
      prepared.findIndex((each) => each.gid === gid),
      1,
    );
  };
  const stuck = new Set<string>();
  return {
    name: 'bank',
    prepared,
    asked,
    stuck,
    listPrepared: async () => [...prepared],
    commitPrepared: end,
    rollbackPrepared: end,
  };
}

test('a decision behind thousands that can’t be deleted comes to its turn', async () => {
  const bank = resource();
  const { log, coordinator, gid, decided } = process(bank);
  const gone = 2_500;
  for (let number = 0; number < gone; number++) decided(number, ['a database that is gone']);
  decided(gone, ['bank']);
  for (let pass = 0; log.store.decisions.has(gid(gone)); pass++) {
    assert.ok(pass < 5, 'it is looked for in every pass');
    await coordinator.recover();
  }
  assert.is(log.store.decisions.size, gone);
  await coordinator.close();
});

test('and while there are that many, no more are looked at than is of use', async () => {
  const bank = resource();
  const { log, coordinator, decided } = process(bank);
  const limits: number[] = [];
  const { decisions } = log;
  log.decisions = (limit, prefix) => {
    limits.push(limit);
    return decisions.call(log, limit, prefix);
  };
  for (let number = 0; number < 20_000; number++) decided(number, ['a database that is gone']);
  for (let pass = 0; pass < 6; pass++) await coordinator.recover();
  log.store.decisions.clear();
  for (let pass = 0; pass < 6; pass++) await coordinator.recover();
  assert.equal(
    limits,
    [1, 2, 4, 8, 16, 16, 16, 8, 4, 2, 1, 1].map((thousands) => thousands * 1_000),
  );
  await coordinator.close();
});

test('and no more while there is enough to delete among the oldest, and no fewer while more than half of them stay', async () => {
  const bank = resource();
  const { log, coordinator, decided, begun } = process(bank);
  await begun;
  const limits: number[] = [];
  const { decisions } = log;
  log.decisions = (limit, prefix) => {
    limits.push(limit);
    return decisions.call(log, limit, prefix);
  };
  for (let number = 0; number < 2_500; number++) decided(number, ['bank']);
  for (let pass = 0; pass < 4; pass++) await coordinator.recover();
  assert.equal([limits, log.store.decisions.size], [[1_000, 1_000, 1_000, 1_000], 0]);
  limits.length = 0;
  for (let number = 0; number < 1_500; number++) decided(number, ['a database that is gone']);
  for (let pass = 0; pass < 3; pass++) await coordinator.recover();
  assert.equal(limits, [1_000, 2_000, 2_000]);
  await coordinator.close();
});

test('a database that can’t be reached is asked later and later, up to a minute apart, and at once again when it was', async () => {
  const bank = resource();
  const { coordinator, begun } = process(bank);
  await begun;
  const asked: number[] = [];
  let isAway = true;
  bank.listPrepared = async () => {
    asked.push(laterMs);
    if (isAway) throw new Error('away');
    return [];
  };
  environment.random = () => 0.5;
  // A quarter of the time is left out, by chance: half of what may be.
  const waits = [1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => seconds * 750);
  const due: number[] = [0];
  for (const wait of waits) due.push(due.at(-1)! + wait);
  for (const dueMs of due) {
    if (dueMs > 0) {
      laterMs = dueMs - 1;
      assert.equal((await coordinator.recover()).failures, []);
    }
    laterMs = dueMs;
    await coordinator.recover();
  }
  assert.equal(asked, due);
  isAway = false;
  laterMs += 60_000;
  for (let pass = 0; pass < 3; pass++) await coordinator.recover();
  assert.is(asked.length, due.length + 3);
  await coordinator.close();
});

test('a branch that can’t be ended is tried later and later, and at once when it has been away meanwhile', async () => {
  const bank = resource();
  const { coordinator, gid } = process(bank);
  const branch = { gid: gid(1), branch: 'bank' };
  bank.prepared.push(branch);
  bank.stuck.add(branch.gid);
  await coordinator.recover();
  await coordinator.recover();
  assert.equal(bank.asked, [branch.gid], 'it rests');
  // Somebody has ended it, and it is prepared again, as by a server that was restored.
  bank.prepared.length = 0;
  await coordinator.recover();
  bank.prepared.push(branch);
  const { left } = await coordinator.recover();
  assert.equal([bank.asked, left], [[branch.gid, branch.gid], [branch]]);
  await coordinator.close();
});

test('of several branches that have been prepared for long the oldest is named', async () => {
  const bank = resource();
  const { coordinator, gid, errors } = process(bank);
  for (const number of [1, 2]) bank.stuck.add(gid(number));
  bank.prepared.push({ gid: gid(1), branch: 'bank' });
  await coordinator.recover();
  laterMs = 30_000;
  // Listed first, and prepared later.
  bank.prepared.unshift({ gid: gid(2), branch: 'bank' });
  await coordinator.recover();
  laterMs = 400_000;
  const { warnings } = await coordinator.recover();
  assert.equal(
    warnings.map(({ kind, resource: name }) => [kind, name]),
    [['old-branch', 'bank']],
  );
  assert.match(
    warnings[0]!.message,
    `2 branches have been prepared for 400 s or more, the oldest of transaction ${gid(1)}`,
  );
  assert.is(errors.filter((error) => (error as Partial<RecoveryWarning>).kind === 'old-branch').length, 1);
  await coordinator.close();
});

test('a pass that could not reach the decision store is told with its error, and what ended with its report', async () => {
  const bank = resource();
  const { coordinator, log, gid } = process(bank);
  const told: { readonly durationMs: number; readonly error?: Error; readonly report?: RecoveryReport }[] = [];
  await coordinator.recover();
  bank.prepared.push({ gid: gid(1), branch: 'bank' });
  const stop = observe({ recovery: (event) => told.push(event) });
  const away = new Error('the store is away');
  const { nodes } = log;
  log.nodes = () => Promise.reject(away);
  assert.is(await assert.rejects(coordinator.recover()), away);
  log.nodes = nodes;
  const report = await coordinator.recover();
  stop();
  assert.equal(
    told.map(({ durationMs, error, report: written }) => [durationMs, error, written]),
    [
      [0, away, undefined],
      [0, undefined, report],
    ],
  );
  assert.is(report.rolledBack.length, 1);
  await coordinator.close();
});

test('who closes while a pass runs waits for that, and no other is started', async () => {
  const listing = gate<Xid[]>();
  const began = gate();
  const bank = {
    ...resource(),
    listPrepared: () => {
      began.open();
      return listing.promise;
    },
  };
  const delays: number[] = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    delays.push(delayMs);
    return original.setTimer(callback, delayMs, referenced);
  };
  const decisionLog = new MemoryDecisionLog();
  const everyMs = 1_000_000_000;
  const coordinator = new TransactionCoordinator({ decisionLog, recovery: { everyMs, resources: [bank] } });
  await began.promise;
  let isClosed = false;
  const closing = coordinator.close().then(() => (isClosed = true));
  await turns(2);
  assert.is(isClosed, false);
  listing.open([]);
  await closing;
  assert.equal(
    delays.filter((delayMs) => delayMs >= everyMs / 2),
    [],
  );
});
