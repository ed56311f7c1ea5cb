// Protects programs that have nothing more to do: neither recovery nor what it asks the servers keeps a process alive, whatever is registered.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Folder } from '../datamanagers/files/setup.ts';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import { mariadb, postgres, redis } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('a process that has nothing to do', { timeoutMs: 90_000 });

test('ends by itself, although five resources are registered and recovery has looked at them', async () => {
  const servers = await Promise.all([postgres(), mariadb()]);
  const [orders, stock] = await Promise.all(servers.map((each) => each.database('ends')));
  const folder = await Folder.open();
  const cache = await redis();
  const env = {
    ...process.env,
    ORDERS_URL: orders,
    STOCK_URL: stock,
    CACHE_URL: cache.url,
    ORDERS_FOLDER: folder.path,
    SMTP_URL: 'smtp://127.0.0.1:1',
  };
  const child = spawn(
    process.execPath,
    [...NODE_ARGUMENTS, program(join(import.meta.dirname, '../../examples/order/order.ts'))],
    {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 60_000,
      killSignal: 'SIGKILL',
    },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said += chunk));
  const ended = await once(child, 'close');
  assert.equal(ended, [0, null], said);
  await folder.remove();
  await Promise.all(servers.map((each) => each.stop()));
});
