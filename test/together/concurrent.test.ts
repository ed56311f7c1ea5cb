// Protects a hundred orders at once, of which some go wrong, in a way and at a moment drawn by a seed: each is with all five or with none of
// them, or the error that its caller got says what is missing.
import { randomInt } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { InDoubtError, type Transaction } from 'unanimous';
import { raise } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';
import { type Place, at } from './moments.ts';
import { ALL, NOTHING, type Order, type Resource, inErrors, inStock, resources } from './order.ts';
import { Shop } from './shop.ts';

const test = suite('all together: a hundred orders at once', { timeoutMs: 120_000 });
const ordersAtOnce = 100;
const articles = 20;
const connections = 12;
// They all wait for a few connections, each of which may have to be replaced.
const patient = { acquireTimeoutMs: 90_000 };
const shop = await Shop.open({
  orders: { ...patient, pool: { max: connections } },
  stock: { ...patient, pool: { connectionLimit: connections } },
  cache: { ...patient, maxWatching: ordersAtOnce },
});
const { sessions, orders, stock, cache } = shop;
await stock.admin.query('create table takings (id int primary key, article int not null) engine=innodb');
test.after(() => shop.close());

/** Numbers that look random, and are the same for the same seed (Park and Miller). */
class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  /** From 0 to `below - 1`. */
  next(below: number): number {
    this.#state = (this.#state * 48_271) % 0x7f_ff_ff_ff;
    return this.#state % below;
  }
  of<T>(all: readonly T[]): T {
    return all[this.next(all.length)]!;
  }
}

/** What is done to an order in its transaction. */
type Mishap = (txn: Transaction, order: Order, when: Moment) => unknown;
type Moment = readonly [phase: 'work' | 'tpcVote' | 'tpcFinish', where: Place];

/** At a moment of the first attempt: work, or one of the commit. */
function once(txn: Transaction, [phase, where]: Moment, act: () => unknown): unknown {
  if (txn.attempt > 1) return undefined;
  return phase === 'work' ? act() : at(txn, phase, where, act);
}

/** Each ends its order, whatever else happens. */
const fatal: Record<string, Mishap> = {
  'an error is thrown': () => raise(new Error('no')),
  'there isn’t enough': (_, { article }) =>
    sessions.stock.query('update articles set quantity = -1 where id = ?', [article]),
  'an order has its number': (_, { id }) => sessions.orders.query("insert into orders values ($1, 'twice', '')", [id]),
  'a failure that nobody is told of': () => sessions.orders.query('select nonsense').catch(() => undefined),
  'PostgreSQL refuses to prepare': (_, { id }) =>
    sessions.orders.query("update orders set customer = 'refused' where id = $1", [id]),
  'a file that isn’t there': () => sessions.files.unlink('incoming/none'),
  'a recipient that is no address': () => sessions.mail.send({ to: 'nobody' }),
  'a read of Redis that fails': () => sessions.cache.get('list'),
};

/** Each passes: the order is tried again, or goes on. */
const passing: Record<string, Mishap> = {
  'the file is written to': (txn, order) => once(txn, ['tpcVote', 'first'], () => shop.restore(order)),
  'what is watched is changed': async (txn) => {
    await sessions.cache.watch('catalogue');
    if (txn.attempt === 1) await cache.admin.incr('catalogue');
  },
  'PostgreSQL ends the connection': async (txn, _, when) => {
    const { rows } = await sessions.orders.query<{ pid: number }>('select pg_backend_pid() as pid');
    return once(txn, when, () => orders.admin.query('select pg_terminate_backend($1)', [rows[0]!.pid]));
  },
  'MariaDB ends the connection': async (txn, _, when) => {
    const [rows] = await sessions.stock.query<{ id: number }[]>('select connection_id() as id');
    return once(txn, when, () => stock.admin.query('kill connection ?', [rows[0]!.id]).catch(() => undefined));
  },
  'all links to Redis are cut': (txn, _, when) => once(txn, when, () => cache.proxy.cut()),
  'a part is undone by a savepoint': (txn, { id, article }) =>
    shop.coordinator
      .run(
        async () => {
          await sessions.orders.query("insert into orders values ($1, 'nobody', '')", [-id]);
          await sessions.stock.query('delete from articles where id = ?', [article]);
          sessions.cache.del('list');
          await sessions.files.writeFile(`placed/part of ${txn.id}`, 'text');
          sessions.mail.send({ to: 'alice@example.org', subject: 'a part' });
          throw new Error('undone');
        },
        { propagation: 'nested' },
      )
      .catch((error: Error) => (error.message === 'undone' ? undefined : raise(error))),
};

/** Each comes when it is decided: the order is complete but for that. */
const unfinished: Record<string, Mishap> = {
  'the file is gone when it is to be renamed': (txn, order) =>
    at(txn, 'tpcFinish', 'first', () => rm(shop.incoming(order))),
};

