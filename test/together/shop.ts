// A shop over five resources, each a real one: an order is stored in PostgreSQL, the stock reduced in MariaDB, a cache entry written
// in Redis, a file renamed and a mail sent. Beside the sessions there is for each of them a way to see from outside what is there.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import nodemailer from 'nodemailer';
import { type RecoveryReport, type Session, type Transaction, TransactionCoordinator, register } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { MailSession } from 'unanimous/mail';
import { PgDecisionLog } from 'unanimous/pg';
import { recording } from 'unanimous/testing';
import { Folder } from '../datamanagers/files/setup.ts';
import { MailServer } from '../datamanagers/mail/setup.ts';
import { Database as Mysql, type DatabaseOptions as MysqlOptions } from '../datamanagers/mysql/setup.ts';
import { Database as Postgres, type DatabaseOptions as PostgresOptions } from '../datamanagers/pg/setup.ts';
import { Store, type StoreOptions } from '../datamanagers/redis/setup.ts';
import { mariadb, postgres } from '../support/servers.ts';
import { type TcpProxy, tcpProxy } from '../support/proxy.ts';
import { assert } from '../support/suite.ts';
import { type Database, type Order, type Placing, type Resource, type Seen, inStock, resources } from './order.ts';
import { type Sessions, take } from './sessions.ts';

/** The coordinator of a shop: what each of its transactions needs is said here. */
function makeCoordinator(isDecided: boolean, reported: Error[]): TransactionCoordinator {
  const options = { app: 'together', onError: (error: Error) => void reported.push(error) };
  return new TransactionCoordinator(isDecided ? options : { ...options, allowUnsafeCommit: true });
}

/** Recovery runs when a test says so. */
const NEVER_MS = 2_000_000_000;

export interface ShopOptions {
  /**
   * Whether decisions are written down, in the database of the orders: then Redis and mails come behind them, and are stored until they
   * are done. Otherwise what the order of the calls alone does.
   */
  readonly isDecided?: boolean;
  readonly orders?: PostgresOptions;
  readonly stock?: MysqlOptions;
  readonly cache?: StoreOptions;
  /** Servers of its own, where a test kills them. */
  readonly servers?: {
    readonly postgres?: Parameters<typeof Postgres.open>[0];
    readonly mariadb?: Parameters<typeof Mysql.open>[0];
  };
}

interface Parts {
  readonly isDecided: boolean;
  readonly reported: Error[];
  readonly coordinator: TransactionCoordinator;
  readonly orders: Postgres;
  readonly stock: Mysql;
  readonly cache: Store;
  readonly mailServer: MailServer;
  readonly mailProxy: TcpProxy;
  readonly folder: Folder;
}

let lastId = 0;
let openShops = 0;
/** Stops what this file shares with others, when its last shop closes: dropping databases takes its time. */
const shared = new Set<{ stop(): Promise<void> }>();

/** A server that is shared with others. */
async function sharing<T extends { stop(): Promise<void> }>(server: Promise<T>): Promise<T> {
  const started = await server;
  shared.add(started);
  return started;
}

export class Shop {
  readonly isDecided: boolean;
  /** What the coordinator has reported, as nobody could be thrown it. */
  readonly reported: readonly Error[];
  readonly coordinator: TransactionCoordinator;
  readonly orders: Postgres;
  readonly stock: Mysql;
  readonly cache: Store;
  readonly mailServer: MailServer;
  readonly mailProxy: TcpProxy;
  readonly folder: Folder;
  readonly sessions: Sessions;

  private constructor(parts: Parts) {
    const { coordinator } = parts;
    this.coordinator = coordinator;
    this.isDecided = parts.isDecided;
    this.reported = parts.reported;
    this.orders = parts.orders;
    this.stock = parts.stock;
    this.cache = parts.cache;
    // Of an idle connection that was cut.
    parts.orders.pool.on('error', () => undefined);
    this.mailServer = parts.mailServer;
    this.mailProxy = parts.mailProxy;
    this.folder = parts.folder;
    const transport = nodemailer.createTransport({ host: '127.0.0.1', port: parts.mailProxy.port });
    this.sessions = {
      orders: parts.orders.session,
      stock: parts.stock.session,
      cache: parts.cache.session,
      files: register(new FileSession({ root: parts.folder.path }), { coordinator }),
      mail: register(new MailSession(transport, { from: 'shop@example.org' }), { coordinator }),
    };
    if (!parts.isDecided) return;
    coordinator.configure({ decisionLog: new PgDecisionLog(this.sessions.orders), recovery: { everyMs: NEVER_MS } });
  }

