// Protects who looks after what is stored with decisions: what waits is shown with why and what to do, a dead message goes on when somebody
// says so, and one that is given up is gone with a trace of who did it, and never by mistake.
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import { type DecisionLog, type OutboxTarget, type StoredMessage, TransactionCoordinator } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { assert, suite } from '../support/suite.ts';
import { ended } from './setup.ts';
import { bank, clear, project, query, world } from './world.ts';

const test = suite('npx unanimous outbox', { timeoutMs: 120_000 });
test.after(clear);

/** The log of the application, and how its pool is ended. */
function open(url: string): { log: DecisionLog; end: () => Promise<void> } {
  if (url.startsWith('mysql:')) {
    const pool = mysqlDriver.createPool({ uri: url });
    return { log: new MysqlDecisionLog(new MysqlSession(pool, { name: 'store' })), end: () => pool.end() };
  }
  const pool = new pgDriver.Pool({ connectionString: url });
  return { log: new PgDecisionLog(new PgSession(pool, { name: 'store' })), end: () => pool.end() };
}

class Target implements OutboxTarget {
  readonly name: string;
  readonly delivered: StoredMessage[] = [];

  constructor(name: string) {
    this.name = name;
  }

  deliver(message: StoredMessage): Promise<void> {
    this.delivered.push(message);
    return Promise.resolve();
  }
}

