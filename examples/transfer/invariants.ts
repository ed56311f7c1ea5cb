// What must hold afterwards, asked of the databases over connections that know nothing of this library.
import type pg from 'pg';
import type { Finding } from '../support/findings.ts';
import { number } from '../support/terminal.ts';
import { accounts, openingBalance } from './tables.ts';

/** The databases, over plain connections. */
export type Databases = { readonly bank: pg.Pool; readonly audit: pg.Pool };

export async function checkInvariants({ bank, audit }: Databases, committed: number): Promise<Finding[]> {
  const money = accounts * openingBalance;
  const balances = await sums(bank, 'select id as account, balance as sum from accounts');
  const booked = await sums(audit, 'select account, sum(amount)::int as sum from entries group by account');
  const total = [...balances.values()].reduce((sum, balance) => sum + balance, 0);
  const disagreeing = [...balances].filter(([id, balance]) => balance !== openingBalance + (booked.get(id) ?? 0));
  const entries = await count(audit, 'select count(*)::int from entries');
  const prepared = await count(bank, 'select count(*)::int from pg_prepared_xacts');
  const open = await count(
    bank,
    `select count(*)::int from pg_stat_activity where state like 'idle in transaction%' and pid <> pg_backend_pid()`,
  );
  return [
    {
      holds: total === money,
      what: 'the sum of all money is what it was',
      seen: `${number(total)} of ${number(money)}`,
    },
    {
      holds: disagreeing.length === 0,
      what: 'both databases agree on every account',
      seen: `${accounts - disagreeing.length} of ${accounts} accounts`,
    },
    {
      holds: entries === 2 * committed,
      what: 'what was said to be committed is stored, and nothing else',
      seen: `${number(entries)} entries for ${number(committed)} transfers`,
    },
    { holds: prepared === 0, what: 'no transaction is left prepared', seen: `${prepared} in pg_prepared_xacts` },
    { holds: open === 0, what: 'no connection is left in a transaction', seen: `${open} in pg_stat_activity` },
  ];
}

async function sums(pool: pg.Pool, text: string): Promise<Map<number, number>> {
  const { rows } = await pool.query<{ account: number; sum: number }>(text);
  return new Map(rows.map(({ account, sum }) => [account, sum]));
}

async function count(pool: pg.Pool, text: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(text);
  return rows[0]!.count;
}
