// Protects who has sent a statement to a server that goes down when it has answered, and before it has said that it is ready for more.
import { transaction } from 'unanimous';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { failureOf } from '../sql/helpers.ts';
import { goDown } from './going-down.ts';
import { Database } from './setup.ts';

const test = suite('a server that goes down between its answer and the next question', { timeoutMs: 60_000 });
const db = await Database.open(await postgres(), { name: 'going_down', commitsBehindStatements: true });
// What is lost while nobody has it is the application's to hear.
db.pool.on('error', () => undefined);
const { session, proxy } = db;
test.after(() => db.close());
test.after.each(async () => {
  proxy.onServerData = undefined;
  await db.assertClean();
  await db.reset();
});

const insert = (id: number): Promise<unknown> => session.query('insert into accounts values ($1, 0)', [id]);

/** Goes down when it has answered what was tagged so, instead of saying that it is ready. */
function goDownBehind(tag: string): void {
  goDown(proxy, { isReady: false, when: (said) => said.includes(`${tag}\0`) });
}

for (const [title, work] of Object.entries<() => unknown>({
  'of its own': async () => void (await insert(3)),
  'behind a statement': () => void failureOf(insert(3)),
  'behind several': () => void [3, 4].map((id) => failureOf(insert(id))),
})) {
  test(`a COMMIT ${title}: it has committed, which is found out, and run returns`, async () => {
    goDownBehind('COMMIT');
    await transaction.run(work, { attempts: 1 });
    assert.is((await db.ids())[2], 3);
    assert.is(proxy.onServerData, undefined, 'it did go down');
  });
}

for (const ids of [[3], [3, 4]]) {
  test(`${ids.length} statements asked for at once: each says so, and nothing is stored`, async () => {
    goDownBehind('INSERT 0 1');
    let failures: any[] = [];
    const failure: any = await failureOf(
      transaction.run(
        async () => {
          failures = await Promise.all(ids.map((id) => failureOf(insert(id))));
          throw failures.at(-1);
        },
        { attempts: 1 },
      ),
    );
    assert.is(failure.code, '57P01');
    for (const each of failures) assert.match(each.message, /terminat/);
    assert.equal(await db.ids(), [1, 2]);
  });
}