const mishaps = { ...fatal, ...passing, ...unfinished };

const moments: Moment[] = [
  ['work', 'first'],
  ['tpcVote', 'first'],
  ['tpcVote', 'beforeDatabases'],
  ['tpcVote', 'behindDatabases'],
  ['tpcVote', 'last'],
  ['tpcFinish', 'first'],
  ['tpcFinish', 'behindDatabases'],
];

interface Placed {
  readonly order: Order;
  /** What was done to it; undefined for nothing. */
  readonly mishap: string | undefined;
  readonly error: unknown;
}

/** PostgreSQL before MariaDB: two that have all connections of one pool, and wait for those of the other, would wait for ever. */
function shuffled(dice: Dice): Resource[] {
  const steps: Resource[] = [];
  for (const each of resources) steps.splice(dice.next(steps.length + 1), 0, each);
  const [first, second] = [steps.indexOf('orders'), steps.indexOf('stock')];
  if (first > second) [steps[first], steps[second]] = ['stock', 'orders'];
  return steps;
}

/** What is to be done with one order, drawn before anything is awaited, so that the seed decides. */
interface Plan {
  readonly mishap: string | undefined;
  readonly when: Moment;
  readonly steps: readonly Resource[];
  readonly order: Partial<Order>;
}

function draw(dice: Dice): Plan {
  return {
    mishap: dice.next(2) === 0 ? undefined : dice.of(Object.keys(mishaps)),
    when: dice.of(moments),
    steps: shuffled(dice),
    order: { article: -1 - dice.next(articles), ...(dice.next(20) === 0 ? { to: 'refused@example.org' } : {}) },
  };
}

async function placeOne({ mishap, when, steps }: Plan, order: Order): Promise<Placed> {
  const placing = shop.place(order, {
    steps,
    also: async (txn) => {
      await sessions.stock.query('insert into takings values (?, ?)', [order.id, order.article]);
      if (mishap !== undefined) await mishaps[mishap]!(txn, order, when);
    },
    run: { attempts: 4 },
  });
  const error = await placing.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { order, mishap, error };
}

/** What of an order must be there, by what its caller was told. */
function expected(error: unknown): Partial<Record<Resource, number>> {
  if (error === undefined) return ALL;
  if (!(error instanceof InDoubtError)) return NOTHING;
  assert.ok(error.finished.length > 0, error.message);
  const missing = resources.filter((each) => error.unfinished.includes(inErrors[each]));
  assert.ok(missing.length > 0 && missing.every((each) => each === 'files' || each === 'mail'), error.message);
  return { ...ALL, ...Object.fromEntries(missing.map((each) => [each, each === 'files' ? Number.NaN : 0])) };
}

/** As {@link Shop.look}, with an article that others take of too. */
async function look(order: Order): Promise<Partial<Record<Resource, number>>> {
  const takings = await stock.rows('select id from takings where id = ?', [order.id]);
  return { ...(await shop.look(order)), stock: takings.length };
}

async function checkAll(all: readonly Placed[]): Promise<void> {
  for (const { order, mishap, error } of all) {
    const told = `order ${order.id}, ${mishap ?? 'nothing was done to it'}: ${String(error)}`;
    assert.equal(await look(order), expected(error), told);
    if (mishap !== undefined && mishap in fatal) assert.instance(error, Error, told);
  }
  const taken = await stock.rows<{ id: number; isRight: number }>(
    `select a.id, a.quantity + count(t.id) = ${inStock * 100} as isRight from articles a left join takings t on t.article = a.id where a.id < 0 group by a.id`,
  );
  assert.ok(
    taken.every(({ isRight }) => isRight === 1),
    'what was taken is missing in the stock, and nothing else',
  );
  assert.not.ok(shop.mailServer.subjects.includes('a part'));
  await shop.assertClean();
}

for (const seed of [1, 2, randomInt(3, 1_000_000)]) {
  test(`each is with all five or with none of them (seed ${seed})`, async () => {
    const dice = new Dice(seed);
    shop.mailServer.reset();
    await orders.admin.query('truncate orders');
    await stock.admin.query('delete from takings; delete from articles');
    for (let article = 1; article <= articles; article++) {
      await stock.admin.query('insert into articles values (?, ?)', [-article, inStock * 100]);
    }
    await cache.admin.flushall();
    await cache.admin.rpush('list', 'a');
    const plans = Array.from({ length: ordersAtOnce }, () => draw(dice));
    const incoming = await Promise.all(plans.map(({ order }) => shop.order(order)));
    const all = await Promise.all(plans.map((plan, index) => placeOne(plan, incoming[index]!)));
    await checkAll(all);
    const done = all.filter(({ error }) => error === undefined).length;
    assert.ok(done >= 30, `${done} of ${all.length} were done`);
    assert.ok(done < all.length);
  });
}
