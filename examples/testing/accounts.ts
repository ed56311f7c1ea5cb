// What is tested: functions with transactions of their own.
import pg from 'pg';
import { register, transaction } from 'unanimous';
import { PgSession } from 'unanimous/pg';

const { BANK_URL } = process.env;
export const pool = new pg.Pool({ connectionString: BANK_URL });
const bank = register(new PgSession(pool, { name: 'bank' }));

export async function transfer(from: number, to: number, amount: number): Promise<void> {
  await transaction.run(async () => {
    await bank.query('update accounts set balance = balance - $1 where id = $2', [amount, from]);
    await bank.query('update accounts set balance = balance + $1 where id = $2', [amount, to]);
  });
}

export async function balanceOf(id: number): Promise<number> {
  return transaction.run(async () => {
    const { rows } = await bank.query<{ balance: number }>('select balance from accounts where id = $1', [id]);
    return rows[0]!.balance;
  });
}
