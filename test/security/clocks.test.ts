// Protects from clocks that jump by an hour, forwards and backwards: that of this machine, which nothing depends on but the age of staged files,
// and that of the decision store, by which leases and messages are due. No jump makes half a transaction, or leaves something for ever.
import { writeFile } from 'node:fs/promises';
import pgDriver from 'pg';
import {
  MemoryDecisionLog,
  MemoryDecisionStore,
  type TransactionCoordinator as Coordinator,
  TransactionCoordinator,
  outboxed,
  register,
} from 'unanimous';
import { FileSession } from 'unanimous/files';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { Folder } from '../datamanagers/files/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const HOUR_MS = 3_600_000;
const RealDate = Date;

/** Moves the clock of this process: what `performance.now()` and timers go by stays. */
function jump(byMs: number): void {
  const Moved = class extends RealDate {
    constructor(...args: [] | [number]) {
      if (args.length === 0) super(RealDate.now() + byMs);
      else super(...args);
    }
    static override now(): number {
      return RealDate.now() + byMs;
    }
  };
  globalThis.Date = Moved as DateConstructor;
}

const test = suite('clocks that jump');
test.after.each(() => void (globalThis.Date = RealDate));

for (const byMs of [HOUR_MS, -HOUR_MS]) {
  const how = byMs > 0 ? 'forwards' : 'backwards';

  test(`a jump of this machine's clock ${how} ends no transaction before its time, fences nobody and delays no message`, async () => {
    const store = new MemoryDecisionStore();
    const warned: string[] = [];
    const process = (): TransactionCoordinator =>
      new TransactionCoordinator({
        app: 'shop',
        decisionLog: new MemoryDecisionLog(store),
        recovery: { everyMs: 1_000_000, leaseMs: 60_000 },
        watch: { longMs: 60_000, idleMs: 60_000, onWarning: ({ kind }) => warned.push(kind) },
      });
    const [one, other] = [process(), process()];
    const called: string[] = [];
    const failing = { now: true };
    const call = outboxed<string>(
      'clocks',
      (payload) => {
        if (failing.now) throw new Error('not yet');
        called.push(payload);
      },
      { coordinator: one },
    );
    await other.recover();
    const txn = await one.run(
      async (current) => {
        jump(byMs);
        const report = await other.recover();
        assert.equal(report.fenced, []);
        await new Promise((resolve) => setTimeout(resolve, 20));
        assert.is(current.status, 'active');
        assert.ok(one.inspect().transactions[0]!.ageMs < 30_000);
        return current;
      },
      { timeoutMs: 30_000, attempts: 1 },
    );
    assert.is(txn.status, 'committed');
    assert.equal(warned, []);
    failing.now = false;
    await one.run(() => call('after the jump'));
    assert.equal(called, ['after the jump']);
    await Promise.all([one.close(), other.close()]);
  });

  test(`a jump of this machine's clock ${how} removes no staged file of a living transaction of this process`, async () => {
    const folder = await Folder.open();
    const coordinator = new TransactionCoordinator();
    const files = register(new FileSession({ root: folder.path }), { coordinator });
    const dead = `.shop+-+${'0'.repeat(20)}+1+1+dead.unanimous-staged`;
    await writeFile(folder.join(dead), 'left');
    await coordinator.run(async () => {
      await files.writeFile('alive', 'x');
      jump(byMs + Math.sign(byMs) * 1_000);
      const removed = await files.cleanUp({ isCommitted: () => false });
      // After a jump backwards it stays until the hour is over, and no longer.
      assert.equal(
        removed.map(({ path }) => path),
        byMs > 0 ? [folder.join(dead)] : [],
      );
      jump(HOUR_MS + 1_000);
      await files.cleanUp({ isCommitted: () => false });
    });
    assert.equal(await folder.content(), { alive: 'x' });
    await folder.remove();
  });
}

