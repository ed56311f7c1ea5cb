// What is done with each of the five resources for an order, in whichever process.
import { join } from 'node:path';
import type { Transporter } from 'nodemailer';
import type { Transaction } from 'unanimous';
import type { FileSession } from 'unanimous/files';
import type { MailSession } from 'unanimous/mail';
import type { MysqlSession } from 'unanimous/mysql';
import type { PgSession } from 'unanimous/pg';
import type { RedisSession } from 'unanimous/redis';
import type { Order, Resource } from './order.ts';

/** A session for each resource. */
export interface Sessions {
  readonly orders: PgSession;
  readonly stock: MysqlSession;
  readonly cache: RedisSession;
  readonly files: FileSession;
  readonly mail: MailSession<Transporter>;
}

export function take(
  resource: Resource,
  { orders, stock, cache, files, mail }: Sessions,
  { id, article, quantity, customer, to }: Order,
  txn: Transaction,
): unknown {
  switch (resource) {
    case 'orders':
      return orders.query('insert into orders values ($1, $2, $3)', [id, customer, txn.id]);
    case 'stock':
      return stock.query('update articles set quantity = quantity - ? where id = ?', [quantity, article]);
    case 'cache':
      return cache.hset(`order:${id}`, { customer });
    case 'files':
      return files.rename(join('incoming', String(id)), join('placed', String(id)));
    case 'mail':
      return mail.send({ to, subject: `order ${id}`, text: 'Thank you.' });
  }
}
