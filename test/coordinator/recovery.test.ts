// Protects recovery: what a crashed process has left prepared ends as it was decided, by whichever process comes first, and what belongs to
// a living one is left alone.
import {
  type DecisionRow,
  FencedError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  type RecoverableResource,
  TransactionCoordinator,
  type Xid,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('recovery');

const LEASE_MS = 40;

/** Databases that outlive processes. */
class Resource implements RecoverableResource {
  readonly name: string;
  readonly prepared = new Map<string, Xid>();
  readonly ended: string[] = [];
  down: Error | undefined = undefined;
  /** Answers that it has done something, and has not. */
  lies = false;

  constructor(name: string) {
    this.name = name;
  }

  prepare(gid: string): void {
    this.prepared.set(gid, { gid, branch: this.name });
  }

  async listPrepared(): Promise<Xid[]> {
    if (this.down !== undefined) throw this.down;
    return [...this.prepared.values()];
  }

  commitPrepared(xid: Xid): Promise<void> {
    return this.#end('commit', xid);
  }

  rollbackPrepared(xid: Xid): Promise<void> {
    return this.#end('rollback', xid);
  }

  async #end(verb: string, { gid }: Xid): Promise<void> {
    if (this.down !== undefined) throw this.down;
    this.ended.push(`${verb} ${gid.split(':').slice(-2).join(':')}`);
    if (!this.lies) this.prepared.delete(gid);
  }
}

/** A cluster of processes over resources a and b. */
function cluster() {
  const store = new MemoryDecisionStore();
  const [a, b] = [new Resource('a'), new Resource('b')];
  const process = (
    leaseMs = 60_000,
  ): { coordinator: TransactionCoordinator; log: MemoryDecisionLog; errors: Error[] } => {
    const errors: Error[] = [];
    const log = new MemoryDecisionLog(store);
    const coordinator = new TransactionCoordinator({
      app: 'shop',
      decisionLog: log,
      // Recovery runs when the test says so.
      recovery: { everyMs: 2_000_000_000, leaseMs, resources: [a, b] },
      onError: (error) => void errors.push(error),
    });
    return { coordinator, log, errors };
  };
  const gid = (incarnation: string, sequence: number): string => `shop:${store.identity}:${incarnation}:${sequence}`;
  const decided = (id: string, participants = ['a', 'b']): void => {
    const row: DecisionRow = {
      gid: id,
      incarnation: id.split(':')[2]!,
      participants,
      outcome: 'committed',
      createdAt: new Date(),
    };
    store.decisions.set(id, row);
  };
  return { store, a, b, process, gid, decided };
}

