// The same mix of transactions by hand and by run(): most commit, some fail, come too late, lose their connection, or get none.
import pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgSession } from '../../datamanagers/pg/index.ts';
import type { Kind } from '../leaks/blocks.ts';
import { SELECT, UPDATE } from '../postgres/workload.ts';
import { randomId } from '../throughput/slice.ts';

/** Fewer than the clients, who wait for one another. */
const CONNECTIONS = 16;
/** How long a transaction may take that is too late. */
const LATE_MS = 20;
/** How long to wait for a connection that somebody else has. */
const WAIT_MS = 20;

const DIVIDE = 'select 1 / $1::int';
const SLEEP = 'select pg_sleep(5)';
const KILL = 'select pg_terminate_backend(pg_backend_pid())';

/** What the kinds are called, and how many of a hundred there are. */
const shares = { commits: 80, fails: 10, 'too late': 5, 'connection lost': 3, 'no connection': 2 } as const;

type Name = keyof typeof shares;

export type LoadWay = {
  readonly pool: pg.Pool;
  readonly pools: readonly pg.Pool[];
  readonly kinds: readonly Kind[];
};

/** Whose time counts. */
export const COMMITS: Name = 'commits';

function kindsOf(all: Record<Name, Pick<Kind, 'ends' | 'one'>>): readonly Kind[] {
  return (Object.keys(shares) as Name[]).map((name) => {
    const { ends, one } = all[name];
    return { name, share: shares[name], ends, one };
  });
}

function poolOf(connectionString: string, options: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ connectionString, idleTimeoutMillis: 0, ...options });
  pool.on('error', () => {});
  return pool;
}

function byRun(url: string): LoadWay {
  const coordinator = new TransactionCoordinator({ onError: () => {} });
  const pool = poolOf(url, { max: CONNECTIONS });
  const scarce = poolOf(url, { max: 1 });
  const db = register(new PgSession(pool, { name: 'db' }), { coordinator });
  const few = register(new PgSession(scarce, { name: 'few', acquireTimeoutMs: WAIT_MS }), { coordinator });
  const once = { attempts: 1 };
  const kinds = kindsOf({
    commits: {
      ends: ['done'],
      one: () =>
        coordinator.run(async () => {
          await db.query(SELECT, [randomId()]);
          await db.query(UPDATE, [randomId(), 1]);
        }),
    },
    fails: {
      ends: ['22012'],
      one: () =>
        coordinator.run(async () => {
          await db.query(UPDATE, [randomId(), 1]);
          await db.query(DIVIDE, [0]);
        }, once),
    },
    'too late': {
      ends: ['TransactionTimeoutError'],
      one: () => coordinator.run(() => db.query(SLEEP), { ...once, timeoutMs: LATE_MS }),
    },
    'connection lost': {
      ends: ['57P01', 'ConnectionLostError'],
      one: () =>
        coordinator.run(async () => {
          await db.query(UPDATE, [randomId(), 1]);
          await db.query(KILL);
        }, once),
    },
    'no connection': {
      ends: ['AcquireTimeoutError'],
      one: () =>
        coordinator.run(async () => {
          await few.query(SELECT, [randomId()]);
          await coordinator.run(() => few.query(SELECT, [randomId()]), { ...once, propagation: 'requires-new' });
        }, once),
    },
  });
  return { pool, pools: [pool, scarce], kinds };
}

async function inTransaction(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> {
  const client = await pool.connect();
  let broken = false;
  try {
    await client.query('BEGIN');
    await work(client);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => (broken = true));
    throw error;
  } finally {
    client.release(broken);
  }
}

const NO_CONNECTION = ['timeout exceeded when trying to connect', 'Connection terminated due to connection timeout'];

/** The work of a transaction that has `ms` from now on, also for its way to a connection. */
async function late(pool: pg.Pool, ms: number): Promise<void> {
  const deadline = performance.now() + ms;
  await inTransaction(pool, async (client) => {
    // Zero would be no limit.
    const left = Math.max(1, Math.round(deadline - performance.now()));
    await client.query(`set local statement_timeout = ${left}`);
    await client.query(SLEEP);
  });
}

function byHand(url: string): LoadWay {
  const pool = poolOf(url, { max: CONNECTIONS });
  const scarce = poolOf(url, { max: 1, connectionTimeoutMillis: WAIT_MS });
  // The loss of a connection is told to whoever has it by a rejection, too.
  for (const each of [pool, scarce]) each.on('connect', (client) => client.on('error', () => {}));
  const kinds = kindsOf({
    commits: {
      ends: ['done'],
      one: () =>
        inTransaction(pool, async (client) => {
          await client.query(SELECT, [randomId()]);
          await client.query(UPDATE, [randomId(), 1]);
        }),
    },
    fails: {
      ends: ['22012'],
      one: () =>
        inTransaction(pool, async (client) => {
          await client.query(UPDATE, [randomId(), 1]);
          await client.query(DIVIDE, [0]);
        }),
    },
    'too late': { ends: ['57014'], one: () => late(pool, LATE_MS) },
    'connection lost': {
      ends: ['57P01', 'Connection terminated unexpectedly'],
      one: () =>
        inTransaction(pool, async (client) => {
          await client.query(UPDATE, [randomId(), 1]);
          await client.query(KILL);
        }),
    },
    'no connection': {
      ends: NO_CONNECTION,
      one: () =>
        inTransaction(scarce, async (client) => {
          await client.query(SELECT, [randomId()]);
          await inTransaction(scarce, (inner) => inner.query(SELECT, [randomId()]));
        }),
    },
  });
  return { pool, pools: [pool, scarce], kinds };
}

export const ways = { byHand, byRun } as const satisfies Record<string, (url: string) => LoadWay>;
export type WayName = keyof typeof ways;
