// What the two databases hold at the start.
import { audit, bank } from './transfer.ts';
import { transaction } from 'unanimous';

export const accounts = 24;
export const openingBalance = 1_000;

/** Creates the tables of both databases in one transaction: PostgreSQL's DDL takes part as any other statement. */
export async function createTables(): Promise<void> {
  await transaction.run(async () => {
    await bank.query('create table accounts (id int primary key, balance int not null check (balance >= 0))');
    await bank.query('insert into accounts select id, $1 from generate_series(1, $2) id', [openingBalance, accounts]);
    await audit.query('create table entries (account int not null, amount int not null)');
  });
}
