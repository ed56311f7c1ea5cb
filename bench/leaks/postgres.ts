// Looks for what transactions leave behind here and at a PostgreSQL: commits, failures, timeouts, connections that die or are missing.
import { getEventListeners } from 'node:events';
import pg from 'pg';
import { type Transaction, TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgDecisionLog, PgSession } from '../../datamanagers/pg/index.ts';
import { SELECT, UPDATE } from '../postgres/workload.ts';
import { serve } from '../serve.ts';
import { randomId } from '../throughput/slice.ts';
import {
  type Kind,
  type Track,
  activeResources,
  eventually,
  listenersOf,
  resourcesAsBefore,
  runBlocks,
} from './blocks.ts';
import {
  MOST_NAMES,
  eachClient,
  listenersOfClient,
  lookAtServer,
  mostPrepared,
  usualListeners,
} from './connections.ts';
import { type Finding, type LeakAnswer, type LeakRequest, atMost, exactly } from './report.ts';

const [url, otherUrl] = process.argv.slice(2) as [string, string];

/** Fewer than the clients, who wait for one another. */
const CONNECTIONS = 12;
/** More than a connection has names for. */
const TEXTS = 400;
const FAR_MS = 60_000;
/** So many connections the decision log and recovery may have beside the pools. */
const PRIVATE_CONNECTIONS = 8;

const coordinator = new TransactionCoordinator({ onError: () => {} });
const shared = new AbortController();

/** Connections, and the session over them. */
class Database {
  readonly pool: pg.Pool;
  readonly session: PgSession;

  constructor(name: string, connectionString: string, max: number, acquireTimeoutMs?: number) {
    this.pool = new pg.Pool({ connectionString, max, idleTimeoutMillis: 0 });
    // An idle connection that dies is the pool's affair.
    this.pool.on('error', () => {});
    this.session = register(new PgSession(this.pool, { name, acquireTimeoutMs }), { coordinator });
  }
}

type Databases = {
  /** Whose connections live as long as the process. */
  readonly lasting: Database;
  /** A second one, for transactions over both. */
  readonly second: Database;
  /** Whose connections are killed, or given up with a statement under way; not the database of `lasting`, whose locks it would wait for. */
  readonly mortal: Database;
  /** With a single connection, that others wait for in vain. */
  readonly scarce: Database;
};

function open(): Databases {
  return {
    lasting: new Database('lasting', url, CONNECTIONS),
    second: new Database('second', otherUrl, CONNECTIONS),
    mortal: new Database('mortal', otherUrl, CONNECTIONS),
    scarce: new Database('scarce', url, 1, 3),
  };
}

