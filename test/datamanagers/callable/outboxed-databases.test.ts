// Protects functions that must be called after a commit from the death of the process that committed, with real databases: whoever has the
// function calls it, under the key that the dead process has given, and everything else of the transaction is there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { TransactionCoordinator, outboxed } from 'unanimous';
import { Database as Mysql } from '../mysql/setup.ts';
import { Database as Postgres } from '../pg/setup.ts';
import { NODE_ARGUMENTS, program } from '../../support/program.ts';
import { mariadb, postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { execute, openParts } from './outboxed-parts.ts';

const test = suite('outboxed functions and databases', { timeoutMs: 90_000 });
const pgDatabase = await Postgres.open(await postgres(), { name: 'pg' });
const mysqlDatabase = await Mysql.open(await mariadb(), { name: 'mysql' });
const databases = { PostgreSQL: pgDatabase, MariaDB: mysqlDatabase };
test.after(() => Promise.all([pgDatabase.close(), mysqlDatabase.close()]));

async function run(url: string, text: string): Promise<any[]> {
  if (url === mysqlDatabase.url) return mysqlDatabase.rows(text);
  return (await pgDatabase.admin.query(text)).rows;
}

for (const [title, otherTitle] of [
  ['PostgreSQL', 'MariaDB'],
  ['MariaDB', 'PostgreSQL'],
] as const) {
  const { url } = databases[title];
  const otherUrl = databases[otherTitle].url;

  /** A process that has the function. */
  function process() {
    const coordinator = new TransactionCoordinator({ app: 'outboxed', onError: () => undefined });
    const parts = openParts(url, otherUrl, coordinator);
    const called: unknown[] = [];
    const publish = outboxed(
      'publish',
      (payload: { amount: number }, { key, attempt }) => called.push([payload, key, attempt]),
      {
        coordinator,
      },
    );
    coordinator.configure({ decisionLog: parts.decisionLog, recovery: { everyMs: 2_000_000_000 } });
    return { ...parts, coordinator, publish, called, close: () => coordinator.close().then(() => parts.end()) };
  }
  const waiting = (): Promise<any[]> => run(url, 'select target from unanimous_outbox');

  test(`${title}: it is stored with the decision, whoever else takes part, and called before commit() returns`, async () => {
    const { store, other, coordinator, publish, called, close } = process();
    let atFinish: unknown;
    let key: string | undefined;
    const nothing = (): void => undefined;
    const looks = {
      sortKey: '!',
      tpcBegin: nothing,
      commit: nothing,
      tpcVote: nothing,
      tpcFinish: async () => void (atFinish = (await waiting()).length),
      tpcAbort: nothing,
      abort: nothing,
    };
    const ways: unknown[] = [];
    for (const sessions of [[store], [other], [store, other]]) {
      const txn = await coordinator.run(async (current) => {
        for (const each of sessions) await execute(each, 'update accounts set balance = balance + 1 where id = 1');
        key = publish({ amount: 1 });
        current.join(looks);
        return current;
      });
      ways.push(txn.outcome!.way);
      assert.equal([atFinish, called.splice(0)], [1, [[{ amount: 1 }, key, 1]]]);
      assert.equal(await waiting(), []);
    }
    assert.equal(ways, ['one-phase', 'two-phase', 'last-resource']);
    await close();
  });

  test(`${title}: the process is killed right after the decision: another one calls it, and commits the rest`, async () => {
    const amount = title === 'PostgreSQL' ? 4711 : 4712;
    const child = spawn(
      globalThis.process.execPath,
      [...NODE_ARGUMENTS, program(join(import.meta.dirname, 'outboxed-dying.ts')), url, otherUrl, String(amount)],
      { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000, killSignal: 'SIGKILL' },
    );
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (said += chunk));
    const [, signal] = await once(child, 'close');
    const key = said.trim();
    assert.equal([signal, child.killed], ['SIGKILL', false], 'by itself');
    assert.match(key, /^outboxed:\w+:\w+:\w+:1$/);
    assert.is((await waiting()).length, 1);

    const { coordinator, called, close } = process();
    // As if the time of its process were over.
    await run(url, "update unanimous_outbox set next_at = '2000-01-01 00:00:00'");
    await assert.eventually(async () => {
      await coordinator.recover();
      const balances = await Promise.all(
        [url, otherUrl].map(async (each) => (await run(each, 'select balance from accounts where id = 1'))[0].balance),
      );
      assert.equal(balances, [amount, amount]);
    }, 60_000);
    assert.equal([called, await waiting()], [[[{ amount }, key, 1]], []]);
    await close();
  });
}
