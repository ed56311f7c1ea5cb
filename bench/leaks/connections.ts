// What connections and their server keep: listeners, prepared statements, sessions.
import pg from 'pg';
import { SELECT } from '../postgres/workload.ts';
import { listenersOf } from './blocks.ts';

/** So many statements a session prepares on a connection under names of its own. */
export const MOST_NAMES = 200;

export type ServerState = {
  readonly sessions: number;
  readonly idleInTransaction: number;
  readonly prepared: number;
};

export async function lookAtServer(admin: pg.Pool): Promise<ServerState> {
  const { rows } = await admin.query<ServerState>(
    `select count(*)::int as sessions,
      (count(*) filter (where state like 'idle in transaction%'))::int as "idleInTransaction",
      (select count(*)::int from pg_prepared_xacts) as prepared
    from pg_stat_activity where backend_type = 'client backend'`,
  );
  return rows[0]!;
}

/** Calls `look` with every connection, each of them taken out of the pool as for a transaction. */
export async function eachClient<T>(pool: pg.Pool, look: (client: pg.PoolClient) => Promise<T> | T): Promise<T[]> {
  const clients = await Promise.all(Array.from({ length: pool.totalCount }, () => pool.connect()));
  const answers: T[] = [];
  for (const client of clients) answers.push(await look(client));
  for (const client of clients) client.release();
  return answers;
}

/** All listeners of a connection, its protocol and its socket. */
export function listenersOfClient(client: pg.PoolClient): number {
  const { connection } = client as unknown as { connection: NodeJS.EventEmitter & { stream: NodeJS.EventEmitter } };
  return listenersOf(client) + listenersOf(connection) + listenersOf(connection.stream);
}

/** What a connection has that was used without any transaction. */
export async function usualListeners(url: string): Promise<number> {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  await pool.query(SELECT, [1]);
  const client = await pool.connect();
  const listeners = listenersOfClient(client);
  client.release();
  await pool.end();
  return listeners;
}

/** How many statements are prepared on any connection at most: under names of a session, and under others. */
export async function mostPrepared(pool: pg.Pool): Promise<{ readonly named: number; readonly others: number }> {
  const all = await eachClient(pool, async (client) => {
    const { rows } = await client.query<{ named: number; others: number }>(
      `select (count(*) filter (where automatic))::int as named, (count(*) filter (where not automatic))::int as others
      from (select name ~ '^unanimous_[0-9]+$' as automatic from pg_prepared_statements) as all_of_them`,
    );
    return rows[0]!;
  });
  return {
    named: Math.max(0, ...all.map(({ named }) => named)),
    others: Math.max(0, ...all.map(({ others }) => others)),
  };
}
