// Protects orders from the death of the process that places them, at whatever moment: another process ends what it has left, so that each is
// complete or isn't there; what was said to be placed is. Only the file of an order may be missing that nobody was told of, as nobody but
// the dead process knew what to do with it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import { assert, suite } from '../support/suite.ts';
import { ALL, NOTHING, type Order, type Seen } from './order.ts';
import { Shop } from './shop.ts';

const test = suite('all together, with a decision store: the process dies', { timeoutMs: 120_000 });
const shop = await Shop.open({ isDecided: true });
test.after(() => shop.close());

const ordersAtMost = 60;
/** How many orders it may place before it is killed; the moment after that is as it comes. */
const rounds = [0, 3, 10, 25];

/** A process that places these orders; resolves with those that it has said to be placed, when it was killed behind so many of them. */
async function placeAndDie(orders: readonly Order[], killedBehind: number): Promise<Set<number>> {
  const child = spawn(
    process.execPath,
    [
      ...NODE_ARGUMENTS,
      program(join(import.meta.dirname, 'dying.ts')),
      String(orders[0]!.id),
      String(orders.at(-1)!.id),
    ],
    {
      env: {
        ...process.env,
        ORDERS_URL: shop.orders.url,
        STOCK_URL: shop.stock.url,
        CACHE_PORT: String(shop.cache.server.port),
        MAIL_PORT: String(shop.mailServer.port),
        FOLDER: shop.folder.path,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const placed = said(child);
  await assert.eventually(() => placed().size >= Math.max(killedBehind, 1) || isUnderWay(killedBehind), 60_000, 1);
  child.kill('SIGKILL');
  await once(child, 'close');
  return placed();
}

/** Whether something is prepared, where the process is to die before it has placed anything. */
async function isUnderWay(killedBehind: number): Promise<boolean> {
  return killedBehind === 0 && (await shop.prepared()).stock.length > 0;
}

function said(child: ChildProcess): () => Set<number> {
  let output = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  return () => new Set(output.split('\n').slice(0, -1).map(Number));
}

/** Mails are sent at least once. */
function atLeastOnce(seen: Seen): Seen {
  return { ...seen, mail: Math.min(seen.mail, 1) };
}

for (const killedBehind of rounds) {
  test(`behind ${killedBehind} orders: each is complete or isn’t there, and what was said to be placed is`, async () => {
    const orders: Order[] = [];
    for (let index = 0; index < ordersAtMost; index++) orders.push(await shop.order());
    const placed = await placeAndDie(orders, killedBehind);
    await assert.eventually(async () => {
      await shop.recover();
      // Once the dead process has been silent for long enough, and is taken for what it is.
      assert.equal([await shop.prepared(), await shop.stored()], [{ orders: [], stock: [] }, []]);
    }, 30_000);

    let complete = 0;
    for (const order of orders) {
      const seen = atLeastOnce(await shop.look(order));
      const expected = placed.has(order.id) || seen.orders === 1 ? ALL : NOTHING;
      if (expected === ALL) complete++;
      const isLate = expected === ALL && !placed.has(order.id) && seen.files === 0;
      assert.equal(seen, isLate ? { ...ALL, files: 0 } : expected, `order ${order.id}`);
    }
    assert.ok(complete < ordersAtMost);
    // What it has left beside the files is found by its name.
    const isCommitted = (): boolean => false;
    await shop.sessions.files.cleanUp({ isCommitted, olderThanMs: 0, recursive: true });
    await shop.assertClean();
  });
}
