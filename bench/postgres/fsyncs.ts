// How often a PostgreSQL has flushed its log for a client.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** The first version that tells by whom. */
const BY_BACKEND = 18_0000;
const PATIENCE_MS = 5_000;

/** Waits until nobody else is connected: a session tells the statistics of what it did at its end at the latest. */
export async function fsyncsOfPostgres(url: string): Promise<number> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await othersGone(client);
    const { rows } = await client.query<{ server_version_num: string }>('show server_version_num');
    const counted =
      Number(rows[0]!.server_version_num) >= BY_BACKEND
        ? `select sum(fsyncs)::int as fsyncs from pg_stat_io
           where object = 'wal' and context = 'normal' and backend_type = 'client backend'`
        : 'select wal_sync::int as fsyncs from pg_stat_wal';
    return (await client.query<{ fsyncs: number | null }>(counted)).rows[0]!.fsyncs ?? 0;
  } finally {
    await client.end();
  }
}

async function othersGone(client: pg.Client): Promise<void> {
  const others = `select 1 from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`;
  const deadline = performance.now() + PATIENCE_MS;
  while ((await client.query(others)).rows.length > 0) {
    if (performance.now() > deadline) throw new Error('fsyncs are counted when nobody is connected, but somebody is');
    await sleep(20);
  }
}
