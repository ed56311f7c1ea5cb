// Protects that an order that is decided is completed with all five, whatever happens between the last vote and the end; and that the
// error of what can't be completed says what is missing, while everything else is there.
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { InDoubtError, type Transaction } from 'unanimous';
import { suppressedBy } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';
import { EXEC, filesOf, loseReply, loseRequest, mailsOf } from './faults.ts';
import { at } from './moments.ts';
import { ALL, type Order, type Resource, inErrors, resources } from './order.ts';
import { Shop } from './shop.ts';

const shop = await Shop.open();

const completed = suite('all together: what is decided is completed');
completed.after.each(() => shop.assertClean());

/** What happens behind the decision, or to the reply that is the decision. */
const mishaps: Record<string, (txn: Transaction) => unknown> = {
  'cache: the reply to EXEC is lost': () => loseReply(shop.cache.proxy, EXEC),
  'cache: its connections are lost behind EXEC': (txn) => at(txn, 'tpcFinish', 'first', () => shop.cache.proxy.cut()),
  'orders: COMMIT PREPARED doesn’t arrive': () => loseRequest(shop.orders.proxy, 'commit prepared'),
  'orders: the reply to COMMIT PREPARED is lost': () => loseReply(shop.orders.proxy, 'commit prepared'),
  'stock: XA COMMIT doesn’t arrive': () => loseRequest(shop.stock.proxy, 'xa commit'),
  'stock: the reply to XA COMMIT is lost': () => loseReply(shop.stock.proxy, 'xa commit'),
  'orders and stock: both are cut off between their PREPARE and the decision': (txn) =>
    at(txn, 'tpcVote', 'behindDatabases', () => {
      shop.orders.proxy.cut();
      shop.stock.proxy.cut();
    }),
};

for (const [what, go] of Object.entries(mishaps)) {
  completed(`${what}: everything is done all the same`, async () => {
    const order = await shop.order();
    const txn = await shop.place(order, { also: go, run: { attempts: 3 } });
    assert.equal(await shop.look(order), ALL);
    assert.equal(txn.outcome, { result: 'committed', way: 'last-resource' });
    assert.is(txn.attempt, 1);
  });
}

const missing = suite('all together: what can’t be completed is said');
missing.after.each(() => shop.assertClean());
missing.after(() => shop.close());

/** Places an order that is to be in doubt, and is never tried again; names what didn't finish, and nothing else. */
async function inDoubt(
  order: Order,
  also: (txn: Transaction) => unknown,
  ...unfinished: Resource[]
): Promise<InDoubtError> {
  let attempts = 0;
  const counted = (txn: Transaction): unknown => (attempts++, also(txn));
  const error = await assert.rejects(shop.place(order, { also: counted, run: { attempts: 3 } }), InDoubtError);
  assert.is(attempts, 1);
  const finished = resources.filter((each) => !unfinished.includes(each)).map((each) => inErrors[each]);
  assert.equal(error.unfinished.toSorted(), unfinished.map((each) => inErrors[each]).toSorted());
  assert.equal(error.finished.filter((each) => !each.startsWith('!')).toSorted(), finished.toSorted());
  for (const each of unfinished) assert.match(error.message, inErrors[each]);
  assert.match(error.message, /is decided to commit, so the work must not be repeated/);
  return error;
}

missing('files: the folder is gone when the file is to be put there', async () => {
  const order = await shop.order();
  const [folder, elsewhere] = [shop.folder.join('placed'), shop.folder.join('elsewhere')];
  const move = (txn: Transaction): void => at(txn, 'tpcFinish', 'first', () => rename(folder, elsewhere));
  const error = await inDoubt(order, move, 'files');
  await rename(elsewhere, folder);
  assert.equal(filesOf(error.cause), [`rename ${shop.incoming(order)} ${shop.placed(order)} failed`]);
  assert.match(error.message, 'ENOENT');
  assert.equal(await shop.look(order), { ...ALL, files: 0 });
  // What the error names can be done by hand.
  await rename(shop.incoming(order), shop.placed(order));
  assert.equal(await shop.look(order), ALL);
});

missing('files: somebody else’s file is there by then, and stays', async () => {
  const order = await shop.order();
  const occupy = (txn: Transaction): void =>
    at(txn, 'tpcFinish', 'first', () => writeFile(shop.placed(order), 'somebody else’s'));
  const error = await inDoubt(order, occupy, 'files');
  assert.equal(filesOf(error.cause), [`rename ${shop.incoming(order)} ${shop.placed(order)} failed`]);
  assert.match(error.message, 'was changed or replaced by somebody else since the vote');
  assert.is(await readFile(shop.placed(order), 'utf8'), 'somebody else’s');
  await rm(shop.placed(order));
  assert.equal(await shop.look(order), { ...ALL, files: 0 });
});

missing('mail: the server refuses the recipient', async () => {
  const order = await shop.order({ to: 'refused@example.org' });
  const error = await inDoubt(order, () => undefined, 'mail');
  assert.equal(mailsOf(error.cause), ['refused@example.org not sent']);
  assert.equal(await shop.look(order), { ...ALL, mail: 0 });
});

missing('mail: the server is gone by then', async () => {
  const order = await shop.order();
  const error = await inDoubt(
    order,
    (txn) => at(txn, 'tpcFinish', 'first', () => (shop.mailProxy.refuse = true)),
    'mail',
  );
  shop.mailProxy.refuse = false;
  assert.equal(mailsOf(error.cause), ['alice@example.org not sent']);
  assert.equal(await shop.look(order), { ...ALL, mail: 0 });
});

missing('mail: the connection is lost when the server has read it: it may have been sent', async () => {
  const order = await shop.order();
  shop.mailServer.onMail = () => shop.mailProxy.cut();
  const error = await inDoubt(order, () => undefined, 'mail');
  shop.mailServer.onMail = undefined;
  assert.equal(mailsOf(error.cause), ['alice@example.org unknown']);
  assert.match(error.message, 'to alice@example.org was perhaps sent');
  assert.equal(await shop.look(order), ALL);
});

missing('files and mail: both are said', async () => {
  const order = await shop.order({ to: 'refused@example.org' });
  const error = await inDoubt(
    order,
    (txn) => at(txn, 'tpcFinish', 'first', () => rm(shop.incoming(order))),
    'files',
    'mail',
  );
  assert.equal(filesOf(error.cause), [`rename ${shop.incoming(order)} ${shop.placed(order)} failed`]);
  assert.equal(suppressedBy(error).flatMap(mailsOf), ['refused@example.org not sent']);
  await shop.restore(order);
  assert.equal(await shop.look(order), { ...ALL, files: 0, mail: 0 });
});
