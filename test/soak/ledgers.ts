// What is in the databases, over connections that know nothing of this library and that nothing happens to.
import { Redis } from 'ioredis';
import driver, { type RowDataPacket } from 'mysql2/promise';
import pg from 'pg';
import { counterOf } from './bank.ts';
import type { BankName } from './setting.ts';
import { ACCOUNTS, type Move, OPENING_BALANCE } from './transfer.ts';

/** A line of a ledger. */
export interface Entry {
  readonly transfer: string;
  readonly gid: string;
  readonly moves: readonly Move[];
  readonly isCounted: boolean;
}

/** A message that is left in the outbox. */
export interface Letter {
  readonly gid: string;
  readonly attempts: number;
  readonly isDead: boolean;
  readonly error: string | null;
}

/** What one bank has. */
export interface BankState {
  readonly entries: readonly Entry[];
  readonly balances: ReadonlyMap<number, number>;
  readonly prepared: readonly string[];
  /** Transactions that nobody lists and that have no connection, but hold locks. */
  readonly strays: readonly string[];
}

/** What all have. */
export interface State {
  readonly banks: ReadonlyMap<BankName, BankState>;
  /** Decisions to commit that stand in the store. */
  readonly decisions: readonly string[];
  readonly outbox: readonly Letter[];
  /** Undefined where there are no counters. */
  readonly counters: ReadonlyMap<string, number> | undefined;
}

/** One bank's books, open. */
export interface BankBooks {
  /** All accounts as they are at the beginning, and nothing else. */
  reset(): Promise<void>;
  read(): Promise<BankState>;
  prepared(): Promise<string[]>;
  /** Breaks the books: to see whether that is found. */
  deleteEntry(transfer: string): Promise<void>;
  close(): Promise<void>;
}

/** The books of the bank where the decisions are. */
export interface StoreBooks extends BankBooks {
  decisions(): Promise<string[]>;
  outbox(): Promise<Letter[]>;
  /** Has what is in the outbox delivered now, as an operator would, but for dead letters. */
  deliverNow(): Promise<void>;
}

interface Row {
  readonly transfer: string;
  readonly gid: string;
  readonly moves: string;
  readonly is_counted: boolean | number;
}

function entryOf({ transfer, gid, moves, is_counted: isCounted }: Row): Entry {
  const parts = moves.split(' ').map((each) => each.split(':'));
  return {
    transfer,
    gid,
    moves: parts.map(([bank, account, amount]) => ({
      bank: bank as BankName,
      account: Number(account),
      amount: Number(amount),
    })),
    isCounted: Boolean(isCounted),
  };
}

const ACCOUNTS_TABLE = 'create table accounts (id int primary key, balance int not null)';
const LEDGER_TABLE =
  'create table ledger (transfer varchar(40) primary key, gid varchar(64) not null, moves varchar(200) not null, is_counted boolean not null)';
const OPENING = Array.from({ length: ACCOUNTS }, (_, index) => `(${index + 1}, ${OPENING_BALANCE})`).join();

export function postgresBooks(url: string): StoreBooks {
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  // Idle when its server is killed.
  pool.on('error', () => undefined);
  const rows = async <T extends object>(text: string): Promise<T[]> => (await pool.query<T>(text)).rows;
  /** The tables of the store are made when the first teller starts, and in one bank only. */
  const storeRows = async <T extends object>(table: string, rest: string): Promise<T[]> => {
    const [found] = await rows<{ table: string | null }>(`select to_regclass('${table}')::text as table`);
    return found!.table === null ? [] : rows<T>(`select * from ${table} ${rest}`);
  };
  const prepared = async (): Promise<string[]> =>
    (await rows<{ gid: string }>('select gid from pg_prepared_xacts')).map(({ gid }) => gid);
  return {
    prepared,
    async reset() {
      for (const gid of await prepared()) await rows(`rollback prepared '${gid}'`);
      const tables = await rows<{ name: string }>(
        'select tablename as name from pg_tables where schemaname = current_schema()',
      );
      for (const { name } of tables) await rows(`drop table ${name}`);
      for (const text of [ACCOUNTS_TABLE, LEDGER_TABLE, `insert into accounts values ${OPENING}`]) await rows(text);
    },
    async read() {
      const accounts = await rows<{ id: number; balance: number }>('select id, balance from accounts');
      return {
        entries: (await rows<Row>('select * from ledger')).map(entryOf),
        balances: new Map(accounts.map(({ id, balance }) => [id, balance])),
        prepared: await prepared(),
        strays: [],
      };
    },
    decisions: async () =>
      (await storeRows<{ gid: string }>('unanimous_decision', "where outcome = 'C'")).map(({ gid }) => gid),
    async outbox() {
      type Stored = {
        readonly gid: string;
        readonly attempts: number;
        readonly dead: boolean;
        readonly error: string | null;
      };
      const stored = await storeRows<Stored>('unanimous_outbox', 'order by created_at');
      return stored.map(({ gid, attempts, dead, error }) => ({ gid, attempts, isDead: dead, error }));
    },
    async deliverNow() {
      await rows('update unanimous_outbox set next_at = now() where not dead');
    },
    async deleteEntry(transfer) {
      await rows(`delete from ledger where transfer = '${transfer}'`);
    },
    close: () => pool.end(),
  };
}

export function mariadbBooks(url: string): BankBooks {
  const pool = driver.createPool({ uri: url, connectionLimit: 2 });
  const rows = async <T>(text: string): Promise<T[]> => (await pool.query<RowDataPacket[]>(text))[0] as T[];
  const prepared = async (): Promise<string[]> =>
    (await rows<{ data: Buffer | string }>('xa recover')).map(({ data }) => String(data));
  return {
    prepared,
    async reset() {
      for (const table of ['accounts', 'ledger']) await rows(`drop table if exists ${table}`);
      for (const text of [ACCOUNTS_TABLE, LEDGER_TABLE, `insert into accounts values ${OPENING}`]) await rows(text);
    },
    async read() {
      const accounts = await rows<{ id: number; balance: number }>('select id, balance from accounts');
      // Without a connection, these are prepared; what isn't listed any more should be gone.
      const ownerless = await rows<{ trx_id: string; trx_started: Date }>(
        'select trx_id, trx_started from information_schema.innodb_trx where trx_mysql_thread_id = 0',
      );
      const listed = await prepared();
      return {
        entries: (await rows<Row>('select * from ledger')).map(entryOf),
        balances: new Map(accounts.map(({ id, balance }) => [id, balance])),
        prepared: listed,
        strays:
          listed.length > 0 ? [] : ownerless.map((each) => `${each.trx_id}, since ${each.trx_started.toISOString()}`),
      };
    },
    async deleteEntry(transfer) {
      await rows(`delete from ledger where transfer = '${transfer}'`);
    },
    close: () => pool.end(),
  };
}

/** The counters of all accounts that have one. */
export async function readCounters(url: string, banks: readonly BankName[]): Promise<ReadonlyMap<string, number>> {
  const keys = banks.flatMap((bank) =>
    Array.from({ length: ACCOUNTS }, (_, index) => counterOf({ bank, account: index + 1 })),
  );
  const values = await withRedis(url, (client) => client.mget(keys));
  return new Map(keys.map((key, index) => [key, Number(values[index] ?? 0)]));
}

export async function resetCounters(url: string): Promise<void> {
  await withRedis(url, (client) => client.flushall());
}

async function withRedis<T>(url: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null, lazyConnect: true });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use(client);
  } finally {
    client.disconnect();
  }
}
