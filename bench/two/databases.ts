// A database as it is used by hand, so that what is done to two of them can be written once.
import mysql from 'mysql2/promise';
import pg from 'pg';
import { UPDATE as MARIADB_UPDATE } from '../mariadb/workload.ts';
import { UPDATE as POSTGRES_UPDATE } from '../postgres/workload.ts';
import { CONNECTIONS, isMariadb } from './workload.ts';

/** A connection with one transaction. */
export type Branch = {
  /** Begins; with a name, what can be prepared under it. */
  begin(gid: string | undefined): Promise<unknown>;
  update(id: number): Promise<unknown>;
  /** Commits what was begun without a name. */
  commit(): Promise<unknown>;
  prepare(): Promise<unknown>;
  commitPrepared(): Promise<unknown>;
  /** Gives the connection back; closes it where something has failed. */
  release(failed: boolean): void;
};

/** Takes a connection. */
export type Database = () => Promise<Branch>;

/** The database of an address. */
export function databaseOf(url: string): Database {
  return isMariadb(url) ? mariadb(url) : postgres(url);
}

function postgres(connectionString: string): Database {
  const pool = new pg.Pool({ connectionString, max: CONNECTIONS, idleTimeoutMillis: 0 });
  return async () => {
    const client = await pool.connect();
    let name = '';
    return {
      begin: (gid) => {
        name = `'${gid}'`;
        return client.query('BEGIN');
      },
      update: (id) => client.query(POSTGRES_UPDATE, [id, 1]),
      commit: () => client.query('COMMIT'),
      prepare: () => client.query(`PREPARE TRANSACTION ${name}`),
      commitPrepared: () => client.query(`COMMIT PREPARED ${name}`),
      release: (failed) => client.release(failed),
    };
  };
}

function mariadb(uri: string): Database {
  const pool = mysql.createPool({ uri, connectionLimit: CONNECTIONS });
  return async () => {
    const connection = await pool.getConnection();
    let name = '';
    return {
      begin: (gid) => {
        name = `'${gid}','b'`;
        return gid === undefined ? connection.beginTransaction() : connection.query(`xa start ${name}`);
      },
      update: (id) => connection.query(MARIADB_UPDATE, [1, id]),
      commit: () => connection.commit(),
      prepare: async () => {
        await connection.query(`xa end ${name}`);
        await connection.query(`xa prepare ${name}`);
      },
      commitPrepared: () => connection.query(`xa commit ${name}`),
      release: (failed) => (failed ? connection.destroy() : connection.release()),
    };
  };
}
