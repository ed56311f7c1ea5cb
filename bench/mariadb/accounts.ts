// The table that transactions on MariaDB work on.
import mysql from 'mysql2/promise';
import { ROWS } from '../throughput/slice.ts';

/** Creates the table, and returns the version of the server. */
export async function createAccounts(url: string): Promise<string> {
  const connection = await mysql.createConnection(url);
  try {
    await connection.query('create table accounts (id int primary key, balance int not null) engine = innodb');
    const rows = Array.from({ length: ROWS }, (_, index) => [index + 1, 0]);
    await connection.query('insert into accounts values ?', [rows]);
    await connection.query('analyze table accounts');
    const [versions] =
      await connection.query<(mysql.RowDataPacket & { version: string })[]>('select version() as version');
    return versions[0]!.version;
  } finally {
    await connection.end();
  }
}