function kindsOf({ lasting, second, mortal, scarce }: Databases, admin: pg.Pool): readonly Kind[] {
  const db = lasting.session;
  const run =
    (work: (index: number, txn: Transaction) => Promise<unknown>): Kind['one'] =>
    (track, index) =>
      coordinator.run((txn) => {
        track(txn);
        return work(index, txn);
      });
  const once = { attempts: 1 };

  const transfer = async (): Promise<void> => {
    await db.query(SELECT, [randomId()]);
    await db.query(UPDATE, [randomId(), 1]);
  };
  const begun = (track: Track, index: number): Promise<void> =>
    coordinator.context(async () => {
      const txn = await coordinator.begin({ timeoutMs: FAR_MS, signal: shared.signal });
      track(txn);
      txn.addAfterCommitHook(() => {});
      await db.query(UPDATE, [randomId(), 1]);
      const savepoint = await txn.savepoint();
      await db.query(UPDATE, [randomId(), 1]);
      if (index % 2 === 0) await savepoint.rollback();
      await txn.commit();
    });
  const kill = async (session: PgSession): Promise<void> => {
    const { rows } = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
    await admin.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
  };
  const late = (options: object): Kind['one'] => {
    return (track) =>
      coordinator.run((txn) => {
        track(txn);
        return mortal.session.query('select pg_sleep(5)');
      }, options);
  };

  return [
    { name: 'run, SELECT and UPDATE', share: 42, ends: ['done'], one: run(transfer) },
    { name: 'begin, savepoint, commit', share: 8, ends: ['done'], one: begun },
    { name: 'run, SELECT', share: 10, ends: ['done'], one: run(() => db.query(SELECT, [randomId()])) },
    {
      name: `some of ${TEXTS} texts with parameters`,
      share: 8,
      ends: ['done'],
      one: run(async (index) => {
        for (let time = 0; time < 5; time++) {
          const text = Math.floor(Math.random() * TEXTS);
          await db.query(`select $1::int + ${text} as sum`, [index]);
        }
      }),
    },
    {
      name: 'texts that never come again',
      share: 6,
      ends: ['done'],
      one: run(async (index) => {
        await db.query(`select balance + ${index} from accounts where id = ${randomId()}`);
        await db.query(`update accounts set balance = ${index} where id = ${randomId()}`);
      }),
    },
    {
      name: 'two databases',
      share: 6,
      ends: ['done'],
      one: run(async () => {
        await db.query(UPDATE, [randomId(), 1]);
        await second.session.query(UPDATE, [randomId(), 1]);
      }),
    },
    {
      name: 'a statement fails',
      share: 5,
      ends: ['22012'],
      one: run(async () => {
        await db.query(UPDATE, [randomId(), 1]);
        await db.query('select 1 / $1::int', [0]);
      }),
    },
    {
      name: 'a statement without a meaning',
      share: 2,
      ends: ['42703'],
      one: run(() => db.query('select $1 + a', [1])),
    },
    {
      name: 'a nested run fails',
      share: 2,
      ends: ['done'],
      one: run(async () => {
        await db.query(UPDATE, [randomId(), 1]);
        await coordinator.run(() => db.query('select 1 / $1::int', [0]), { propagation: 'nested' }).catch(() => {});
      }),
    },
    {
      name: 'one of two databases fails',
      share: 1,
      ends: ['22012'],
      one: run(async () => {
        await db.query(UPDATE, [randomId(), 1]);
        await second.session.query('select 1 / $1::int', [0]);
      }),
    },
    { name: 'timeout', share: 4, ends: ['TransactionTimeoutError'], one: late({ ...once, timeoutMs: 8 }) },
    {
      name: 'signal',
      share: 1,
      ends: ['DoomedTransaction'],
      one: (track, index) => late({ ...once, signal: AbortSignal.timeout(8) })(track, index),
    },
    {
      name: 'killed at work',
      share: 1,
      ends: ['57P01', 'ConnectionLostError'],
      one: (track) =>
        coordinator.run(async (txn) => {
          track(txn);
          await mortal.session.query(UPDATE, [randomId(), 1]);
          await mortal.session.query('select pg_terminate_backend(pg_backend_pid())');
        }, once),
    },
    {
      name: 'killed before the commit',
      share: 1,
      ends: ['57P01', 'ConnectionLostError'],
      one: (track) =>
        coordinator.run(async (txn) => {
          track(txn);
          await mortal.session.query(UPDATE, [randomId(), 1]);
          await kill(mortal.session);
        }, once),
    },
    {
      name: 'two databases, one killed before the commit, tried again',
      share: 1,
      ends: ['done'],
      one: run(async (_index, txn) => {
        await db.query(UPDATE, [randomId(), 1]);
        await mortal.session.query(UPDATE, [randomId(), 1]);
        if (txn.attempt < 2) await kill(mortal.session);
      }),
    },
    {
      // The inner one waits for the connection that the outer one has; so does every other that comes meanwhile.
      name: 'no connection in time',
      share: 2,
      ends: ['AcquireTimeoutError'],
      one: (track) =>
        coordinator.run(async (txn) => {
          track(txn);
          await scarce.session.query(SELECT, [randomId()]);
          await coordinator.run(
            (inner) => {
              track(inner);
              return scarce.session.query(SELECT, [randomId()]);
            },
            { ...once, propagation: 'requires-new' },
          );
        }, once),
    },
  ];
}

