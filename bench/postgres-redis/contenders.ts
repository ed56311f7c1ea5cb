// Ways to change PostgreSQL and Redis in one transaction.
import { Redis } from 'ioredis';
import pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgDecisionLog, PgSession } from '../../datamanagers/pg/index.ts';
import { RedisSession } from '../../datamanagers/redis/index.ts';
import { UPDATE } from '../postgres/workload.ts';
import { accountKey } from '../redis/workload.ts';
import { type Way, simple } from '../throughput/slice.ts';
import { byHand } from './by-hand.ts';
import { CONNECTIONS, type Workload } from './workload.ts';

type Make = (postgres: string, redis: string) => Way<Workload>;

function byRun(work: (db: PgSession, redis: RedisSession, id: number) => Promise<unknown>): Make {
  return (connectionString, redisUrl) => {
    const coordinator = new TransactionCoordinator();
    const pool = new pg.Pool({ connectionString, max: CONNECTIONS, idleTimeoutMillis: 0 });
    const db = register(new PgSession(pool), { coordinator });
    const client = new Redis(redisUrl, { lazyConnect: true });
    const redis = register(new RedisSession(client), { coordinator });
    coordinator.configure({ decisionLog: new PgDecisionLog(db) });
    return { update: simple((id) => coordinator.run(() => work(db, redis, id))) };
  };
}

async function onBoth(db: PgSession, redis: RedisSession, id: number): Promise<void> {
  await db.query(UPDATE, [id, 1]);
  redis.set(accountKey(id), id);
}

export const makers = {
  ...byHand,
  byRun: byRun(onBoth),
  byRunAlone: byRun((db, _redis, id) => db.query(UPDATE, [id, 1])),
} as const satisfies Record<string, Make>;

export type ContenderName = keyof typeof makers;