for (const kind of ['postgres', 'mariadb'] as const) {
  test(`${kind}: what waits is listed, retried, dropped and written down, and the application goes on with the rest`, async () => {
    const { store } = await world({ bank }, kind);
    const { log, end } = open(store);
    const identity = await log.open();
    await log.register('one', 'web1', 60_000);
    const gids = [1, 2, 3].map((sequence) => `shop:${identity}:one:${sequence}`);
    for (const gid of gids) {
      const messages = ['mail', 'publish'].map((target) => ({ target, payload: `the secret text of ${gid}` }));
      await log.decide({ gid, incarnation: 'one', participants: [], messages });
    }
    const [first, second, third] = gids as [string, string, string];
    const outbox = log.outbox!;
    const fail = async (gid: string, sequence: number, times: number, retryInMs: number | undefined): Promise<void> => {
      for (let time = 1; time < times; time++) await outbox.failed({ gid, sequence }, 'before', 60_000);
      await outbox.failed({ gid, sequence }, 'no server at smtp://me:geheim@mail:25\n(refused)', retryInMs);
    };
    await fail(first, 1, 3, undefined);
    await fail(second, 1, 2, 3_600_000);

    const list = ended(await project.run('outbox', 'list'), 1).out;
    assert.match(list, /^MESSAGE +TARGET +PLACE +ATTEMPTS +NEXT +AGE\n/);
    assert.match(list, new RegExp(`${first}:1 +mail +- +3 +dead +\\d+ m?s\n`));
    assert.match(
      list,
      `dead: failed 3 times, the last time by: no server at smtp://me:***@mail:25 (refused); it is not tried again`,
    );
    assert.match(list, `npx unanimous outbox retry ${first}:1; to give it up: npx unanimous outbox drop ${first}:1\n`);
    assert.match(list, new RegExp(`${first}:2 +publish +1 +0 +in \\d+ s `));
    assert.match(list, new RegExp(`${second}:1 +mail +1 +2 +in 59 min `));
    assert.match(list, new RegExp(`${third}:1 +mail +2 +0 +in \\d+ s `));
    assert.match(list, '6 messages, 1 needs somebody\n');
    assert.not.match(list, /secret|geheim/);
    const { json } = ended(await project.run('outbox', 'list', '--json'), 1);
    assert.equal(
      json.messages.map((each: any) => [each.id, each.number, each.target, each.place, each.attempts, each.isDead]),
      [
        [`${first}:1`, 1, 'mail', null, 3, true],
        [`${first}:2`, 2, 'publish', 1, 0, false],
        [`${second}:1`, 1, 'mail', 1, 2, false],
        [`${second}:2`, 2, 'publish', 2, 0, false],
        [`${third}:1`, 1, 'mail', 2, 0, false],
        [`${third}:2`, 2, 'publish', 3, 0, false],
      ],
    );
    const status = ended(await project.run('status', '--json'), 1).json;
    assert.equal([status.outbox.waiting, status.outbox.dead], [5, 1]);
    assert.match(status.warnings.join(), '1 message of the outbox needs somebody');

    const refused = ended(await project.run('outbox', 'drop', `${first}:1`, `${second}:1`), 4).err;
    assert.match(refused, `${second}:1 is not dead, and still tried: nothing was done`);
    assert.match(refused, `npx unanimous outbox drop ${second}:1 --force`);
    assert.is((await outbox.list(10)).length, 6, 'none of them');
    const wrongStore = ended(await project.run('outbox', 'drop', 'shop:other:one:1:1'), 2).err;
    assert.match(wrongStore, 'is of the app shop and the store other');

    const dropped = ended(await project.run('outbox', 'drop', second, '--force'), 0).out;
    assert.match(
      dropped,
      `dropped: ${second}:1 to mail\ndropped: ${second}:2 to publish\nwritten down with your name: `,
    );
    assert.match(dropped, 'what they would have done is not done; later messages to mail and publish go on');
    const again = ended(await project.run('outbox', 'drop', `${second}:1`, '--force', '--json'), 0).json;
    assert.equal(again, { dropped: [], notThere: [`${second}:1`] });
    const retried = ended(await project.run('outbox', 'retry', `${first}:1`, `${first}:9`), 0).out;
    assert.match(retried, `due now: ${first}:1 to mail\nnot there: ${first}:9, which was delivered, or dropped`);

    const shown = ended(await project.run('show', second), 0).out;
    assert.match(shown, /by hand +drop of message 1 to mail by \S+@\S+, .*, forced\n/);
    const rows = await query(store, 'select gid, seq, target, attempts, error from unanimous_dropped order by seq');
    assert.equal(
      rows.map(({ gid, seq, target, attempts }) => [gid, seq, target, attempts]),
      [
        [second, 1, 'mail', 2],
        [second, 2, 'publish', 0],
      ],
    );

    const coordinator = new TransactionCoordinator({ app: 'shop', decisionLog: log, recovery: false });
    const [mail, publish] = [new Target('mail'), new Target('publish')];
    for (const target of [mail, publish]) coordinator.delivers(target);
    await coordinator.recover();
    assert.equal(
      [mail, publish].map(({ delivered }) => delivered.map(({ gid, sequence }) => `${gid}:${sequence}`)),
      [[`${first}:1`], []],
      'what its process may still deliver is left to it',
    );
    await outbox.hold(
      [
        { gid: third, sequence: 1 },
        { gid: third, sequence: 2 },
        { gid: first, sequence: 2 },
      ],
      0,
    );
    await coordinator.recover();
    assert.equal([mail.delivered.length, publish.delivered.length], [2, 2]);
    assert.match(ended(await project.run('outbox', 'list'), 0).out, 'nothing waits');
    await coordinator.close();
    await end();
  });
}

test('what nobody delivers is told from what is on its way', async () => {
  const { store } = await world({ bank });
  const { log, end } = open(store);
  const gid = `shop:${await log.open()}:one:1`;
  await log.register('one', 'web1', 60_000);
  const messages = [
    { target: 'gone', payload: 'p' },
    { target: 'gone', payload: 'p' },
    { target: 'young', payload: 'p' },
  ];
  await log.decide({ gid, incarnation: 'one', participants: [], messages });
  await query(
    store,
    "update unanimous_outbox set next_at = now(), created_at = now() - interval '2 hours' where target = 'gone'",
  );
  await query(store, "update unanimous_outbox set next_at = now() where target = 'young'");
  const list = ended(await project.run('outbox', 'list'), 1).out;
  assert.match(list, "due, and nobody has taken it for 2 h: no process runs that delivers to 'gone'\n");
  assert.match(list, "next: start a process of the application that has 'gone'\n");
  assert.match(list, 'waits behind others of its target\n');
  assert.match(list, 'due: the next pass of recovery delivers it\n');
  assert.match(list, '3 messages, 1 needs somebody');
  await log.close();
  await end();
});