/** The most that was seen behind any block. */
class Most {
  readonly seen: Record<string, number> = {};

  note(title: string, count: number): void {
    this.seen[title] = Math.max(this.seen[title] ?? 0, count);
  }
}

/** Waits for what is on its way, then notes what is left. */
async function settle(databases: readonly Database[], admin: pg.Pool, most: Most): Promise<void> {
  let server = await lookAtServer(admin);
  const count = (of: (pool: pg.Pool) => number): number => databases.reduce((sum, { pool }) => sum + of(pool), 0);
  const taken = (): number => count(({ totalCount, idleCount }) => totalCount - idleCount);
  const waiting = (): number => count(({ waitingCount }) => waitingCount);
  // The administrator's is one more.
  const apart = (): number =>
    Math.max(0, server.sessions - count(({ totalCount }) => totalCount) - 1 - PRIVATE_CONNECTIONS);
  await eventually(
    async () => (server = await lookAtServer(admin)),
    () => [taken(), waiting(), apart(), server.idleInTransaction, server.prepared].every((each) => each === 0),
  );
  most.note('connections that the pools miss (total but not idle)', taken());
  most.note('requests that wait for a connection', waiting());
  most.note(`sessions at the server beyond those of the pools and ${PRIVATE_CONNECTIONS} more`, apart());
  most.note('sessions idle in transaction', server.idleInTransaction);
  most.note('prepared transactions', server.prepared);
}

async function connectionFindings(databases: readonly Database[], lasting: Database): Promise<Finding[]> {
  const listeners = (await Promise.all(databases.map(({ pool }) => eachClient(pool, listenersOfClient)))).flat();
  const { named, others } = await mostPrepared(lasting.pool);
  return [
    exactly(
      `listeners of a connection (most of ${listeners.length})`,
      Math.max(...listeners),
      await usualListeners(url),
    ),
    atMost('statements prepared on a connection under automatic names', named, MOST_NAMES),
    atMost('other statements prepared on a connection', others, 1),
  ];
}

/** Those of which nobody needs to know any more are deleted a while later. */
async function decisionsLeft(admin: pg.Pool): Promise<number> {
  let left = 0;
  await eventually(
    async () => {
      const { rows } = await admin.query<{ left: number }>('select count(*)::int as left from unanimous_decision');
      left = rows[0]!.left;
    },
    () => left === 0,
  );
  return left;
}

async function look(request: LeakRequest): Promise<LeakAnswer> {
  const resources = activeResources();
  const listeners = listenersOf(process);
  const admin = new pg.Pool({ connectionString: url, max: 1, idleTimeoutMillis: 0 });
  const byName = open();
  const databases = Object.values(byName);
  coordinator.configure({ decisionLog: new PgDecisionLog(byName.lasting.session) });
  const most = new Most();
  const { findings, ...rest } = await runBlocks(request, kindsOf(byName, admin), () => settle(databases, admin, most));
  const connections = await connectionFindings(databases, byName.lasting);
  const decisions = await decisionsLeft(admin);
  await coordinator.close();
  await Promise.all(databases.map(({ pool }) => pool.end()));
  await admin.end();
  return {
    ...request,
    ...rest,
    findings: [
      ...findings,
      ...Object.entries(most.seen).map(([title, count]) => exactly(title, count, 0)),
      ...connections,
      exactly('decisions that are still stored', decisions, 0),
      exactly('listeners on a signal that lives on', getEventListeners(shared.signal, 'abort').length, 0),
      exactly('listeners on the process', listenersOf(process), listeners),
      await resourcesAsBefore(resources),
    ],
  };
}

serve({ look });
