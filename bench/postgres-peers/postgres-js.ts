// postgres.js, which prepares all statements under names of its own unless it is told not to.
import postgres, { type TransactionSql } from 'postgres';
import { simple } from '../throughput/slice.ts';
import { CONNECTIONS } from './connect.ts';
import type { Make } from './make.ts';

function begins(work: (sql: TransactionSql, id: number) => unknown): Make {
  return (url) => {
    const sql = postgres(url, { max: CONNECTIONS, onnotice: () => {} });
    return { write: simple((id) => sql.begin((tx) => work(tx, id))) };
  };
}

export const makers = {
  awaited: begins(async (sql, id) => {
    await sql`select balance from accounts where id = ${id}`;
    await sql`update accounts set balance = balance + ${1} where id = ${id}`;
  }),
  // An array is how it is told that nobody waits between them.
  pipelined: begins((sql, id) => [
    sql`select balance from accounts where id = ${id}`,
    sql`update accounts set balance = balance + ${1} where id = ${id}`,
  ]),
} as const satisfies Record<string, Make>;
