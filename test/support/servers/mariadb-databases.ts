// Databases of a MariaDB or MySQL that tests share, each with the name of the process that made it.
import { setTimeout as sleep } from 'node:timers/promises';
import mysql, { type Connection, type RowDataPacket } from 'mysql2/promise';

const dropTimeoutMs = 10_000;

/** The databases that this process has created on a server. */
export class MariadbDatabases {
  /** What the global transaction ids of this process start with. */
  readonly prefix: string;
  readonly #server: () => string;
  readonly #created: string[] = [];

  constructor(server: () => string) {
    this.#server = server;
    this.prefix = `u${process.pid.toString(36)}x${process.hrtime.bigint().toString(36)}`;
  }

  async create(label = 'test'): Promise<string> {
    // Files run side by side, so that a label alone does not tell their databases apart.
    const name = `unanimous_${label}_${process.pid}_${process.hrtime.bigint()}`;
    await administer(this.#server(), (connection) => connection.query(`CREATE DATABASE ${mysql.escapeId(name, true)}`));
    this.#created.push(name);
    const url = new URL(this.#server());
    url.pathname = `/${name}`;
    return url.href;
  }

  /** A prepared branch, like an open transaction, keeps its database from being dropped, so these end first. */
  async drop(): Promise<void> {
    const names = this.#created.splice(0);
    if (names.length === 0) return;
    await administer(this.#server(), async (connection) => {
      await connection.query('SET lock_wait_timeout = 2');
      await endSessions(connection, names);
      await rollBackBranches(connection, [this.prefix, ...names]);
      for (const name of names) await connection.query(`DROP DATABASE IF EXISTS ${mysql.escapeId(name, true)}`);
    });
  }
}

async function endSessions(connection: Connection, databases: readonly string[]): Promise<void> {
  const [rows] = await connection.query<RowDataPacket[]>(
    'SELECT id AS id FROM information_schema.processlist WHERE db IN (?)',
    [databases],
  );
  // It may have ended by itself meanwhile.
  for (const { id } of rows) await connection.query('KILL ?', [id]).catch(ignore('ER_NO_SUCH_THREAD'));
}

/** The list is one for the whole server and names no database, so only ids that tell whose they are can be rolled back. */
async function rollBackBranches(connection: Connection, marks: readonly string[]): Promise<void> {
  const deadline = performance.now() + dropTimeoutMs;
  for (;;) {
    const [rows] = await connection.query<RowDataPacket[]>('XA RECOVER');
    const ours = rows.filter(({ data }) => marks.some((mark) => String(data).includes(mark)));
    if (ours.length === 0) return;
    if (performance.now() > deadline) throw new Error(`${ours.length} prepared branches can't be rolled back`);
    for (const row of ours) {
      // A branch belongs to its session until the server has noticed the end of that.
      await connection.query(`XA ROLLBACK ${xidOf(row)}`).catch(ignore('ER_XAER_NOTA'));
    }
    await sleep(10);
  }
}

function xidOf(row: RowDataPacket): string {
  const data = Buffer.from(String(row['data']));
  const gtrid = data.subarray(0, row['gtrid_length']).toString('hex');
  const bqual = data.subarray(row['gtrid_length']).toString('hex');
  return `X'${gtrid}', X'${bqual}', ${row['formatID']}`;
}

function ignore(code: string): (error: unknown) => void {
  return (error) => {
    if ((error as { code?: string }).code !== code) throw error;
  };
}

async function administer(url: string, work: (connection: Connection) => Promise<unknown>): Promise<void> {
  const connection = await mysql.createConnection(url);
  try {
    await work(connection);
  } finally {
    await connection.end();
  }
}
