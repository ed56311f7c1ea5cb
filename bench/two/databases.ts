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
  /** Commits with a decision written down in the same transaction and message. */
  commitDecided(gid: string): Promise<unknown>;
  prepare(): Promise<unknown>;
  commitPrepared(): Promise<unknown>;
  /** Gives the connection back; closes it where something has failed. */
  release(failed: boolean): void;
};

/** Takes a connection. */
export type Database = () => Promise<Branch>;

/** The tables of decisions, as a decision log has them: who may decide, and what is decided. */
const NODES = 'create table if not exists by_hand_node (incarnation varchar(64) primary key)';
const DECISIONS =
  'create table if not exists by_hand_decision (gid varchar(64) primary key, incarnation varchar(64) not null, outcome char(1) not null, participants text not null)';
const INCARNATION = `node${process.pid}`;
/** Decisions that all have followed are deleted together, after this time in milliseconds. */
const FORGET_MS = 500;

/** Writes decisions down by hand, with the steps of a decision log. */
export class DecisionsByHand {
  readonly #pool: pg.Pool;
  readonly #ready: Promise<unknown>;
  #followed: string[] = [];

  constructor(connectionString: string) {
    this.#pool = new pg.Pool({ connectionString, max: CONNECTIONS, idleTimeoutMillis: 0 });
    this.#ready = this.#pool.query(`${NODES}; ${DECISIONS}; insert into by_hand_node values ('${INCARNATION}')`);
    setInterval(() => void this.#forget(), FORGET_MS).unref();
  }

  ready(): Promise<unknown> {
    return this.#ready;
  }

  static insert(gid: string): string {
    const registered = `(select incarnation from by_hand_node where incarnation = '${INCARNATION}' for key share)`;
    return `insert into by_hand_decision values ('${gid}', ${registered}, 'C', '["b"]')`;
  }

  decide(gid: string): Promise<unknown> {
    return this.#pool.query(DecisionsByHand.insert(gid));
  }

  followed(gid: string): void {
    this.#followed.push(gid);
  }

  async #forget(): Promise<void> {
    const gids = this.#followed;
    this.#followed = [];
    if (gids.length > 0) await this.#pool.query('delete from by_hand_decision where gid = any($1)', [gids]);
  }
}

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
      commitDecided: (gid) => client.query(`${DecisionsByHand.insert(gid)}; COMMIT`),
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
      commitDecided: () => Promise.reject(new Error('decisions are written down in PostgreSQL')),
      prepare: async () => {
        await connection.query(`xa end ${name}`);
        await connection.query(`xa prepare ${name}`);
      },
      commitPrepared: () => connection.query(`xa commit ${name}`),
      release: (failed) => (failed ? connection.destroy() : connection.release()),
    };
  };
}
