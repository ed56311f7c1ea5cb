// Protects whoever is to be told before recovery can't do its work: each condition is reported with its resource and kind, once an hour, found
// by questions that are asked once a minute, and never at the cost of recovery itself.
import {
  ConfigurationError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  type RecoverableResource,
  RecoveryWarning,
  type ResourceWarning,
  TransactionCoordinator,
  type Xid,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('recovery warnings');

const { now } = environment;
/** How much later than it is. */
let laterMs = 0;
test.before(() => void (environment.now = () => now() + laterMs));
test.before.each(() => void (laterMs = 0));
test.after(() => void (environment.now = now));

const MINUTE_MS = 60_000;

/** A resource that is asked for what it has prepared, and warns of this. */
class Resource implements RecoverableResource {
  readonly name: string;
  prepared: Xid[] = [];
  warns: ResourceWarning[] | Error = [];
  unlistable: Error | undefined = undefined;
  asked = 0;

  constructor(name: string) {
    this.name = name;
  }

  listPrepared(): Promise<Xid[]> {
    return this.unlistable === undefined ? Promise.resolve(this.prepared) : Promise.reject(this.unlistable);
  }
  commitPrepared(): Promise<void> {
    return Promise.reject(new Error('not now'));
  }
  rollbackPrepared(): Promise<void> {
    return Promise.reject(new Error('not now'));
  }
  warnings(prefix: string): Promise<ResourceWarning[]> {
    assert.match(prefix, /^shop:\w+:$/);
    this.asked++;
    return this.warns instanceof Error ? Promise.reject(this.warns) : Promise.resolve(this.warns);
  }
}

function process(options: { oldBranchMs?: number } = {}) {
  const reported: Error[] = [];
  const store = new MemoryDecisionStore();
  const bank = new Resource('bank');
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: new MemoryDecisionLog(store),
    recovery: { everyMs: 2_000_000_000, leaseMs: 2_000_000_000, resources: [bank], ...options },
    onError: (error) => void reported.push(error),
  });
  const told = (): string[] =>
    reported.splice(0).map((error) => `${(error as RecoveryWarning).kind}: ${error.message}`);
  return { coordinator, bank, store, reported, told };
}

const room: ResourceWarning = { kind: 'little-room', message: 'bank has room for 1 more prepared transaction' };

test('what a resource warns of is part of the report, and told to onError with its resource, kind and code', async () => {
  const { coordinator, bank, reported } = process();
  bank.warns = [room];
  const { warnings, failures } = await coordinator.recover();
  assert.equal([warnings.length, failures.length, reported.length], [1, 0, 1]);
  const [warning] = reported;
  assert.ok(warning instanceof RecoveryWarning);
  assert.equal(
    [warning.kind, warning.resource, warning.code, warning.message],
    ['little-room', 'bank', 'ERR_TXN_RECOVERY_WARNING', room.message],
  );
});

test('resources are asked once a minute, and the same is reported once an hour, however its words change', async () => {
  const { coordinator, bank, told } = process();
  bank.warns = [room];
  await coordinator.recover();
  assert.equal(told(), [`little-room: ${room.message}`]);
  laterMs = MINUTE_MS - 10_000;
  assert.equal((await coordinator.recover()).warnings, []);
  assert.is(bank.asked, 1);
  for (let minute = 1; minute < 60; minute++) {
    laterMs = minute * MINUTE_MS + 10_000;
    bank.warns = [{ ...room, message: `after ${minute} min` }];
    assert.is((await coordinator.recover()).warnings.length, 1);
  }
  assert.equal([bank.asked, told()], [60, []]);
  bank.warns = [{ kind: 'missing-right', message: 'another kind' }];
  laterMs += MINUTE_MS;
  await coordinator.recover();
  assert.equal(told(), ['missing-right: another kind']);
  bank.warns = [room];
  laterMs += MINUTE_MS;
  await coordinator.recover();
  assert.equal(told(), [`little-room: ${room.message}`], 'an hour is over');
});

test('what has been prepared for long is told, from what was listed, as not every server tells since when', async () => {
  const { coordinator, bank, store, told } = process({ oldBranchMs: 5 * MINUTE_MS });
  const log = new MemoryDecisionLog(store);
  await log.register('living', 'web2', 2_000_000_000);
  const gid = (sequence: number): string => `shop:${store.identity}:living:${sequence}`;
  bank.prepared = [{ gid: gid(1), branch: 'bank' }];
  await coordinator.recover();
  laterMs = 3 * MINUTE_MS;
  bank.prepared = [...bank.prepared, { gid: gid(2), branch: 'bank' }, { gid: 'other:x:y:1', branch: 'bank' }];
  await coordinator.recover();
  assert.equal(told(), []);
  laterMs = 6 * MINUTE_MS;
  await coordinator.recover();
  const [warning] = told();
  assert.match(warning!, /^old-branch: .* at 'bank' a branch has been prepared for 36\d s or more/);
  assert.match(warning!, `npx unanimous show ${gid(1)}`);
  laterMs = 70 * MINUTE_MS;
  bank.prepared = bank.prepared.slice(1);
  await coordinator.recover();
  assert.match(told()[0]!, `the oldest of transaction ${gid(2)}`);
  laterMs = 140 * MINUTE_MS;
  bank.prepared = [];
  assert.equal((await coordinator.recover()).warnings, [], 'what is listed no more is forgotten');
});

test('who can’t be reached isn’t asked; whose list is refused for want of a right is; and a failing question costs nothing', async () => {
  const { coordinator, bank, reported } = process();
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  bank.unlistable = new Error('ECONNREFUSED');
  await coordinator.recover();
  assert.is(bank.asked, 0);
  bank.unlistable = new ConfigurationError('the privilege is missing');
  laterMs = 5 * MINUTE_MS;
  await coordinator.recover();
  assert.is(bank.asked, 1);
  bank.unlistable = undefined;
  bank.warns = new Error('no such view');
  laterMs = 10 * MINUTE_MS;
  const report = await coordinator.recover();
  assert.equal([bank.asked, report.warnings, report.failures, reported], [2, [], [], []]);
  await coordinator.run(() => a.set('key', 'x'));
  assert.is(a.committed.get('key'), 'x');
});

test('whoever delivers messages is asked, too', async () => {
  const { coordinator, told } = process();
  const message = 'cache keeps nothing on disk';
  coordinator.delivers({
    name: 'cache',
    deliver: () => Promise.resolve(),
    warnings: () => Promise.resolve([{ kind: 'no-persistence', message }]),
  });
  await coordinator.recover();
  assert.equal(told(), [`no-persistence: ${message}`]);
});
