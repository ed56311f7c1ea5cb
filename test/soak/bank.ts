// What a teller works with: the banks as sessions, the counters, and a coordinator with its decisions in bank A. It is impatient, so that
// much happens in a short time.
import { Redis } from 'ioredis';
import driver from 'mysql2/promise';
import pg from 'pg';
import { type CoordinatorOptions, register, TransactionCoordinator } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';
import { LeaseOnlyLog } from './lease-only.ts';
import type { BankName, Setting } from './setting.ts';
import type { Move, Transfer } from './transfer.ts';

const PATIENCE = { acquireTimeoutMs: 3_000, endTimeoutMs: 1_500, resolveTimeoutMs: 1_000 };

/** A bank in transactions. */
export interface Bank {
  readonly name: BankName;
  change(move: Move): Promise<unknown>;
  /** Writes the transfer down, as every bank that takes part does. */
  book(gid: string, text: BookedText): Promise<unknown>;
  /** Takes longer than anybody waits. */
  sleep(): Promise<unknown>;
}

/** What the ledgers of all banks of a transfer say alike. */
export interface BookedText {
  readonly transfer: string;
  readonly moves: string;
  readonly isCounted: boolean;
}

export function bookedText({ id, moves, isCounted }: Transfer): BookedText {
  return {
    transfer: id,
    moves: moves.map(({ bank, account, amount }) => `${bank}:${account}:${amount}`).join(' '),
    isCounted,
  };
}

const SLEEP_SECONDS = 20;

function postgresBank(name: BankName, url: string, coordinator: TransactionCoordinator): [Bank, PgSession] {
  const pool = new pg.Pool({ connectionString: url, max: 8, connectionTimeoutMillis: 3_000 });
  pool.on('error', () => undefined);
  const session = register(new PgSession(pool, { name, ...PATIENCE }), { coordinator });
  const bank: Bank = {
    name,
    change: ({ account, amount }) =>
      session.query('update accounts set balance = balance + $1 where id = $2', [amount, account]),
    book: (gid, { transfer, moves, isCounted }) =>
      session.query('insert into ledger values ($1, $2, $3, $4)', [transfer, gid, moves, isCounted]),
    sleep: () => session.query('select pg_sleep($1)', [SLEEP_SECONDS]),
  };
  return [bank, session];
}

function mariadbBank(name: BankName, url: string, coordinator: TransactionCoordinator): Bank {
  const pool = driver.createPool({ uri: url, connectionLimit: 8, connectTimeout: 3_000 });
  const session = register(new MysqlSession(pool, { name, preparedWaitSeconds: 1, ...PATIENCE }), { coordinator });
  return {
    name,
    change: ({ account, amount }) =>
      session.query('update accounts set balance = balance + ? where id = ?', [amount, account]),
    book: (gid, { transfer, moves, isCounted }) =>
      session.query('insert into ledger values (?, ?, ?, ?)', [transfer, gid, moves, isCounted]),
    sleep: () => session.query('select sleep(?)', [SLEEP_SECONDS]),
  };
}

/** The counters: how often each account has taken part. */
export function counterOf({ bank, account }: Pick<Move, 'bank' | 'account'>): string {
  return `count:${bank}:${account}`;
}

/** What a teller has. */
export interface Desk {
  readonly coordinator: TransactionCoordinator;
  readonly banks: ReadonlyMap<BankName, Bank>;
  readonly counters: RedisSession | undefined;
}

export function openDesk({ name, urls, leaseMs, recovery }: Setting, options: CoordinatorOptions): Desk {
  const coordinator = new TransactionCoordinator({ app: 'soak', node: name });
  const [a, session] = postgresBank('a', urls.a!, coordinator);
  const [b] = postgresBank('b', urls.b!, coordinator);
  const banks = new Map<BankName, Bank>([
    ['a', a],
    ['b', b],
  ]);
  if (urls.c !== undefined) banks.set('c', mariadbBank('c', urls.c, coordinator));
  const Log = recovery === 'fence' ? PgDecisionLog : LeaseOnlyLog;
  coordinator.configure({
    decisionLog: new Log(session, { timeoutMs: 1_500 }),
    decisionTimeoutMs: 1_000,
    recovery: { leaseMs, everyMs: leaseMs / 4, ...options.recovery },
    onError: options.onError,
  });
  return { coordinator, banks, counters: urls.redis === undefined ? undefined : openCounters(urls.redis, coordinator) };
}

function openCounters(url: string, coordinator: TransactionCoordinator): RedisSession {
  const client = new Redis(url, { lazyConnect: true, connectTimeout: 2_000 });
  client.on('error', () => undefined);
  return register(new RedisSession(client, { name: 'counters', readTimeoutMs: 2_000, ...PATIENCE }), { coordinator });
}
