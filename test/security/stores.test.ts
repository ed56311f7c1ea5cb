// Protects recovery from a decision store that is full: decisions and messages by the thousand are worked off in parts, each of them once, and
// a pool that is exhausted is waited for in order, for a bounded time. UNANIMOUS_TEST_ROWS=100000 is the full size.
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import { TransactionCoordinator, outboxed, register } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { mariadb, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const ROWS = Number(process.env['UNANIMOUS_TEST_ROWS'] ?? 2_000);
const DEAD = '0'.repeat(20);

interface Store {
  readonly coordinator: TransactionCoordinator;
  readonly prefix: string;
  readonly query: (text: string) => Promise<any[]>;
  /** Rows of a query from 1 to {@link ROWS}, as `n`. */
  readonly numbers: string;
  /** What a number is cast to, to be a text. */
  readonly text: string;
  readonly concat: (...parts: string[]) => string;
  readonly close: () => Promise<void>;
}

async function coordinate(
  log: PgDecisionLog | MysqlDecisionLog,
  session: PgSession | MysqlSession,
): Promise<{ coordinator: TransactionCoordinator; prefix: string }> {
  const coordinator = new TransactionCoordinator();
  register(session as PgSession, { coordinator });
  coordinator.configure({ app: 'shop', decisionLog: log, recovery: { everyMs: 1_000_000, resources: [session] } });
  const prefix = `shop:${await log.open()}:`;
  await coordinator.recover();
  return { coordinator, prefix };
}

const stores: Record<string, () => Promise<Store>> = {
  async PostgreSQL() {
    const pool = new pgDriver.Pool({ connectionString: await (await postgres()).database('full') });
    const session = new PgSession(pool, { name: 'bank' });
    return {
      ...(await coordinate(new PgDecisionLog(session), session)),
      query: async (text) => (await pool.query(text)).rows,
      text: 'text',
      numbers: `generate_series(1, ${ROWS}) as s(n)`,
      concat: (...parts) => parts.join(' || '),
      close: () => pool.end(),
    };
  },
  async MariaDB() {
    const pool = mysqlDriver.createPool({ uri: await (await mariadb()).database('full') });
    const session = new MysqlSession(pool, { name: 'bank' });
    return {
      ...(await coordinate(new MysqlDecisionLog(session), session)),
      query: async (text) => (await pool.query<any[]>(text))[0],
      text: 'char',
      numbers: `(select seq as n from seq_1_to_${ROWS}) s`,
      concat: (...parts) => `concat(${parts.join()})`,
      close: () => pool.end(),
    };
  },
};

for (const [what, open] of Object.entries(stores)) {
  const test = suite(`a full store in ${what}`, { timeoutMs: 600_000 });
  let store: Store;
  test.before(async () => {
    store = await open();
  });
  test.after(async () => {
    await store.coordinator.close();
    await store.close();
  });
  const count = async (table: string, where = 'true'): Promise<number> =>
    Number((await store.query(`select count(*) as n from unanimous_${table} where ${where}`))[0].n);

  test('decisions that all have followed are deleted, behind as many of another application', async () => {
    const { concat, numbers, prefix, query, coordinator, text } = store;
    const others = Math.min(ROWS, 5_000);
    for (const [app, age, rows] of [
      ['other:s:', 7_200, others],
      [prefix, 3_600, ROWS],
    ] as const) {
      await query(`insert into unanimous_decision (gid, incarnation, outcome, participants, created_at)
        select ${concat(`'${app}${DEAD}:'`, `cast(n as ${text})`)}, '${DEAD}', 'C', '["bank"]', now() - interval '${age}' second from ${numbers} where n <= ${rows}`);
    }
    const startMs = performance.now();
    const heapBytes = process.memoryUsage().heapUsed;
    let passes = 0;
    let longestMs = 0;
    for (; (await count('decision', `gid like 'shop:%'`)) > 0 && passes < 300; passes++) {
      const beganMs = performance.now();
      await coordinator.recover();
      longestMs = Math.max(longestMs, performance.now() - beganMs);
    }
    assert.is(await count('decision', `gid like 'shop:%'`), 0);
    assert.is(await count('decision', `gid like 'other:%'`), others);
    say(
      `${what}: ${ROWS} decisions behind ${others} of others deleted in ${passes} passes, ${Math.round(performance.now() - startMs)} ms, the longest pass ${Math.round(longestMs)} ms, ${Math.round((process.memoryUsage().heapUsed - heapBytes) / 1e6)} MB more`,
    );
  });

  test('messages are delivered once each, in order, in passes that are bounded', async () => {
    const { concat, numbers, prefix, query, coordinator, text } = store;
    const seen: number[] = [];
    outboxed<number>('count', (payload) => void seen.push(payload), { coordinator });
    await query(`insert into unanimous_outbox (gid, seq, target, payload, next_at, created_at)
      select '${prefix}${DEAD}:1', n, 'function:count', ${concat(`'{"key":"'`, `cast(n as ${text})`, `'","payload":'`, `cast(n as ${text})`, `'}'`)}, now() - interval '1' second, now() - interval '1' hour from ${numbers}`);
    const startMs = performance.now();
    let passes = 0;
    for (; (await count('outbox')) > 0 && passes < 300; passes++) await coordinator.recover();
    assert.equal(
      seen,
      Array.from({ length: ROWS }, (_, index) => index + 1),
    );
    say(`${what}: ${ROWS} messages delivered in ${passes} passes, ${Math.round(performance.now() - startMs)} ms`);
  });
}

function say(line: string): void {
  if (process.env['UNANIMOUS_TEST_ROWS'] !== undefined) process.stdout.write(`${line}\n`);
}

const pools = suite('an exhausted pool');

pools(
  'whoever waits for a connection gets it in order, or an error in time, and nothing is left of either',
  async () => {
    const coordinator = new TransactionCoordinator();
    const pool = new pgDriver.Pool({ connectionString: await (await postgres()).database('pool'), max: 1 });
    const bank = register(new PgSession(pool, { name: 'bank', acquireTimeoutMs: 10_000 }), { coordinator });
    const order: number[] = [];
    const work = async (number: number): Promise<void> => {
      await coordinator.run(async () => {
        await bank.query('select 1');
        order.push(number);
      });
    };
    await Promise.all(Array.from({ length: 500 }, (_, number) => work(number)));
    assert.equal(
      order,
      Array.from({ length: 500 }, (_, number) => number),
    );

    const impatient = register(new PgSession(pool, { name: 'impatient', acquireTimeoutMs: 50 }), { coordinator });
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const holder = coordinator.run(async () => {
      await bank.query('select 1');
      await held;
    });
    await assert.eventually(() => pool.totalCount === 1 && pool.idleCount === 0);
    const refused = Array.from({ length: 100 }, () =>
      assert.rejects(
        coordinator.run(() => impatient.query('select 1'), { attempts: 1 }),
        { code: 'ERR_TXN_ACQUIRE_TIMEOUT' },
      ),
    );
    await Promise.all(refused);
    assert.is(coordinator.inspect().transactions.length, 1);
    release();
    await holder;
    await coordinator.run(() => impatient.query('select 1'));
    await assert.eventually(() => pool.idleCount === pool.totalCount && pool.waitingCount === 0);
    assert.equal(coordinator.inspect().transactions, []);
    await pool.end();
  },
);
