// MariaDB lets nobody end a branch while the connection that prepared it is open, and a paused process keeps it open.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
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

  for (const verb of ['commit', 'rollback'] as const) {
    test(`after preparedWaitSeconds another process can ${verb} what it has prepared, and it finds that done`, async () => {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', join(import.meta.dirname, 'pausing.ts'), ...databases.map(({ url }) => url)],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      try {
        let output = '';
        child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
        const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
        await assert.eventually(() => output.includes('\n'), 20_000);
        const gid = output.trim();
        for (const { session, ids } of databases.map((each) => ({ session: each.session, ids: () => each.ids() }))) {
          const prepared = await session.listPrepared();
          assert.ok(prepared.some((xid) => xid.gid === gid));
          const xid = { gid, branch: session.name };
          await (verb === 'commit' ? session.commitPrepared(xid) : session.rollbackPrepared(xid));
          assert.equal(await ids(), verb === 'commit' ? [1, 2, 3] : [1, 2]);
          assert.not.ok((await session.listPrepared()).some((each) => each.gid === gid));
        }
        child.kill('SIGCONT');
        // How it ended is not to be had of MySQL: that is why nobody but recovery, which knows the decision, may do this.
        assert.is(await ended, 0);
        assert.match(output, /committed/);
      } finally {
        child.kill('SIGKILL');
      }
    });
  }
}
