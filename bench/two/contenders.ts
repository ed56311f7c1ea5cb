// Ways to change two databases in one transaction.
import mysql from 'mysql2/promise';
import pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { MysqlSession } from '../../datamanagers/mysql/index.ts';
import { PgDecisionLog, PgSession } from '../../datamanagers/pg/index.ts';
import { UPDATE as MARIADB_UPDATE } from '../mariadb/workload.ts';
import { UPDATE as POSTGRES_UPDATE } from '../postgres/workload.ts';
import { type Way, simple } from '../throughput/slice.ts';
import { type Branch, DecisionsByHand, databaseOf } from './databases.ts';
import { CONNECTIONS, type Workload, isMariadb } from './workload.ts';

type Make = (a: string, b: string) => Way<Workload>;

/** How two transactions are ended, and which of them are prepared for that. */
type Ending = {
  readonly prepares: readonly [a: boolean, b: boolean];
  readonly end: (a: Branch, b: Branch, gid: string, decisions: DecisionsByHand) => Promise<unknown>;
};

let transactions = 0;

async function onBoth(
  a: Branch,
  b: Branch,
  id: number,
  { prepares, end }: Ending,
  decisions: DecisionsByHand,
): Promise<void> {
  const gid = `by-hand:${process.pid}:${++transactions}`;
  await a.begin(prepares[0] ? gid : undefined);
  await a.update(id);
  await b.begin(prepares[1] ? gid : undefined);
  await b.update(id);
  await end(a, b, gid, decisions);
}

function byHand(ending: Ending): Make {
  return (urlA, urlB) => {
    const openA = databaseOf(urlA);
    const openB = databaseOf(urlB);
    const decisions = new DecisionsByHand(urlA);
    return {
      update: simple(async (id) => {
        await decisions.ready();
        const a = await openA();
        const b = await openB();
        let failed = true;
        try {
          await onBoth(a, b, id, ending, decisions);
          failed = false;
        } finally {
          a.release(failed);
          b.release(failed);
        }
      }),
    };
  };
}

/** Unsafe: where it stops between the two, one half is stored. */
const sequential: Ending = {
  prepares: [false, false],
  end: async (a, b) => {
    await a.commit();
    await b.commit();
  },
};

const serial: Ending = {
  prepares: [true, true],
  end: async (a, b) => {
    await a.prepare();
    await b.prepare();
    await a.commitPrepared();
    await b.commitPrepared();
  },
};

const atOnce: Ending = {
  prepares: [true, true],
  end: async (a, b) => {
    await Promise.all([a.prepare(), b.prepare()]);
    await Promise.all([a.commitPrepared(), b.commitPrepared()]);
  },
};

/** The commit of the first one is the decision. */
const lastResource: Ending = {
  prepares: [false, true],
  end: async (a, b) => {
    await b.prepare();
    await a.commit();
    await b.commitPrepared();
  },
};

/** The commit of the first one is the decision, which is written down with it. */
const lastResourceDecided: Ending = {
  prepares: [false, true],
  end: async (a, b, gid, decisions) => {
    await b.prepare();
    await a.commitDecided(gid);
    await b.commitPrepared();
    decisions.followed(gid);
  },
};

/** The decision is written down apart, when both have prepared. */
const fullDecided: Ending = {
  prepares: [true, true],
  end: async (a, b, gid, decisions) => {
    await Promise.all([a.prepare(), b.prepare()]);
    await decisions.decide(gid);
    await Promise.all([a.commitPrepared(), b.commitPrepared()]);
    decisions.followed(gid);
  },
};

type Update = (id: number) => Promise<unknown>;

/** A session of a database, and what is done with it. */
function open(
  url: string,
  name: string,
  coordinator: TransactionCoordinator,
): { session: PgSession | MysqlSession; update: Update } {
  if (isMariadb(url)) {
    const pool = mysql.createPool({ uri: url, connectionLimit: CONNECTIONS });
    const session = register(new MysqlSession(pool, { name }), { coordinator });
    return { session, update: (id) => session.query(MARIADB_UPDATE, [1, id]) };
  }
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS, idleTimeoutMillis: 0 });
  const session = register(new PgSession(pool, { name }), { coordinator });
  return { session, update: (id) => session.query(POSTGRES_UPDATE, [id, 1]) };
}

/** `isApart`: decisions are kept by a session of their own, which changes nothing else. */
function byRun(isApart: boolean): Make {
  return (urlA, urlB) => {
    const coordinator = new TransactionCoordinator();
    const a = open(urlA, 'a', coordinator);
    const b = open(urlB, 'b', coordinator);
    const store = isApart ? open(urlA, 'store', coordinator) : a;
    coordinator.configure({ decisionLog: new PgDecisionLog(store.session as PgSession) });
    return {
      update: simple((id) =>
        coordinator.run(async () => {
          await a.update(id);
          await b.update(id);
        }),
      ),
    };
  };
}

export const makers = {
  sequential: byHand(sequential),
  serial: byHand(serial),
  atOnce: byHand(atOnce),
  lastResource: byHand(lastResource),
  lastResourceDecided: byHand(lastResourceDecided),
  fullDecided: byHand(fullDecided),
  byRunLastResource: byRun(false),
  byRunFull: byRun(true),
} as const satisfies Record<string, Make>;

export type ContenderName = keyof typeof makers;
