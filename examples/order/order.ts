// An order over five resources: it is stored in PostgreSQL, the stock is reduced in MariaDB, an entry is written to the cache in Redis,
// the order's file is renamed, and a mail is sent.
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import nodemailer from 'nodemailer';
import pg from 'pg';
import { register, transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { MailSession } from 'unanimous/mail';
import { MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';

const { ORDERS_URL, STOCK_URL, CACHE_URL, ORDERS_FOLDER, SMTP_URL } = process.env;
const ordersPool = new pg.Pool({ connectionString: ORDERS_URL, max: 20 });
ordersPool.on('error', (error) => console.error('connection lost:', error.message));
const stockPool = mysql.createPool({ uri: STOCK_URL!, connectionLimit: 20 });
// Never connected itself: the session has connections of its own, with these options.
const redis = new Redis(CACHE_URL!, { lazyConnect: true });
const transport = nodemailer.createTransport(SMTP_URL);

export const orders = register(new PgSession(ordersPool, { name: 'orders' }));
export const stock = register(new MysqlSession(stockPool, { name: 'stock' }));
export const cache = register(new RedisSession(redis, { name: 'cache' }));
export const files = register(new FileSession({ name: 'files', root: ORDERS_FOLDER }));
export const mail = register(new MailSession(transport, { name: 'mail', from: 'shop@example.org' }));

// Before anything commits it is written down, in the same commit as the order, that everything will, and what is to be done in Redis and by
// mail: so whatever crashes or is away, this process or another one completes it.
transaction.configure({ decisionLog: new PgDecisionLog(orders) });

export interface Order {
  readonly id: number;
  readonly customer: string;
  readonly article: number;
  readonly quantity: number;
}

export class OutOfStock extends Error {
  override readonly name = 'OutOfStock';
}

/** Places an order whose file has come in: all five, or none. */
export async function placeOrder({ id, customer, article, quantity }: Order): Promise<void> {
  await transaction.run(async () => {
    await orders.query('insert into orders values ($1, $2, $3, $4)', [id, customer, article, quantity]);
    const take = 'update articles set quantity = quantity - ? where id = ? and quantity >= ?';
    const [taken] = await stock.query(take, [quantity, article, quantity]);
    if (taken.affectedRows === 0) throw new OutOfStock(`there aren't ${quantity} of article ${article}`);
    // Kept until the transaction commits, as everything below.
    cache.hset(`order:${id}`, { customer, article, quantity });
    await files.rename(`incoming/${id}`, `placed/${id}`);
    mail.send({ to: `${customer}@example.org`, subject: `Your order ${id}`, text: 'Thank you. It is on its way.' });
  });
}

/** Waits for the transactions that are open, then closes the connections. */
export async function close(): Promise<void> {
  await transaction.close();
  await Promise.all([ordersPool.end(), stockPool.end(), cache.close()]);
}
