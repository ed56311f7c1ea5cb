// A service over Fastify and Kysely: orders are stored in PostgreSQL, counted in Redis, and confirmed by mail.
//
// The two lines that are marked make each of its requests one transaction over all of that, which is committed before the response leaves.
import Fastify, { type FastifyInstance } from 'fastify';
import { Redis } from 'ioredis';
import { type Generated, Kysely, PostgresDialect } from 'kysely';
import nodemailer from 'nodemailer';
import pg from 'pg';
import { register, transaction } from 'unanimous';
import { transactionPerRequest } from 'unanimous/fastify';
import { MailSession } from 'unanimous/mail';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';

/** Where everything is. Without a Redis nothing is counted. */
export interface Places {
  readonly ORDERS_URL: string;
  readonly CACHE_URL: string | undefined;
  readonly SMTP_URL: string;
}

interface Tables {
  articles: { id: number; quantity: number };
  orders: { id: Generated<number>; key: string; customer: string };
  lines: { order_id: number; article: number; quantity: number };
}

export interface OrderRequest {
  /** The client's own name for it, so that it can find out later whether it was placed. */
  readonly key: string;
  readonly customer: string;
  readonly lines: readonly { readonly article: number; readonly quantity: number }[];
}

const LARGEST_ORDER = 20;

/** A service that listens, and how to end it. */
export interface Service {
  readonly app: FastifyInstance;
  readonly pool: pg.Pool;
  close(): Promise<void>;
}

export async function openService({ ORDERS_URL, CACHE_URL, SMTP_URL }: Places): Promise<Service> {
  const pool = new pg.Pool({ connectionString: ORDERS_URL, max: 20 });
  pool.on('error', (error) => {
    if (!pool.ending) console.error('connection lost:', error.message);
  });
  const orders = register(new PgSession(pool, { name: 'orders' }));
  const mail = register(new MailSession(nodemailer.createTransport(SMTP_URL), { from: 'shop@example.org' }));
  const cache = CACHE_URL === undefined ? undefined : register(cacheAt(CACHE_URL));
  // What is to be counted and sent is stored in the same commit as the order, and done behind it, also where this process dies.
  transaction.configure({ decisionLog: new PgDecisionLog(orders) });

  // The first line: the pool of the session in place of the pool.
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: orders.pool() }) });

  const app = Fastify();
  // The second line. Orders that wait for each other's articles in a circle are tried again.
  await app.register(transactionPerRequest, { attempts: 5, timeoutMs: 20_000 });

  app.post<{ Body: OrderRequest }>('/orders', async (request, reply) => {
    const { key, customer, lines } = request.body;
    for (const { article, quantity } of lines) {
      const taken = await db
        .updateTable('articles')
        .set((row) => ({ quantity: row('quantity', '-', quantity) }))
        .where('id', '=', article)
        .where('quantity', '>=', quantity)
        .executeTakeFirst();
      // What the lines before this one have taken goes back.
      if (taken.numUpdatedRows === 0n) return reply.code(409).send({ error: `too few of article ${article}` });
    }
    const { id } = await db.insertInto('orders').values({ key, customer }).returning('id').executeTakeFirstOrThrow();
    await db
      .insertInto('lines')
      .values(lines.map((line) => ({ ...line, order_id: id })))
      .execute();
    cache?.incr('orders');
    mail.send({ to: `${customer}@example.org`, subject: `Order ${id}`, text: 'Thank you. It is on its way.' });
    const total = lines.reduce((sum, { quantity }) => sum + quantity, 0);
    if (total > LARGEST_ORDER) throw new Error(`an order of ${total} is more than we can carry`);
    return reply.code(201).send({ id });
  });

  app.get<{ Params: { key: string } }>('/orders/:key', async (request, reply) => {
    const order = await db.selectFrom('orders').selectAll().where('key', '=', request.params.key).executeTakeFirst();
    return order ?? reply.code(404).send({ error: 'no such order' });
  });

  return {
    app,
    pool,
    async close() {
      await app.close();
      await transaction.close();
      await db.destroy();
      await Promise.all([pool.end(), cache?.close()]);
    },
  };
}

/** Never connected itself: the session has connections of its own, with these options. */
function cacheAt(url: string): RedisSession {
  return new RedisSession(new Redis(url, { lazyConnect: true }), { name: 'cache' });
}
