// UPDATE in PostgreSQL and SET in Redis, by hand.
import { Redis } from 'ioredis';
import pg from 'pg';
import { UPDATE } from '../postgres/workload.ts';
import { accountKey } from '../redis/workload.ts';
import { type Way, simple } from '../throughput/slice.ts';
import { CONNECTIONS, type Workload } from './workload.ts';

type Make = (postgres: string, redis: string) => Way<Workload>;

/** Commits PostgreSQL's part of a transaction, and returns what is then to be done in Redis. */
type Commit = (client: pg.PoolClient, id: number) => Promise<() => Promise<unknown>>;

function poolOf(connectionString: string): pg.Pool {
  return new pg.Pool({ connectionString, max: CONNECTIONS, idleTimeoutMillis: 0 });
}

function transactions(pool: pg.Pool, commit: Commit): Way<Workload> {
  return {
    update: simple(async (id) => {
      const client = await pool.connect();
      let after: () => Promise<unknown>;
      try {
        await client.query('BEGIN');
        await client.query(UPDATE, [id, 1]);
        after = await commit(client, id);
      } catch (error) {
        await client.query('ROLLBACK');
        throw error;
      } finally {
        client.release();
      }
      await after();
    }),
  };
}

const nothing = async (): Promise<void> => {};

/** PostgreSQL, and nothing in Redis. */
const alone: Make = (url) =>
  transactions(poolOf(url), async (client) => {
    await client.query('COMMIT');
    return nothing;
  });

/** Unsafe: where it stops between the two, Redis never learns of it. */
const unsafe: Make = (url, redisUrl) => {
  const redis = new Redis(redisUrl);
  return transactions(poolOf(url), async (client, id) => {
    await client.query('COMMIT');
    return () => redis.multi().set(accountKey(id), id).exec();
  });
};

const OUTBOX = 'create table if not exists by_hand_outbox (token varchar(64) primary key, command text not null)';
const FORGET_MS = 500;
const TOKEN_MS = 100_000;

/** What is to be done in Redis is stored with the commit, done with a token, by which a second attempt would be known, and deleted, many at once. */
const outbox: Make = (url, redisUrl) => {
  const redis = new Redis(redisUrl);
  const pool = poolOf(url);
  const ready = pool.query(OUTBOX).catch((error: Error & { code?: string }) => {
    // Somebody else creates it just now.
    if (error.code !== '23505') throw error;
  });
  let tokens = 0;
  let done: string[] = [];
  setInterval(() => {
    const all = done;
    done = [];
    if (all.length > 0) void pool.query('delete from by_hand_outbox where token = any($1)', [all]);
  }, FORGET_MS).unref();
  return transactions(pool, async (client, id) => {
    await ready;
    const token = `by-hand:${process.pid}:${++tokens}`;
    const command = JSON.stringify(['set', accountKey(id), id]);
    await client.query(`insert into by_hand_outbox values ('${token}', '${command}'); COMMIT`);
    return async () => {
      await redis.multi().set(accountKey(id), id).set(`unanimous:token:${token}`, '1', 'PX', TOKEN_MS).exec();
      done.push(token);
    };
  });
};

export const byHand = { alone, unsafe, outbox } as const satisfies Record<string, Make>;
