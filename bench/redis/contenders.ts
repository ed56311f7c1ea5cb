// All ways to do the same transaction on Redis.
import { type ChainableCommander, Redis } from 'ioredis';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { RedisSession, type RedisSessionOptions } from '../../datamanagers/redis/index.ts';
import { type Way, simple } from '../throughput/slice.ts';
import { CONNECTIONS, type Workload, accountKey, entryKey } from './workload.ts';

type Make = (url: string) => Way<Workload>;

/** What is added to a transaction before it is executed. */
type Add = (multi: ChainableCommander) => ChainableCommander;

const nothing: Add = (multi) => multi;

let tokens = 0;

/** What RedisSession writes with each transaction, by which it can be seen after a lost reply whether it was applied. */
const token: Add = (multi) => multi.set(`unanimous:token:by-hand:${process.pid}:${++tokens}:redis`, '1', 'PX', 100_000);

/** Whether it was executed; false where something that is watched was changed. @throws the error of a command. */
async function exec(multi: ChainableCommander): Promise<boolean> {
  const replies = await multi.exec();
  for (const [error] of replies ?? []) if (error !== null) throw error;
  return replies !== null;
}

/** WATCH and what comes behind it belong to a connection, so that everybody has one to himself. */
function watchByHand(
  url: string,
  add: Add,
  read: (client: Redis, key: string) => Promise<string | null>,
): Way<'watch'> {
  const idle: Redis[] = [];
  return {
    watch: simple(async (id) => {
      const client = idle.pop() ?? new Redis(url);
      const key = accountKey(id);
      for (let done = false; !done;) {
        const value = await read(client, key);
        done = await exec(add(client.multi().set(key, Number(value) + 1)));
      }
      idle.push(client);
    }),
  };
}

async function watchThenGet(client: Redis, key: string): Promise<string | null> {
  await client.watch(key);
  return client.get(key);
}

async function watchAndGet(client: Redis, key: string): Promise<string | null> {
  const [, value] = await Promise.all([client.watch(key), client.get(key)]);
  return value;
}

function blindByHand(url: string, add: Add): Way<'blind'> {
  const client = new Redis(url);
  return {
    blind: simple((id) => exec(add(client.multi().set(accountKey(id), id).set(entryKey(id), id)))),
  };
}

const handWritten: Make = (url) => ({ ...watchByHand(url, nothing, watchThenGet), ...blindByHand(url, nothing) });
const handWrittenToken: Make = (url) => ({ ...watchByHand(url, token, watchThenGet), ...blindByHand(url, token) });
const inOneFlight: Make = (url) => watchByHand(url, nothing, watchAndGet);

function session(
  url: string,
  options: RedisSessionOptions | undefined,
): { transaction: TransactionCoordinator; db: RedisSession; watch: (id: number) => Promise<void> } {
  const transaction = new TransactionCoordinator();
  const client = new Redis(url, { lazyConnect: true });
  const redis = new RedisSession(client, { maxWatching: CONNECTIONS, ...options });
  const db = register(redis, { coordinator: transaction });
  return {
    transaction,
    db,
    watch: async (id) => {
      const key = accountKey(id);
      await db.watch(key);
      const value = await db.get(key);
      db.set(key, Number(value) + 1);
    },
  };
}

function blind(db: RedisSession, id: number): void {
  db.set(accountKey(id), id);
  db.set(entryKey(id), id);
}

function byRun(options?: RedisSessionOptions): Make {
  return (url) => {
    const { transaction, db, watch } = session(url, options);
    return {
      watch: simple((id) => transaction.run(() => watch(id))),
      blind: simple((id) => transaction.run(() => blind(db, id))),
    };
  };
}

const byBegin: Make = (url) => {
  const { transaction, db, watch } = session(url, undefined);
  return {
    watch: (loop) =>
      transaction.context(() =>
        loop(async (id) => {
          await transaction.begin();
          await watch(id);
          await transaction.commit();
        }),
      ),
    blind: (loop) =>
      transaction.context(() =>
        loop(async (id) => {
          await transaction.begin();
          blind(db, id);
          await transaction.commit();
        }),
      ),
  };
};

export const makers = {
  handWritten,
  handWrittenToken,
  inOneFlight,
  byRun: byRun(),
  byRunNoToken: byRun({ tokenTtlMs: false }),
  byBegin,
} as const satisfies Record<string, Make>;

export type ContenderName = keyof typeof makers;
