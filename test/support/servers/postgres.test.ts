import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import pg from 'pg';
import { postgres, startPostgres } from '../servers.ts';
import { assert, suite } from '../suite.ts';
import { isAlive, owner } from './owner.ts';

const test = suite('servers: PostgreSQL', { timeoutMs: 60_000 });
const server = await postgres();

async function query(url: string, text: string): Promise<any[]> {
  const client = new pg.Client(url);
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

test('each database is empty, and of its own', async () => {
  const [first, second] = await Promise.all([server.database(), server.database()]);
  await query(first, 'CREATE TABLE t (i int)');
  await assert.rejects(query(second, 'SELECT * FROM t'), { code: '42P01' });
});

test('a private server prepares transactions that survive SIGKILL', async () => {
  const own = await startPostgres({ settings: { max_prepared_transactions: 7 } });
  const url = await own.database('kill');
  await query(url, 'CREATE TABLE t (i int)');
  await query(url, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'x'");
  const { pid, port } = own;
  await own.kill('SIGKILL');
  await assert.rejects(query(url, 'SELECT 1'));
  await own.restart();
  assert.is(own.port, port);
  assert.is.not(own.pid, pid);
  await query(url, "COMMIT PREPARED 'x'");
  assert.equal(await query(url, 'SELECT * FROM t'), [{ i: 1 }]);
  assert.equal(await query(url, 'SHOW max_prepared_transactions'), [{ max_prepared_transactions: '7' }]);
  await own.stop();
  assert.not.ok(existsSync(dirname(own.dataDir)));
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const) {
  test(`${signal} of its owner leaves neither a server nor a folder`, async () => {
    const { code, folder, pid } = await owner(
      'postgres.ts',
      'startEmbeddedPostgres',
      `process.kill(process.pid, '${signal}'); setInterval(() => {}, 1000);`,
    );
    assert.not.ok(code === 0);
    await assert.eventually(() => !existsSync(folder) && !isAlive(pid), 10_000);
  });
}

test('an error of its owner, or its end, leaves neither a server nor a folder', async () => {
  for (const end of [`throw new Error('expected');`, '', 'process.exit(3);']) {
    const { folder, pid } = await owner('postgres.ts', 'startEmbeddedPostgres', end);
    assert.not.ok(existsSync(folder));
    await assert.eventually(() => !isAlive(pid));
  }
});
