// The table that transactions on PostgreSQL work on.
import pg from 'pg';
import { ROWS } from '../throughput/slice.ts';

/** Creates the table, and returns the version of the server. */
export async function createAccounts(url: string): Promise<string> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query('create table accounts (id int primary key, balance int not null) with (fillfactor = 50)');
    await client.query('insert into accounts select n, 0 from generate_series(1, $1) n', [ROWS]);
    await client.query('vacuum analyze accounts');
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]!.server_version;
  } finally {
    await client.end();
  }
}
