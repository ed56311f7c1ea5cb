// Transactions over mysql2 as they are written by hand.
import mysql from 'mysql2/promise';
import { type Way, simple } from '../throughput/slice.ts';
import { CONNECTIONS, SELECT, UPDATE, type Workload } from './workload.ts';

type Work = (connection: mysql.PoolConnection, id: number) => Promise<unknown>;

async function queries(connection: mysql.PoolConnection, id: number): Promise<void> {
  await connection.query(SELECT, [id]);
  await connection.query(UPDATE, [1, id]);
}

async function executes(connection: mysql.PoolConnection, id: number): Promise<void> {
  await connection.execute(SELECT, [id]);
  await connection.execute(UPDATE, [1, id]);
}

function poolOf(uri: string, options?: mysql.PoolOptions): mysql.Pool {
  return mysql.createPool({ uri, connectionLimit: CONNECTIONS, ...options });
}

/** As the documentation of mysql2 has it. */
function plain(work: Work): (url: string) => Way<Workload> {
  return (url) => {
    const pool = poolOf(url);
    return {
      write: simple(async (id) => {
        const connection = await pool.getConnection();
        try {
          await connection.beginTransaction();
          await work(connection, id);
          await connection.commit();
        } catch (error) {
          await connection.rollback();
          throw error;
        } finally {
          connection.release();
        }
      }),
    };
  };
}

let branches = 0;

/** What an XA branch that is begun now is named by in statements. */
export function nextBranch(): string {
  return `'by-hand:${process.pid}:${++branches}','mysql'`;
}

/** An XA branch, and `end`, which ends and commits it. */
function xa(
  work: Work,
  end: (connection: mysql.PoolConnection, branch: string) => Promise<unknown>,
  options?: mysql.PoolOptions,
): (url: string) => Way<Workload> {
  return (url) => {
    const pool = poolOf(url, options);
    return {
      write: simple(async (id) => {
        const connection = await pool.getConnection();
        try {
          const branch = nextBranch();
          await connection.query(`xa start ${branch}`);
          await work(connection, id);
          await end(connection, branch);
          connection.release();
        } catch (error) {
          // The server rolls back a branch that wasn't prepared.
          connection.destroy();
          throw error;
        }
      }),
    };
  };
}

async function oneByOne(connection: mysql.PoolConnection, branch: string): Promise<void> {
  await connection.query(`xa end ${branch}`);
  await connection.query(`xa commit ${branch} one phase`);
}

function inOneFlight(connection: mysql.PoolConnection, branch: string): Promise<unknown> {
  return connection.query(`xa end ${branch}; xa commit ${branch} one phase`);
}

export const byHand = {
  handWritten: plain(queries),
  handWrittenExecute: plain(executes),
  xaByHand: xa(queries, oneByOne),
  xaByHandExecute: xa(executes, oneByOne),
  xaByHandInOneFlight: xa(queries, inOneFlight, { multipleStatements: true }),
} as const;
