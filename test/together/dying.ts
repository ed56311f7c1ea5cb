// A process that places orders until it is killed, and says of each that it was placed. Started by death.test.ts, over the shop of that.
//
//   dying.ts FIRST_ID LAST_ID
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import nodemailer from 'nodemailer';
import pg from 'pg';
import { TransactionCoordinator, register } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { MailSession } from 'unanimous/mail';
import { MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';
import { type Order, resources } from './order.ts';
import { type Sessions, take } from './sessions.ts';

const atOnce = 6;
const { ORDERS_URL, STOCK_URL, CACHE_PORT, MAIL_PORT, FOLDER } = process.env;
const [first, last] = process.argv.slice(2).map(Number) as [number, number];

const coordinator = new TransactionCoordinator({ app: 'together' });
const pool = new pg.Pool({ connectionString: ORDERS_URL });
const sessions: Sessions = {
  orders: new PgSession(pool, { name: 'orders' }),
  stock: new MysqlSession(mysql.createPool({ uri: STOCK_URL! }), { name: 'stock' }),
  cache: new RedisSession(new Redis(Number(CACHE_PORT), { lazyConnect: true }), { name: 'cache' }),
  files: new FileSession({ root: FOLDER }),
  mail: new MailSession(nodemailer.createTransport({ host: '127.0.0.1', port: Number(MAIL_PORT) }), {
    from: 'shop@example.org',
  }),
};
for (const session of Object.values(sessions)) register(session, { coordinator });
// Soon to be found dead.
coordinator.configure({ decisionLog: new PgDecisionLog(sessions.orders), recovery: { leaseMs: 1_000 } });

let next = first;
async function work(): Promise<void> {
  while (next <= last) {
    const id = next++;
    const order: Order = { id, article: id, quantity: 1, customer: 'alice', to: 'alice@example.org' };
    await coordinator.run(async (txn) => {
      for (const resource of resources) await take(resource, sessions, order, txn);
    });
    process.stdout.write(`${id}\n`);
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