const server = await postgres();
const urls = await Promise.all(['bank', 'audit'].map((name) => server.database(name)));
const admin = new pgDriver.Pool({ connectionString: urls[0] });
const second = new pgDriver.Pool({ connectionString: urls[1] });
for (const each of [admin, second]) await each.query('create table moves (id int)');
const opened: { coordinator: Coordinator; pools: pgDriver.Pool[] }[] = [];

/** A process of the application over both databases. */
function start() {
  const coordinator = new TransactionCoordinator();
  const pools = urls.map((connectionString) => new pgDriver.Pool({ connectionString }));
  const [bank, audit] = ['bank', 'audit'].map((name, index) =>
    register(new PgSession(pools[index]!, { name }), { coordinator }),
  );
  const reported: string[] = [];
  coordinator.configure({
    app: 'shop',
    decisionLog: new PgDecisionLog(bank!),
    onError: ({ name }) => reported.push(name),
    recovery: { everyMs: 1_000_000, leaseMs: 600_000, resources: [bank!, audit!] },
  });
  opened.push({ coordinator, pools });
  const write = (id: number): Promise<unknown> =>
    Promise.all([bank!, audit!].map((each) => each.query('insert into moves values ($1)', [id])));
  return { coordinator, write, reported };
}

const remote = suite("the decision store's clock");
remote.after(async () => {
  for (const { coordinator, pools } of opened) {
    await coordinator.close();
    await Promise.all(pools.map((pool) => pool.end()));
  }
  await Promise.all([admin.end(), second.end()]);
});

/** As if the clock of the store had jumped: every lease is that much nearer to its end, or farther. */
async function jumpStore(by: 'forwards' | 'backwards'): Promise<void> {
  const sign = by === 'forwards' ? '-' : '+';
  await admin.query(`update unanimous_lease set expires_at = expires_at ${sign} interval '1 hour'`);
}

async function moves(id: number): Promise<number[]> {
  return Promise.all(
    [admin, second].map(async (pool) => (await pool.query('select id from moves where id = $1', [id])).rowCount ?? 0),
  );
}

remote(
  'a jump forwards takes living processes for dead: what they had open is tried again under another identity, whole',
  async () => {
    const [one, other] = [start(), start()];
    await other.coordinator.recover();
    let attempts = 0;
    await one.coordinator.run(async () => {
      attempts++;
      await one.write(1);
      if (attempts > 1) return;
      await jumpStore('forwards');
      const { fenced } = await other.coordinator.recover();
      assert.is(fenced.length, 1);
    });
    assert.is(attempts, 2);
    assert.equal(await moves(1), [1, 1]);
    assert.equal(one.reported, ['FencedError']);
    const { rows } = await admin.query(
      `select gid from pg_prepared_xacts where gid like 'shop:%' and database in (select current_database())`,
    );
    assert.equal(rows, []);
  },
);

remote('a jump backwards lets a dead process be waited for until its lease has run out, and no longer', async () => {
  const { coordinator } = start();
  await coordinator.recover();
  const dead = `${'0'.repeat(19)}d`;
  await admin.query(`insert into unanimous_node (incarnation, node) values ('${dead}', 'web9')`);
  await admin.query(
    `insert into unanimous_lease (incarnation, expires_at) values ('${dead}', now() - interval '1 second')`,
  );
  await jumpStore('backwards');
  assert.equal((await coordinator.recover()).fenced, []);
  await jumpStore('forwards');
  assert.ok((await coordinator.recover()).fenced.includes(dead));
});

remote('a renewal of a lease makes good what a jump has done to it', async () => {
  const log = new PgDecisionLog(new PgSession(admin, { name: 'bank' }));
  await log.open();
  await log.register('abc', 'web1', 60_000);
  await jumpStore('backwards');
  assert.is(await log.renew('abc', 60_000), true);
  const { rows } = await admin.query(
    `select expires_at < now() + interval '2 minutes' as is_near from unanimous_lease where incarnation = 'abc'`,
  );
  assert.equal(rows, [{ is_near: true }]);
  await log.fence('abc');
  await log.close();
});
