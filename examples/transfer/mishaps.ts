// What goes wrong on purpose. Each works as an application would, around the same transfer().
import { SilentRollbackError, type Transaction, transaction } from 'unanimous';
import type pg from 'pg';
import { accounts, openingBalance } from './tables.ts';
import { InsufficientFunds, audit, bank, transfer } from './transfer.ts';

/** Told of each error that led to another attempt, or may have. */
type Seen = (error: unknown) => void;

/** Calls `work` in a transaction, in which transfer() then takes part; looks at what is thrown before it is tried again. */
async function watched(seen: Seen, work: (txn: Transaction) => Promise<void>): Promise<void> {
  await transaction.run(
    async (txn) => {
      try {
        await work(txn);
      } catch (error) {
        seen(error);
        throw error;
      }
    },
    { attempts: 6 },
  );
}

/** An account, and another one. */
function twoAccounts(): [number, number] {
  const from = 1 + Math.floor(Math.random() * accounts);
  const step = 1 + Math.floor(Math.random() * (accounts - 1));
  return [from, 1 + ((from - 1 + step) % accounts)];
}

function anAmount(): number {
  return 1 + Math.floor(Math.random() * 20);
}

/** A transfer like most. */
export async function ordinary(): Promise<void> {
  await transfer(...twoAccounts(), anAmount());
}

/** More than all accounts hold: the application throws, so nothing is stored. */
export async function overdraw(): Promise<void> {
  await transfer(...twoAccounts(), accounts * openingBalance + 1);
}

/**
 * A statement fails, and its error is swallowed: to PostgreSQL the transaction is lost, though its COMMIT would answer without an
 * error.
 */
export async function swallow(): Promise<void> {
  await transaction.run(async () => {
    await transfer(...twoAccounts(), anAmount());
    await audit.query("insert into remarks values ('made by hand')").catch(() => undefined);
  });
}

/** Two transfers lock the same two accounts in opposite order. PostgreSQL makes one of them fail, which is tried again. */
export async function cross(seen: Seen): Promise<[PromiseSettledResult<void>, PromiseSettledResult<void>]> {
  const [one, other] = twoAccounts();
  const bothHaveLocked = meeting(2);
  const inOrder = (first: number, second: number): Promise<void> =>
    watched(seen, async (txn) => {
      await bank.query('select from accounts where id = $1 for update', [first]);
      if (txn.attempt === 1) await bothHaveLocked();
      await transfer(second, first, anAmount());
    });
  return Promise.allSettled([inOrder(one, other), inOrder(other, one)]);
}

/** The first call of what this returns waits until there were `count` calls, but no longer than a moment. */
function meeting(count: number): () => Promise<void> {
  let arrived = 0;
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return async () => {
    if (++arrived === count) open();
    // Another deadlock may have ended one of them before it came here.
    const timer = setTimeout(open, 200);
    await opened;
    clearTimeout(timer);
  };
}

/** The server's process that serves the bank is terminated between two statements. */
export async function killInTheMiddle(seen: Seen, administrator: pg.Pool): Promise<void> {
  await watched(seen, async (txn) => {
    if (txn.attempt === 1) await kill(administrator, bank);
    await transfer(...twoAccounts(), anAmount());
  });
}

/** The server's process that serves the audit is terminated after the last statement, before its vote. */
export async function killBeforeVote(seen: Seen, administrator: pg.Pool): Promise<void> {
  await watched(seen, async (txn) => {
    await transfer(...twoAccounts(), anAmount());
    if (txn.attempt === 1) await kill(administrator, audit);
  });
}

async function kill(administrator: pg.Pool, session: typeof bank): Promise<void> {
  const { rows } = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
  await administrator.query('select pg_terminate_backend($1, 1000)', [rows[0]!.pid]);
}

/** What the application is meant to be thrown. Every other error is one too many. */
export function isIntended(error: unknown): boolean {
  return error instanceof InsufficientFunds || error instanceof SilentRollbackError;
}
