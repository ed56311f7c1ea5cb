// The five resources as everybody else sees them: over connections that know nothing of this library.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';

/** Where the five are: the variables that order.ts reads, but for that of the mail server. */
export interface Places {
  readonly ORDERS_URL: string;
  readonly STOCK_URL: string;
  readonly CACHE_URL: string;
  readonly ORDERS_FOLDER: string;
}

/** What has taken the mails. */
export interface Mailbox {
  readonly subjects: readonly string[];
}

/** The five, each with the part of an order, or of all of them, that it has. */
export interface Parts<T> {
  readonly orders: T;
  readonly stock: T;
  readonly cache: T;
  readonly files: T;
  readonly mail: T;
}

export const customers = ['alice', 'bob', 'carol', 'refused.dave'] as const;
export const articles = 5;
export const openingStock = 1_000;

export class Outside {
  readonly #orders: pg.Pool;
  readonly #stock: mysql.Pool;
  readonly #cache: Redis;
  readonly #folder: string;
  readonly #mailbox: Mailbox;

  constructor({ ORDERS_URL, STOCK_URL, CACHE_URL, ORDERS_FOLDER }: Places, mailbox: Mailbox) {
    this.#orders = new pg.Pool({ connectionString: ORDERS_URL, max: 1 });
    this.#stock = mysql.createPool({ uri: STOCK_URL, connectionLimit: 1 });
    this.#cache = new Redis(CACHE_URL);
    // Servers are killed; whoever asks next connects again.
    for (const each of [this.#orders, this.#cache]) each.on('error', () => undefined);
    this.#folder = ORDERS_FOLDER;
    this.#mailbox = mailbox;
  }

  /** Makes the tables and folders, and fills the stock. MySQL commits at such statements, so they are in no transaction. */
  async open(): Promise<void> {
    await this.#orders.query('create table customers (name text primary key)');
    await this.#orders.query('insert into customers select unnest($1::text[])', [customers]);
    // The customer is looked for when the transaction commits: at PREPARE.
    await this.#orders.query(
      `create table orders (id int primary key, customer text not null references customers deferrable initially deferred,
         article int not null, quantity int not null)`,
    );
    await this.#stock.query('create table articles (id int primary key, quantity int not null) engine=innodb');
    for (let id = 1; id <= articles; id++)
      await this.#stock.query('insert into articles values (?, ?)', [id, openingStock]);
    for (const name of ['incoming', 'placed']) await mkdir(join(this.#folder, name), { recursive: true });
  }

  /** The file of an order comes in. */
  async receive(id: number): Promise<void> {
    await writeFile(join(this.#folder, 'incoming', String(id)), `order ${id}`);
  }

  /** What is there of one order; of the stock, what all orders together have taken. */
  async look(id: number): Promise<Parts<number>> {
    const { rowCount } = await this.#orders.query('select from orders where id = $1', [id]);
    return {
      orders: rowCount ?? 0,
      stock: await this.#taken(),
      cache: await this.#cache.exists(`order:${id}`),
      files: Number(existsSync(join(this.#folder, 'placed', String(id)))),
      mail: this.#mailbox.subjects.filter((subject) => subject === `Your order ${id}`).length,
    };
  }

  /** What is there of all orders. */
  async count(): Promise<Parts<number>> {
    const { rows } = await this.#orders.query<{ count: number }>('select count(*)::int from orders');
    return {
      orders: rows[0]!.count,
      stock: await this.#taken(),
      cache: (await this.#cache.keys('order:*')).length,
      files: readdirSync(join(this.#folder, 'placed')).length,
      mail: this.#mailbox.subjects.length,
    };
  }

  async #taken(): Promise<number> {
    const [rows] = await this.#stock.query<mysql.RowDataPacket[]>('select sum(quantity) as quantity from articles');
    return articles * openingStock - Number(rows[0]!['quantity']);
  }

  /** What is prepared in both databases, and the files that are staged. */
  async leftovers(): Promise<{ prepared: number; staged: number }> {
    const { rows } = await this.#orders.query<{ count: number }>('select count(*)::int from pg_prepared_xacts');
    const [branches] = await this.#stock.query<mysql.RowDataPacket[]>('xa recover');
    const names = readdirSync(this.#folder, { recursive: true, encoding: 'utf8' });
    return {
      prepared: rows[0]!.count + branches.length,
      staged: names.filter((name) => name.endsWith('-staged')).length,
    };
  }

  /** How many mails wait in the outbox. */
  async waitingMails(): Promise<number> {
    const text = "select count(*)::int from unanimous_outbox where target = 'mail'";
    const { rows } = await this.#orders.query<{ count: number }>(text);
    return rows[0]!.count;
  }

  async close(): Promise<void> {
    await Promise.all([this.#orders.end(), this.#stock.end()]);
    this.#cache.disconnect();
  }
}
