/** What `query` and `execute` of a connection return at once: by events, or as a stream, it tells what comes of the statement. */
import { EventEmitter } from 'node:events';
import type { MysqlCallback } from './driver.ts';
import type { MysqlAnswer } from './link.ts';
import { Rows } from './rows.ts';

/** Looks like a command of `mysql2`, as far as whoever has asked for one looks at it. */
export class EnlistedCommand extends EventEmitter {
  /** The text that was given. */
  readonly sql: string;
  #rows: Rows | undefined = undefined;
  #isRead = false;

  constructor(sql: string) {
    super();
    this.sql = sql;
  }

  /** Tells `done` of the result. */
  answer(result: Promise<MysqlAnswer>, done: MysqlCallback): void {
    result.then(
      ([rows, fields]) => {
        this.emit('end');
        done(null, rows, fields);
      },
      (error: Error) => {
        this.emit('end');
        done(error);
      },
    );
  }

  /** Tells by events, or by the stream that is asked for, of the rows that `through` says are through. */
  pour(through: Promise<void>): void {
    through.then(
      () => this.emit('end'),
      (error: Error) => {
        this.rows.destroy(error);
        // One that nobody listens to is found where the transaction commits.
        if (this.listenerCount('error') > 0) this.emit('error', error);
        this.emit('end');
      },
    );
  }

  /** Where the rows go. */
  get rows(): Rows {
    if (this.#rows === undefined) this.#made(new Rows());
    return this.#rows!;
  }

  /** The rows, as they begin to come: where no stream was asked for, each is an event. */
  begun(): Rows {
    const { rows } = this;
    if (!this.#isRead) rows.on('data', (row) => this.emit('result', row));
    return rows;
  }

  #made(rows: Rows): void {
    this.#rows = rows;
    rows.on('fields', (fields) => this.emit('fields', fields));
    // Whoever reads them hears of it as well.
    rows.on('error', () => undefined);
  }

  /** The rows as a stream, as `stream` of a command of `mysql2`; `highWaterMark` is how many are read ahead. */
  stream(options?: object): Rows {
    if (this.#rows === undefined) this.#made(new Rows(options));
    this.#isRead = true;
    return this.#rows!;
  }
}
