// Protects the place of an application's own functions among the five: what they find, and that their no and their failure mean the same as
// anybody else's.
import { InDoubtError, type Transaction, onAbort, onFinish, onVote } from 'unanimous';
import { raise } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';
import { ALL, NOTHING, type Order } from './order.ts';
import { Shop } from './shop.ts';

const test = suite('all together: with functions');
const shop = await Shop.open();
const { coordinator } = shop;
test.after(() => shop.close());
test.after.each(() => shop.assertClean());

/** Functions of each kind, which write down what they are called for and what there is of the order. */
function functions(order: Order, calls: unknown[]): (txn: Transaction) => void {
  const note = (kind: string) => async (): Promise<void> => void calls.push([kind, await shop.look(order)]);
  return () => {
    onVote(note('vote'), { coordinator });
    onFinish(note('finish'), { coordinator });
    onAbort(note('abort'), { coordinator });
  };
}

test('a vote function is asked before anything is prepared, a finish function finds everything done but the mail', async () => {
  const order = await shop.order();
  const calls: unknown[] = [];
  await shop.place(order, { also: functions(order, calls) });
  assert.equal(calls, [
    ['vote', NOTHING],
    // Between the databases and the mails, by its sort key.
    ['finish', { ...ALL, mail: 0 }],
  ]);
  assert.equal(await shop.look(order), ALL);
});

test('a vote function that says no leaves nothing anywhere, and the abort function is called once', async () => {
  const order = await shop.order();
  const calls: unknown[] = [];
  const no = new Error('no');
  const placing = shop.place(order, {
    also: (txn) => {
      functions(order, calls)(txn);
      onVote(() => raise(no), { coordinator });
    },
  });
  assert.is(await assert.rejects(placing), no);
  assert.equal(calls, [
    ['vote', NOTHING],
    ['abort', NOTHING],
  ]);
  assert.equal(await shop.look(order), NOTHING);
});

test('a database that refuses lets no finish function be called', async () => {
  const order = await shop.order({ customer: 'refused' });
  const calls: unknown[] = [];
  await assert.rejects(shop.place(order, { also: functions(order, calls) }));
  assert.equal(
    calls.map((call) => (call as [string])[0]),
    ['vote', 'abort'],
  );
  assert.equal(await shop.look(order), NOTHING);
});

test('a finish function that fails keeps nobody from finishing, and the error names it', async () => {
  const order = await shop.order();
  const placing = shop.place(order, { also: () => onFinish(() => raise(new Error('boom')), { coordinator }) });
  const error = await assert.rejects(placing, InDoubtError);
  assert.equal(error.unfinished, ['~~callable']);
  assert.match(error.message, 'boom');
  assert.equal(await shop.look(order), ALL);
});
