/** A statement that a library has prepared on a connection inside of a transaction. */
import type { MysqlCallback } from './driver.ts';

/** The connection that it was prepared on. */
interface Preparing {
  execute(sql: string, values: unknown, callback?: MysqlCallback): unknown;
  unprepare(sql: string): void;
}

/** Looks like a prepared statement of `mysql2`, whose pool of promises wraps it as one. The driver knows it by its text. */
export class PreparedStatement {
  /** Its text. */
  readonly query: string;
  /** As in `mysql2`. */
  readonly _connection: Preparing;

  constructor(connection: Preparing, text: string) {
    this.query = text;
    this._connection = connection;
  }

  /** Runs it. */
  execute(values: unknown, callback?: MysqlCallback): unknown {
    return this._connection.execute(this.query, values, callback);
  }

  /** Lets the server forget it. */
  close(): void {
    this._connection.unprepare(this.query);
  }
}
