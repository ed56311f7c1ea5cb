// Protects recovery in tables that several applications share: each reads its own decisions, however many the others have left.
import { mariadb, mysql, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { mysqlStore, pgStore } from './decision-stores.ts';

const test = suite('the decisions of one application', { timeoutMs: 60_000 });
const oracle = await mysql();
const stores = [
  await pgStore(await postgres()),
  await mysqlStore('MariaDB', await mariadb()),
  ...(oracle === undefined ? [] : [await mysqlStore('MySQL', oracle)]),
];
test.after(() => Promise.all(stores.map((store) => store.close())));

for (const store of stores) {
  test(`${store.title}: those of others take none of the places of its own`, async () => {
    const { log } = store.process({ tablePrefix: 'several_' });
    const name = await log.open();
    await log.register('abc', 'web1', 60_000);
    for (const gid of [`other:${name}:abc:1`, `shop:${name}:abc:1`]) {
      await log.decide({ gid, incarnation: 'abc', participants: [] });
    }
    const mine = await log.decisions(1, `shop:${name}:`);
    assert.equal(
      mine.map(({ gid }) => gid),
      [`shop:${name}:abc:1`],
    );
    assert.is((await log.decisions(10)).length, 2);
    await store.endProcesses();
  });
}
