// What the service works on, as everybody else sees it: over connections that know nothing of this library.
import { Redis } from 'ioredis';
import pg from 'pg';

export const customers = ['alice', 'bob', 'carol', 'dave'] as const;
export const articles = 5;
export const openingStock = 250;

/** What is there of all orders. */
export interface Stored {
  /** The number of each order that was stored, by its key. */
  readonly orders: ReadonlyMap<string, number>;
  /** How much of all articles the orders have, and how much is missing from the stock. */
  readonly ordered: number;
  readonly taken: number;
  /** The smallest stock of an article. */
  readonly lowest: number;
  /** What Redis has counted; undefined where there is none. */
  readonly counted: number | undefined;
  readonly prepared: number;
}

export class Outside {
  readonly #pool: pg.Pool;
  readonly #cache: Redis | undefined;

  constructor(ordersUrl: string, cacheUrl: string | undefined) {
    this.#pool = new pg.Pool({ connectionString: ordersUrl, max: 2 });
    // The servers are stopped behind this.
    this.#pool.on('error', () => undefined);
    this.#cache = cacheUrl === undefined ? undefined : new Redis(cacheUrl);
  }

  /** Makes the tables, and fills the stock. */
  async open(): Promise<void> {
    await this.#pool.query(`create table articles (id int primary key, quantity int not null);
      create table customers (name text primary key);
      create table orders (id serial primary key, key text not null unique,
        customer text not null references customers deferrable initially deferred);
      create table lines (order_id int not null references orders, article int not null references articles, quantity int not null)`);
    await this.#pool.query('insert into articles select n, $1 from generate_series(1, $2) n', [openingStock, articles]);
    await this.#pool.query('insert into customers select unnest($1::text[])', [customers]);
  }

  async look(): Promise<Stored> {
    const ask = async <T extends pg.QueryResultRow>(text: string): Promise<T[]> =>
      (await this.#pool.query<T>(text)).rows;
    const [orders, [sums], [prepared], counted] = await Promise.all([
      ask<{ key: string; id: number }>('select key, id from orders'),
      ask<{ ordered: number; left: number; lowest: number }>(
        'select (select coalesce(sum(quantity), 0)::int from lines) ordered, sum(quantity)::int "left", min(quantity) lowest from articles',
      ),
      ask<{ n: number }>('select count(*)::int n from pg_prepared_xacts'),
      this.#cache?.get('orders'),
    ]);
    return {
      orders: new Map(orders.map(({ key, id }) => [key, id])),
      ordered: sums!.ordered,
      taken: articles * openingStock - sums!.left,
      lowest: sums!.lowest,
      counted: this.#cache === undefined ? undefined : Number(counted ?? 0),
      prepared: prepared!.n,
    };
  }

  async close(): Promise<void> {
    await this.#pool.end();
    this.#cache?.disconnect();
  }
}
