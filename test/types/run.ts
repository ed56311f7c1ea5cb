// What must compile, and by @ts-expect-error what must not; `npm run types` checks it, and nothing runs it.
import type pg from 'pg';
import { transaction, type Transaction } from 'unanimous';
import { PgSession, type PgPool } from 'unanimous/pg';

declare const pool: pg.Pool;

// A pool of pg is one as it is.
const structural: PgPool = pool;
const session = new PgSession(structural);

// run() resolves with what the function returns, awaited.
const length: number = await transaction.run(async (txn: Transaction) => txn.status.length);
// @ts-expect-error the result is a number
const text: string = await transaction.run(() => length);

// The rows have the type that the caller gives them.
const { rows } = await session.query<{ balance: number }>('SELECT balance FROM accounts');
const balance: number | undefined = rows[0]?.balance;
// @ts-expect-error there is no such column
void rows[0]?.name;

void [text, balance];
