// A transfer over two databases: the accounts are in one, the auditors' journal is in the other.
import pg from 'pg';
import { register, transaction } from 'unanimous';
import { PgDecisionLog, PgSession } from 'unanimous/pg';

const { BANK_URL, AUDIT_URL } = process.env;
const bankPool = new pg.Pool({ connectionString: BANK_URL, max: 20 });
const auditPool = new pg.Pool({ connectionString: AUDIT_URL, max: 20 });
// pg emits this for an idle connection that the server has closed; without a listener it ends the process.
for (const pool of [bankPool, auditPool]) pool.on('error', (error) => console.error('connection lost:', error.message));

// A session for each database, made once. It takes a connection of its pool when a transaction first uses it.
export const bank = register(new PgSession(bankPool, { name: 'bank' }));
export const audit = register(new PgSession(auditPool, { name: 'audit' }));

// Before the first of several databases commits it is written down, in tables of the bank's own, that all will: so whatever crashes in
// between, another process finishes it.
transaction.configure({ decisionLog: new PgDecisionLog(bank) });

export class InsufficientFunds extends Error {
  override readonly name = 'InsufficientFunds';
}

/** Moves money, and writes that down in the other database: both, or neither. */
export async function transfer(from: number, to: number, amount: number): Promise<void> {
  await transaction.run(async () => {
    const debit = await bank.query('update accounts set balance = balance - $1 where id = $2 and balance >= $1', [
      amount,
      from,
    ]);
    if (debit.rowCount === 0) throw new InsufficientFunds(`account ${from} can't pay ${amount}`);
    await bank.query('update accounts set balance = balance + $1 where id = $2', [amount, to]);
    await audit.query('insert into entries (account, amount) values ($1, $2), ($3, $4)', [from, -amount, to, amount]);
  });
}

/** Waits for the transactions that are open, stops recovery, then closes the connections. */
export async function close(): Promise<void> {
  await transaction.close();
  await Promise.all([bankPool.end(), auditPool.end()]);
}
