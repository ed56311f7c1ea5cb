// What goes wrong on purpose, around the same placeOrder().
import { type Transaction, onFinish, transaction } from 'unanimous';
import type { EmbeddedServer } from '../support/server-process.ts';
import type { Smtp } from '../support/smtp.ts';
import { type Order, OutOfStock, placeOrder, stock } from './order.ts';

/** What the shop runs on, and can be killed. */
export interface Servers {
  readonly mariadb: EmbeddedServer;
  readonly redis: EmbeddedServer;
  readonly smtp: Smtp;
}

/** Something that happens to an order, and what must be there of it afterwards. */
export interface Mishap {
  readonly what: string;
  readonly result: 'all' | 'nothing' | 'all but the mail';
  /** What is wrong with the order. */
  readonly order?: Partial<Order>;
  /** Its file hasn't come in. */
  readonly isWithoutFile?: boolean;
  place(order: Order, servers: Servers): Promise<void>;
}

/** Places an order, and does something in its transaction: placeOrder() takes part in it. */
function placeAnd(order: Order, work: (txn: Transaction) => unknown): Promise<void> {
  return transaction.run(async (txn) => {
    await placeOrder(order);
    await work(txn);
  });
}

/** These may come at any time, to many orders at once. */
export const small: readonly Mishap[] = [
  {
    what: 'there isn’t enough in stock: thrown by the application',
    result: 'nothing',
    order: { quantity: 1_000_000 },
    place: placeOrder,
  },
  {
    what: 'PostgreSQL refuses to commit: a deferred constraint wants a customer that it knows',
    result: 'nothing',
    order: { customer: 'mallory' },
    place: placeOrder,
  },
  { what: 'the file hasn’t come in', result: 'nothing', isWithoutFile: true, place: placeOrder },
  {
    what: 'MariaDB ends the connection in the middle: run() tries again',
    result: 'all',
    place: (order) => placeAnd(order, ({ attempt }) => (attempt === 1 ? endConnection() : undefined)),
  },
  {
    what: 'the mail server refuses the recipient, when everything else is done: the mail waits, to be tried again',
    result: 'all but the mail',
    order: { customer: 'refused.dave' },
    place: placeOrder,
  },
];

/** A statement by which a connection ends itself, which it answers with an error. */
async function endConnection(): Promise<void> {
  await stock.query('kill connection_id()');
}

/** With these a whole server is gone. */
export const large: readonly Mishap[] = [
  {
    what: 'the mail server isn’t there: the mail is sent when it is back',
    result: 'all',
    async place(order, { smtp }) {
      await smtp.pause();
      await placeOrder(order).finally(() => smtp.resume());
    },
  },
  {
    what: 'Redis is killed before the decision: what was to be written there is written when it is back',
    result: 'all',
    async place(order, { redis }) {
      await placeAnd(order, () => redis.kill()).finally(() => redis.restart());
    },
  },
  {
    what: 'MariaDB is killed when all have voted yes, and started again: what it has prepared is committed',
    result: 'all',
    async place(order, { mariadb }) {
      await placeAnd(order, () => {
        // Called first of all when it is decided, by its place among the data managers.
        onFinish(() => mariadb.kill().then(() => mariadb.restart()), { sortKey: '!' });
      });
    },
  },
];

/** What the application is meant to be thrown. Every other error is one too many. */
export function isIntended(error: unknown): boolean {
  const { code } = error as { code?: string };
  return error instanceof OutOfStock || code === '23503' || code === 'ENOENT';
}
