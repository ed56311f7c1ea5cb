// Fails today with PostgreSQL (put it below test/datamanagers/pg/): each claim of messages that go in order makes the next one slower, so that
// some thousand messages that wait are never worked off. 10,000 messages, 101 claims: mean 1181 ms, worst 4563 ms, 121 s.
import pg from 'pg';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('a long outbox', { timeoutMs: 120_000 });

test('a claim looks at the messages that others hold once, however many are due', async () => {
  const pool = new pg.Pool({ connectionString: await (await postgres()).database('claims') });
  const log = new PgDecisionLog(new PgSession(pool, { name: 'b' }), { timeoutMs: 120_000 });
  await log.open();
  await pool.query(`insert into unanimous_outbox (gid, seq, target, payload, next_at, created_at)
    select 'shop:s:1:1', n, 'function:f', 'x', now() - interval '1 second', now() - interval '1 hour' from generate_series(1, 5000) s(n)`);
  const claim = { prefix: 'shop:s:', targets: ['function:f'], inOrder: ['function:f'], limit: 100, forMs: 30_000 };
  for (let round = 0; round < 15; round++) await log.outbox.remove(await log.outbox.claim(claim));
  // What the server's processes have counted is known when they have ended.
  await log.close();
  const read = async (): Promise<number> => {
    const { rows } = await pool.query<{ n: string }>(
      `select coalesce(heap_blks_hit, 0) + coalesce(heap_blks_read, 0) + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0) as n
       from pg_statio_user_tables where relname = 'unanimous_outbox'`,
    );
    return Number(rows[0]!.n);
  };
  await assert.eventually(async () => (await read()) > 0);
  const pages = await read();
  // Fifteen claims that look at everything once take some thousand pages; each due message that looks at all that is held takes millions.
  assert.ok(pages < 100_000, `${pages} pages were read by 15 claims`);
  await pool.end();
});