  static async open({ isDecided = false, orders, stock, cache, servers }: ShopOptions = {}): Promise<Shop> {
    const reported: Error[] = [];
    const coordinator = makeCoordinator(isDecided, reported);
    const own = { coordinator };
    openShops++;
    const mailServer = await MailServer.open();
    const shop = new Shop({
      coordinator,
      isDecided,
      reported,
      orders: await Postgres.open(servers?.postgres ?? (await sharing(postgres())), {
        name: 'orders',
        ...orders,
        register: { ...own, ...orders?.register },
      }),
      stock: await Mysql.open(servers?.mariadb ?? (await sharing(mariadb())), {
        name: 'stock',
        ...stock,
        register: { ...own, ...stock?.register },
      }),
      cache: await Store.open({ name: 'cache', ...cache, register: { ...own, ...cache?.register } }),
      mailServer,
      mailProxy: await tcpProxy(mailServer.port),
      folder: await Folder.open(),
    });
    await shop.#createTables();
    for (const name of ['incoming', 'placed']) await mkdir(shop.folder.join(name));
    return shop;
  }

  async #createTables(): Promise<void> {
    await this.orders.admin.query(`
      create table orders (id int primary key, customer text not null, gid text not null);
      create function refuse() returns trigger language plpgsql as $$
        begin if new.customer = 'refused' then raise exception 'the customer is refused'; end if; return new; end $$;
      create constraint trigger at_commit after insert or update on orders deferrable initially deferred
        for each row execute function refuse();`);
    await this.stock.admin.query(
      'create table articles (id int primary key, quantity int not null check (quantity >= 0)) engine=innodb',
    );
  }

  /** An order that can be placed: its article is in stock, its file has come in. */
  async order(fields: Partial<Order> = {}): Promise<Order> {
    const id = ++lastId;
    const order = { id, article: id, quantity: 1, customer: 'alice', to: 'alice@example.org', ...fields };
    if (order.article === id) await this.stock.admin.query('insert into articles values (?, ?)', [id, inStock]);
    await this.restore(order);
    return order;
  }

  /** Puts the file of an order back to where it came in. */
  async restore(order: Order): Promise<void> {
    await writeFile(this.incoming(order), contentFor(order));
  }

  incoming({ id }: Order): string {
    return this.folder.join('incoming', String(id));
  }

  placed({ id }: Order): string {
    return this.folder.join('placed', String(id));
  }

  /** What is done with each resource for an order. */
  step(resource: Resource, order: Order, txn: Transaction): unknown {
    return take(resource, this.sessions, order, txn);
  }

  /** Places an order in one attempt, unless told otherwise. */
  place(order: Order, { steps = resources, log, first, also, run }: Placing = {}): Promise<Transaction> {
    return this.coordinator.run(
      async (txn) => {
        await first?.(txn);
        for (const resource of steps) await this.step(resource, order, txn);
        if (log !== undefined) this.record(txn, log);
        await also?.(txn);
        return txn;
      },
      { attempts: 1, ...run },
    );
  }

  /** Has everybody who takes part write down what they are called for. */
  record(txn: Transaction, log: string[]): void {
    for (const resource of resources) {
      const manager = txn.joined(this.sessions[resource] satisfies Session);
      if (manager !== undefined) recording(manager, log, resource);
    }
  }

  /** What there is of an order, by those who know nothing of transactions. */
  async look(order: Order): Promise<Seen> {
    const { id, article, quantity } = order;
    const [{ rowCount }, [left], cached, incoming, placed] = await Promise.all([
      this.orders.admin.query('select from orders where id = $1', [id]),
      this.stock.rows<{ quantity: number }>('select quantity from articles where id = ?', [article]),
      this.cache.admin.hexists(`order:${id}`, 'customer').catch(isNoHash),
      contentOf(this.incoming(order)),
      contentOf(this.placed(order)),
    ]);
    // One file, whole, in one of the two places.
    const isSound = [incoming, placed].filter((content) => content !== undefined).join() === contentFor(order);
    return {
      orders: rowCount ?? 0,
      stock: (inStock - left!.quantity) / quantity,
      cache: cached,
      files: isSound ? Number(placed !== undefined) : Number.NaN,
      mail: this.mailServer.subjects.filter((subject) => subject === `order ${id}`).length,
    };
  }

  /** The branches that are prepared, as the servers tell. */
  async prepared(): Promise<Record<Database, string[]>> {
    const rows = await this.stock.rows<{ data: Buffer | string }>('xa recover');
    const ofUs = await this.#idPrefix();
    return {
      orders: await this.orders.prepared(),
      stock: rows.map(({ data }) => String(data)).filter((data) => data.startsWith(ofUs)),
    };
  }

  /** Ends what is prepared of a transaction, as a person would. */
  async endPrepared(databases: readonly Database[], verb: 'commit' | 'rollback', gid: string): Promise<void> {
    for (const each of databases) {
      const session = this.sessions[each];
      // MariaDB lists those of the whole server.
      for (const xid of await session.listPrepared()) {
        if (xid.gid !== gid) continue;
        await (verb === 'commit' ? session.commitPrepared(xid) : session.rollbackPrepared(xid));
      }
    }
  }

  /** What all transaction ids of this shop begin with: a server of MariaDB lists those of all. */
  async #idPrefix(): Promise<string> {
    const [app, store, incarnation] = (await this.coordinator.run((txn) => txn.id)).split(':');
    // A decision store has an identity of its own, and the process several, one behind the other.
    return this.isDecided ? `${app}:${store}:` : `${app}:${store}:${incarnation}:`;
  }

  /** Has done what is still to be done by the decisions that are written down, now rather than in its time. */
  async recover(): Promise<RecoveryReport> {
    await this.orders.admin.query('update unanimous_outbox set next_at = now()');
    return this.coordinator.recover();
  }

  /** Nothing is prepared, locked, staged, watched or open. */
  async assertClean(): Promise<void> {
    assert.equal(await this.prepared(), { orders: [], stock: [] });
    await this.orders.assertClean();
    await this.stock.assertClean();
    await this.cache.assertClean();
    await this.orders.admin.query('select from orders for update nowait');
    await this.stock.admin.query('select id from articles for update nowait');
    assert.equal(
      Object.keys(await this.folder.content()).filter((name) => name.includes('unanimous')),
      [],
      'nothing is staged',
    );
    await assert.eventually(() => this.mailProxy.links.size === 0);
    if (this.isDecided) await assert.eventually(async () => assert.equal(await this.stored(), []));
  }

  /**
   * The decisions to commit that are kept because something follows from them still, and what is to be delivered. A decision to abort,
   * written where an answer was lost, stays for as long as this process may decide.
   */
  async stored(): Promise<unknown[]> {
    const { rows } = await this.orders.admin.query(
      "select gid from unanimous_decision where outcome = 'C' union all select gid from unanimous_outbox",
    );
    return rows;
  }

  async close(): Promise<void> {
    await this.coordinator.close();
    await Promise.all([this.orders, this.stock, this.cache].map((each) => each.close()));
    await this.mailProxy.close();
    await this.mailServer.die();
    await this.folder.remove();
    if (--openShops === 0) for (const server of shared) await server.stop();
  }
}

function contentFor({ id }: Order): string {
  return `order ${id}`;
}

/** What is in a file; undefined where there is none. */
async function contentOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Something else may be under the key, which is none of the order. */
function isNoHash(error: Error): 0 {
  if (error.message.startsWith('WRONGTYPE')) return 0;
  throw error;
}
