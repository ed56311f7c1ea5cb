// MariaDB lets nobody end a branch while the connection that prepared it is open, and a paused process keeps it open. Nor must anybody
// try while it is being closed: the server would say OK, and do nothing.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import driver from 'mysql2/promise';
import { register } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { assert, suite } from '../../support/suite.ts';
import { Database, products } from './setup.ts';

for (const { product, server } of await products()) {
  const test = suite(`a process is paused between the phases, on ${product}`, { timeoutMs: 60_000 });
  const databases = [
    await Database.open(server, { name: 'paused0', resolveTimeoutMs: 20_000 }),
    await Database.open(server, { name: 'paused1', resolveTimeoutMs: 20_000 }),
  ];
  test.after(() => Promise.all(databases.map((each) => each.close())));
  test.after.each(() => Promise.all(databases.map((each) => each.reset())));

  /** Calls `meanwhile` with the transaction's id while a process is paused that has prepared it; that must find it committed then. */
  async function whilePaused(preparedWaitSeconds: number, meanwhile: (gid: string) => Promise<void>): Promise<void> {
    const args = ['--import', 'tsx', join(import.meta.dirname, 'pausing.ts'), String(preparedWaitSeconds)];
    const child = spawn(process.execPath, [...args, ...databases.map(({ url }) => url)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
      const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
      await assert.eventually(() => output.includes('\n'), 20_000);
      await meanwhile(output.trim());
      child.kill('SIGCONT');
      // How it ended is not to be had of MySQL: that is why nobody but recovery, which knows the decision, may do this.
      assert.is(await ended, 0);
      assert.match(output, /committed/);
    } finally {
      child.kill('SIGKILL');
    }
  }

  for (const verb of ['commit', 'rollback'] as const) {
    test(`another process can ${verb} what it has prepared, whose connection it ends and sees gone before it does so, and it finds that done`, () =>
      whilePaused(600, async (gid) => {
        for (const database of databases) {
          const { session, proxy } = database;
          const prepared = await session.listPrepared();
          assert.ok(prepared.some((xid) => xid.gid === gid));
          const sent: string[] = [];
          proxy.onClientData = (data) => {
            const text = /is_used_lock|kill connection|xa commit|xa rollback/.exec(data.toString('latin1'))?.[0];
            if (text !== undefined) sent.push(text);
          };
          const xid = { gid, branch: session.name };
          await (verb === 'commit' ? session.commitPrepared(xid) : session.rollbackPrepared(xid));
          proxy.onClientData = undefined;
          assert.equal(sent.slice(0, 2), ['is_used_lock', 'kill connection']);
          assert.equal(sent.slice(-2), ['is_used_lock', `xa ${verb}`]);
          assert.is(sent.filter((text) => text.startsWith('xa')).length, 1, sent.join());
          assert.equal(await database.ids(), verb === 'commit' ? [1, 2, 3] : [1, 2]);
          assert.not.ok((await session.listPrepared()).some((each) => each.gid === gid));
        }
      }));
  }

  test('another user, who may not end its connection, can do so after preparedWaitSeconds', async () => {
    const [{ admin, url }] = databases as [Database];
    const user = 'unanimous_paused';
    await admin.query(
      `drop user if exists ${user}; create user ${user} identified by 'secret'; grant all on ${new URL(url).pathname.slice(1)}.* to ${user}` +
        (product === 'MySQL' ? `; grant xa_recover_admin on *.* to ${user}` : ''),
    );
    const own = new URL(url);
    own.username = user;
    own.password = 'secret';
    const pool = driver.createPool({ uri: own.href });
    const session = register(new MysqlSession(pool, { name: 'paused0', resolveTimeoutMs: 20_000 }));
    try {
      await whilePaused(2, async (gid) => {
        await session.commitPrepared({ gid, branch: 'paused0' });
        assert.equal(await databases[0]!.ids(), [1, 2, 3]);
      });
    } finally {
      await pool.end();
      await admin.query(`drop user ${user}`);
    }
  });
}