/** A moment that a test decides on. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

test('of a dead process: what was decided is committed everywhere, the rest is rolled back, and the decision is deleted', async () => {
  const { store, a, b, process, gid, decided } = cluster();
  for (const resource of [a, b]) {
    resource.prepare(gid('dead', 1));
    resource.prepare(gid('dead', 2));
  }
  decided(gid('dead', 1));
  const { coordinator } = process();
  const report = await coordinator.recover();
  assert.equal(a.ended.toSorted(), ['commit dead:1', 'rollback dead:2']);
  assert.equal(b.ended.toSorted(), ['commit dead:1', 'rollback dead:2']);
  assert.equal([report.committed.length, report.rolledBack.length, report.left], [2, 2, []]);
  assert.is(store.decisions.size, 0);
});

test('what belongs to a living process is left alone, decided or not', async () => {
  const { store, a, process, gid, decided } = cluster();
  const other = process();
  await other.coordinator.run(() => undefined);
  const [living] = store.nodes.keys();
  a.prepare(gid(living!, 1));
  a.prepare(gid(living!, 2));
  decided(gid(living!, 2));
  const { coordinator } = process();
  const report = await coordinator.recover();
  assert.equal(a.ended, []);
  assert.is(report.left.length, 2);
  assert.is(store.decisions.size, 1);
});

test('a process whose lease has run out is fenced, and can decide nothing any more', async () => {
  const { store, a, process, gid } = cluster();
  const { coordinator } = process();
  store.nodes.set('silent', { node: 'n', startedAt: new Date(), expiresMs: -1 });
  a.prepare(gid('silent', 1));
  const report = await coordinator.recover();
  assert.equal(report.fenced, ['silent']);
  assert.equal(a.ended, ['rollback silent:1']);
  const late = new MemoryDecisionLog(store);
  await assert.rejects(late.decide({ gid: gid('silent', 1), incarnation: 'silent', participants: ['a'] }), FencedError);
});

test('a fence that waits for a decision on its way leaves the process alone until the next pass', async () => {
  const { store, a, process, gid } = cluster();
  const { coordinator, log } = process();
  store.nodes.set('silent', { node: 'n', startedAt: new Date(), expiresMs: -1 });
  a.prepare(gid('silent', 1));
  log.fence = () => Promise.resolve(false);
  const report = await coordinator.recover();
  assert.equal([report.fenced, a.ended], [[], []]);
});

test('a decision that is written while recovery runs counts: who may decide is read after what is prepared', async () => {
  const { store, a, process, gid, decided } = cluster();
  const { coordinator } = process();
  store.nodes.set('late', { node: 'n', startedAt: new Date(), expiresMs: Infinity });
  a.prepare(gid('late', 1));
  const list = a.listPrepared.bind(a);
  a.listPrepared = async () => {
    const xids = await list();
    // It decides, and dies, behind the list.
    if (store.nodes.delete('late')) decided(gid('late', 1), ['a']);
    return xids;
  };
  await coordinator.recover();
  assert.equal(a.ended, ['commit late:1']);
});

test('its own transactions are ended through a tombstone, but for those that are under way', async () => {
  const { store, a, process, gid, decided } = cluster();
  const { coordinator } = process();
  await coordinator.recover();
  const [own] = store.nodes.keys();
  a.prepare(gid(own!, 1));
  a.prepare(gid(own!, 2));
  decided(gid(own!, 2), ['a']);
  await coordinator.recover();
  assert.equal(a.ended.toSorted(), [`commit ${own}:2`, `rollback ${own}:1`]);
  assert.equal(
    [...store.decisions.values()].map(({ gid: id, outcome }) => [id, outcome]),
    [[gid(own!, 1), 'aborted']],
  );
});

test('nothing of another application, or of another decision store, is touched', async () => {
  const { a, process, store } = cluster();
  a.prepare('other:x:dead:1');
  a.prepare(`shop:${store.identity}x:dead:1`);
  a.prepare(`shops:${store.identity}:dead:1`);
  const { coordinator } = process();
  const report = await coordinator.recover();
  assert.equal([a.ended, report.left], [[], []]);
});

test('what others have prepared at the same server, with ids that are alike, is not touched; what has the form of an id is, up to 64 bytes', async () => {
  const { a, process, store } = cluster();
  const prefix = `shop:${store.identity}:`;
  const longest = `${prefix}${'i'.repeat(40)}:`.padEnd(64, '7');
  const ours = [`${prefix}dead:1`, `${prefix}A_z.0-9:z`, longest];
  const others = [
    `${longest}7`,
    prefix,
    `${prefix}dead`,
    `${prefix}dead:`,
    `${prefix}:1`,
    `${prefix}dead:1:2`,
    `${prefix}dead:1 of mine`,
    `${prefix}my own dead:1`,
    `${prefix}dead:Z`,
    `${prefix}${'i'.repeat(41)}:1`,
    // As long as ours, and begins otherwise.
    `Shop:${store.identity}:dead:1`,
    `shop-${store.identity}:dead:1`,
  ];
  for (const gid of [...ours, ...others]) a.prepare(gid);
  const { coordinator } = process();
  const report = await coordinator.recover();
  assert.equal(
    report.rolledBack.map(({ gid }) => gid),
    ours,
  );
  assert.equal([...a.prepared.keys()], others);
});

test('a resource that can’t be reached keeps nobody else, its decisions stay, and it is asked again later', async () => {
  const { store, a, b, process, gid, decided } = cluster();
  for (const resource of [a, b]) resource.prepare(gid('dead', 1));
  decided(gid('dead', 1));
  b.down = new Error('b is down');
  const { coordinator } = process();
  const report = await coordinator.recover();
  assert.equal(a.ended, ['commit dead:1']);
  assert.equal(report.failures[0]!.resource, 'b');
  assert.is(store.decisions.size, 1, 'b has not followed it');
  b.down = undefined;
  await assert.eventually(async () => {
    await coordinator.recover();
    return b.prepared.size === 0 && store.decisions.size === 0;
  });
  assert.equal(b.ended, ['commit dead:1']);
});

test('an answer proves nothing: a decision stays for as long as a list has its branch', async () => {
  const { store, a, b, process, gid, decided } = cluster();
  a.prepare(gid('dead', 1));
  decided(gid('dead', 1));
  a.lies = true;
  const { coordinator } = process();
  await coordinator.recover();
  assert.is(store.decisions.size, 1);
  a.lies = false;
  await coordinator.recover();
  assert.equal(a.ended, ['commit dead:1', 'commit dead:1']);
  assert.equal(b.ended, []);
  assert.is(store.decisions.size, 0);
});

test('a decision about a resource that this process doesn’t know is left to one that does', async () => {
  const { store, process, gid, decided } = cluster();
  decided(gid('dead', 1), ['a', 'elsewhere']);
  const { coordinator } = process();
  await coordinator.recover();
  assert.is(store.decisions.size, 1);
});

test('tombstones stay until their process is fenced', async () => {
  const { store, process, gid } = cluster();
  const { coordinator, log } = process();
  for (const incarnation of ['living', 'dead']) {
    store.nodes.set(incarnation, { node: 'n', startedAt: new Date(), expiresMs: Infinity });
    await log.settle({ gid: gid(incarnation, 1), incarnation, participants: [] });
  }
  store.nodes.delete('dead');
  await coordinator.recover();
  assert.equal([...store.decisions.keys()], [gid('living', 1)]);
});

test('decisions of other applications in the same store are left to those', async () => {
  const { store, a, process, decided } = cluster();
  // Their resources have the same names, and are other ones.
  decided(`billing:${store.identity}:dead:1`);
  a.prepare(`billing:${store.identity}:dead:2`);
  const { coordinator } = process();
  await coordinator.recover();
  assert.is(store.decisions.size, 1);
  assert.equal(a.ended, []);
});

test('a transaction of one’s own that ends while recovery looks is neither buried nor reported', async () => {
  const { store, process } = cluster();
  const { coordinator, log } = process();
  const [one, other, slow] = ['one', 'other', 'slow'].map(
    (name) => new MemoryStore({ name, role: 'recoverable', coordinator }),
  ) as [MemoryStore, MemoryStore, MemoryStore];
  await coordinator.recover();
  const [finish, list] = [gate(), gate()];
  const running = coordinator.run((txn) => {
    txn.join(recording([], '!', { waits: { tpcFinish: finish.opened } }));
    one.set('key', 1);
    other.set('key', 1);
  });
  await assert.eventually(() => store.decisions.size === 1);
  slow.listPrepared = () => list.opened.then(() => []);
  coordinator.recovers(slow);
  const listed = new Promise<void>((resolve) => {
    const original = one.listPrepared.bind(one);
    one.listPrepared = () => original().finally(resolve);
  });
  const recovering = coordinator.recover();
  await listed;
  finish.open();
  await running;
  await assert.eventually(() => store.decisions.size === 0);
  list.open();
  const report = await recovering;
  assert.equal([report.committed, report.rolledBack], [[], []]);
  assert.equal(await log.decisions(10), [], 'no tombstone');
  assert.is(one.committed.get('key'), 1);
});

test('a branch that takes long to end holds no other one up', async () => {
  const { a, process, gid } = cluster();
  for (let n = 0; n < 5; n++) a.prepare(gid('dead', n));
  const held = gate();
  const rollback = a.rollbackPrepared.bind(a);
  a.rollbackPrepared = (xid) =>
    (xid.gid === gid('dead', 0) ? held.opened : Promise.resolve()).then(() => rollback(xid));
  const { coordinator } = process();
  const recovering = coordinator.recover();
  await assert.eventually(() => a.prepared.size === 1);
  held.open();
  assert.is((await recovering).rolledBack.length, 5);
});

test('when the store comes back after more than a lease, those that could not renew theirs are not taken for dead', async () => {
  const { store, a, process, gid } = cluster();
  const processes = [process(300), process(300)];
  for (const { coordinator } of processes) await coordinator.run(() => undefined);
  const [one] = processes as [(typeof processes)[0]];
  const before = [...store.nodes.keys()];
  assert.is(before.length, 2);
  const down = (): Promise<never> => Promise.reject(new Error('the store is down'));
  for (const { log } of processes) Object.assign(log, { renew: down, nodes: down });
  await assert.eventually(() => [...store.nodes.values()].every(({ expiresMs }) => expiresMs < performance.now()));
  for (const { log } of processes) Object.assign(log, { nodes: MemoryDecisionLog.prototype.nodes });
  assert.equal((await one.coordinator.recover()).fenced, [], 'it could not have seen them renewing');
  for (const { log } of processes) Object.assign(log, { renew: MemoryDecisionLog.prototype.renew });
  // Who is dead is found out all the same, a lease later.
  store.nodes.set('dead', { node: 'n', startedAt: new Date(), expiresMs: -1 });
  a.prepare(gid('dead', 1));
  await assert.eventually(async () => {
    const { fenced } = await one.coordinator.recover();
    assert.equal(
      fenced.filter((each) => before.includes(each)),
      [],
    );
    return fenced.includes('dead');
  });
  assert.equal(a.ended, ['rollback dead:1']);
  assert.equal(new Set(store.nodes.keys()), new Set(before));
  for (const { coordinator } of processes) await coordinator.close();
});

test('two processes may recover at once', async () => {
  const { store, a, b, process, gid, decided } = cluster();
  for (const resource of [a, b]) {
    for (let n = 0; n < 20; n++) resource.prepare(gid('dead', n));
  }
  for (let n = 0; n < 20; n += 2) decided(gid('dead', n));
  const processes = [process(), process(), process()];
  await Promise.all(processes.map(({ coordinator }) => coordinator.recover()));
  await processes[0]!.coordinator.recover();
  for (const resource of [a, b]) {
    assert.is(resource.prepared.size, 0);
    for (const entry of resource.ended) {
      const [verb, id] = entry.split(' ') as [string, string];
      assert.is(verb, Number(id.split(':')[1]) % 2 === 0 ? 'commit' : 'rollback');
    }
  }
  assert.is(store.decisions.size, 0);
});

test('it runs by itself at start and then every few seconds, renews its lease meanwhile, and stops with close()', async () => {
  const { store, a, gid } = cluster();
  const log = new MemoryDecisionLog(store);
  let passes = 0;
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    recovery: { everyMs: 5, leaseMs: LEASE_MS, resources: [a], onPass: () => void passes++ },
  });
  a.prepare(gid('dead', 1));
  await assert.eventually(() => a.ended.length === 1 && passes > 20);
  const [node] = await log.nodes();
  assert.is(node!.isExpired, false);
  await coordinator.close();
  assert.is(store.nodes.size, 0);
  const before = passes;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.is(passes, before);
});

test('what fails is reported, and not again and again', async () => {
  const { store, a } = cluster();
  a.down = new Error('a is down');
  const errors: Error[] = [];
  let passes = 0;
  const coordinator = new TransactionCoordinator({
    decisionLog: new MemoryDecisionLog(store),
    recovery: { everyMs: 2, resources: [a], onPass: () => void passes++ },
    onError: (error) => void errors.push(error),
  });
  await assert.eventually(() => passes > 20);
  assert.equal(
    errors.map(({ message }) => message),
    ['a is down'],
  );
  await coordinator.close();
});

test('a store that a process uses is recovered without being named', async () => {
  const coordinator = new TransactionCoordinator({ decisionLog: new MemoryDecisionLog(), recovery: false });
  const memory = new MemoryStore({ name: 'm', role: 'recoverable', coordinator });
  let asked = 0;
  const list = memory.listPrepared.bind(memory);
  memory.listPrepared = () => {
    asked++;
    return list();
  };
  await coordinator.recover();
  assert.is(asked, 1);
});

test('recover() without a decision log is refused', async () => {
  const error = await assert.rejects(new TransactionCoordinator().recover());
  assert.match(error.message, 'has no decision log');
});
