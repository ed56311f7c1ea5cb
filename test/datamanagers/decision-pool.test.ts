// Protects the connections that a decision log has of its own: a few, sound ones, all given back, none of which keeps a process alive.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import { mariadb, mysql, postgres, startMariadb } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { type DecisionStore, type Process, decisionOf, mysqlStore, pgStore } from './decision-stores.ts';

/** How many connections a log has at most. */
const CONNECTIONS = 4;

const oracle = await mysql();
const stores: DecisionStore[] = [
  await pgStore(await postgres()),
  await mysqlStore('MariaDB', await mariadb()),
  ...(oracle === undefined ? [] : [await mysqlStore('MySQL', oracle)]),
];

let tables = 0;

for (const store of stores) {
  const test = suite(`connections of a decision log in ${store.title}`);
  let tablePrefix: string;
  test.before.each(() => {
    tablePrefix = `pool${++tables}_`;
  });
  test.after.each(() => store.endProcesses());
  test.after(() => store.close());

  /** A process that is registered, whose pool is ended, so that what is left is the log's. */
  const open = async (timeoutMs?: number): Promise<Process> => {
    const process = store.process({ tablePrefix, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
    await process.log.open();
    await process.log.register('one', 'first', 60_000);
    await process.endPool();
    await assert.eventually(() => store.proxy.links.size === 1);
    return process;
  };

  /** The text of a decision that is on its way. */
  const insert = (): string => `insert into ${tablePrefix}decision`;

  test('however many decisions are written at once, they are a few, and all that wait get their turn', async () => {
    const { log } = await open();
    const fence = await store.transaction(`delete from ${tablePrefix}node where incarnation = 'one'`);
    let most = 0;
    let sent = 0;
    store.proxy.onClientData = (data) => {
      most = Math.max(most, store.proxy.links.size);
      if (data.includes(insert())) sent++;
    };
    const deciding = Promise.all(Array.from({ length: 30 }, (_, index) => log.decide(decisionOf('one', index))));
    await assert.eventually(() => sent === CONNECTIONS);
    await fence.rollback();
    await deciding;
    // Those that come while others wait don't make more of them.
    await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        await log.settle(decisionOf('one', index));
        await log.settle(decisionOf('one', 100 + index));
      }),
    );
    assert.is(most, CONNECTIONS);
    assert.is((await log.decisions(100)).length, 60);
  });

  test('who waits for one too long is told so, and that nothing was written; afterwards they are there for others', async () => {
    const { log } = await open(1_000);
    const held = Array.from({ length: CONNECTIONS }, (_, index) => index);
    store.proxy.onClientData = (data) => !data.includes(insert());
    const stuck = held.map((index) => assert.rejects(log.decide(decisionOf('one', index))));
    const late = await assert.rejects(log.decide(decisionOf('one', 99)));
    assert.is(late.code, 'ERR_TXN_DECISION_FAILED');
    for (const error of await Promise.all(stuck)) assert.not.equal(error.code, 'ERR_TXN_DECISION_FAILED');
    store.proxy.onClientData = undefined;
    await Promise.all(held.map((index) => log.decide(decisionOf('one', index))));
    assert.ok(store.proxy.links.size <= CONNECTIONS);
  });

  test('those that the server has closed are not used', async () => {
    const { log } = await open();
    await Promise.all([1, 2, 3, 4].map((index) => log.decide(decisionOf('one', index))));
    store.proxy.cut();
    await assert.eventually(() => store.proxy.links.size === 0);
    for (const index of [5, 6, 7, 8]) await log.decide(decisionOf('one', index));
  });

  test('one whose statement was refused is sound', async () => {
    const { log } = await open();
    for (let turn = 0; turn < 10; turn++) {
      await assert.rejects(log.decide(decisionOf('nobody')), { code: 'ERR_TXN_FENCED' });
      await log.decide(decisionOf('one', turn));
      await assert.rejects(log.decide(decisionOf('one', turn)), { code: 'ERR_TXN_DECISION_FAILED' });
    }
    assert.is(store.proxy.links.size, 1);
  });

  test('closed with the log, those in use as well', async () => {
    const { log } = await open();
    const fence = await store.transaction(`delete from ${tablePrefix}node where incarnation = 'one'`);
    const deciding = log.decide(decisionOf('one'));
    await assert.eventually(() => store.proxy.links.size === 1);
    await log.nodes();
    const closing = log.close();
    await fence.rollback();
    await deciding;
    await closing;
    await assert.eventually(() => store.proxy.links.size === 0);
  });

  test('idle ones keep no process alive', async () => {
    const script = program(join(import.meta.dirname, 'decision-lingering.ts'));
    const child = spawn(process.execPath, [...NODE_ARGUMENTS, script, store.url, tablePrefix], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const said = performance.now();
    const [code] = (await once(child, 'exit')) as [number];
    assert.is(code, 0);
    assert.ok(performance.now() - said < 10_000, 'it ended when it had nothing else to do');
  });
}

const odd = suite('a decision log in a MariaDB with defaults of its own');
const server = await startMariadb({ flags: ['--autocommit=0', '--default-time-zone=-05:00'] });
const store = await mysqlStore('MariaDB', server);
odd.after(async () => {
  await store.endProcesses();
  await store.close();
  await server.stop();
});

odd(
  'a decision is there for others, although the server commits nothing by itself, and the time is that of all',
  async () => {
    const { log } = store.process({ tablePrefix: 'odd_' });
    await log.open();
    await log.register('one', 'first', 60_000);
    await log.decide(decisionOf('one'));
    const other = store.process({ tablePrefix: 'odd_' });
    const [row] = await other.log.decisions(10);
    assert.is(row!.outcome, 'committed');
    assert.ok(Math.abs(row!.createdAt.getTime() - Date.now()) < 60_000, row!.createdAt.toISOString());
    const [node] = await other.log.nodes();
    assert.is(node!.isExpired, false);
    assert.ok(Math.abs(node!.startedAt.getTime() - Date.now()) < 60_000, node!.startedAt.toISOString());
    assert.is(await other.log.settle(decisionOf('one', 2)), 'aborted');
    assert.is(await other.log.fence('one'), true);
    assert.equal(await log.nodes(), []);
  },
);
