/** The wire of a connection while a transaction has it: one command at a time, each of which ends, and no error unheard. */
import type { PassThrough } from 'node:stream';
import { watch } from '../sql/watch.ts';
import type { MysqlCallback, MysqlCommand, MysqlCore, MysqlError, MysqlField } from './driver.ts';
import { type Answer, pipeline } from './pipeline.ts';
import { pourInto } from './rows.ts';

/** How long the server may take to obey a cancel, in milliseconds. */
const GRACE_MS = 5_000;

/** How long the rest of a stream that nobody reads any more may take before the server is told to stop it, in milliseconds. */
const UNREAD_MS = 20;

/** What the driver calls its own giving up, which leaves the statement running. */
const GIVEN_UP = 'PROTOCOL_SEQUENCE_TIMEOUT';

/** What a statement returns, as `mysql2` does. */
export type MysqlAnswer = [rows: unknown, fields: MysqlField[]];

/** What the server says of a statement without rows. */
export interface Header {
  readonly affectedRows: number;
  readonly serverStatus: number;
}

/** In the status of a header: a transaction is open. */
const IN_TRANSACTION = 1;

/** Whether a transaction is open behind a statement. */
export function isOpen({ serverStatus }: Header): boolean {
  return (serverStatus & IN_TRANSACTION) !== 0;
}

/** What the statements without rows have answered, of one statement or of several. */
export function headersOf([rows, fields]: MysqlAnswer): Header[] {
  if (fields === undefined) return [rows as Header];
  // Of several statements, and of CALL, there is a list of each; a statement without rows has no columns.
  const several: readonly (MysqlField | MysqlField[] | undefined)[] = fields;
  if (several[0] !== undefined && !Array.isArray(several[0])) return [];
  return (rows as unknown[]).filter((_, index) => several[index] === undefined) as Header[];
}

/** Sends a command of the driver's, which tells of the result by events where there is no callback. */
export type Send = (core: MysqlCore, callback?: MysqlCallback) => unknown;

/** Asks the server, over another connection, to stop the statement under way on this one. */
export type KillQuery = (threadId: number) => Promise<void>;

/** Whether the driver gave up waiting for a statement, by its option `timeout`. */
export function isGivenUp(error: MysqlError): boolean {
  return error.code === GIVEN_UP;
}

export class MysqlLink {
  readonly #core: MysqlCore;
  readonly #killQuery: KillQuery;
  readonly #endTimeoutMs: number;
  readonly #onGone: (error?: Error) => void;
  /** Why nothing more can be sent. */
  broken: Error | undefined = undefined;
  /** A KILL QUERY, which might hit whatever is sent before it is answered. */
  #cancelling: Promise<void> | undefined = undefined;
  /** Runs while a command is to obey a cancel. */
  #disobeyed: NodeJS.Timeout | undefined = undefined;
  /** Ends the wait for an answer that never comes; undefined while nothing is under way. */
  #abandon: ((error: Error) => void) | undefined = undefined;
  /** Whether what is under way may be stopped by KILL QUERY. */
  #mayKill = false;
  /** Where the rows go that are under way. */
  #rows: PassThrough | undefined = undefined;

  constructor(core: MysqlCore, killQuery: KillQuery, endTimeoutMs: number) {
    this.#core = core;
    this.#killQuery = killQuery;
    this.#endTimeoutMs = endTimeoutMs;
    // A connection without a listener for its errors ends the process when the server goes away.
    this.#onGone = (error) => {
      this.broken ??= error ?? new Error('the server closed the connection');
      this.#abandon?.(this.broken);
    };
    core.on('error', this.#onGone);
    core.on('end', this.#onGone);
  }

  /** The server's thread for this connection. */
  get threadId(): number | null {
    return this.#core.threadId;
  }

  /** Whether another transaction may have it: alive, and never told to stop anything, which might hit that one. */
  get isClean(): boolean {
    return this.broken === undefined && this.#cancelling === undefined;
  }

  /** Resolves when a cancel that was sent can't hit any more what is sent next. */
  settled(): Promise<void> | undefined {
    return this.#cancelling;
  }

  /** Sends one command; resolves or rejects when the server is through with it. */
  ask(send: Send): Promise<MysqlAnswer> {
    return this.#underWay(true, (resolve: (answer: MysqlAnswer) => void, reject) => {
      let isGivenUpOn = false;
      const command = send(this.#core, (error: MysqlError | null | undefined, rows, fields) => {
        if (isGivenUpOn) return;
        if (error === null || error === undefined) return resolve([rows, fields as MysqlField[]]);
        if (!isGivenUp(error)) return reject(error);
        // The statement is still running: it is over when the server says so.
        isGivenUpOn = true;
        (command as MysqlCommand).once('end', () => reject(error));
        this.#stop(error);
      });
    });
  }

  /**
   * Sends a statement and pipes its rows into `rows`, which hears of their fields as well; resolves when the server is through with it.
   * Calls `onHeader` with what the server says of each statement without rows.
   */
  stream(send: Send, rows: PassThrough, onHeader: (header: Header) => void): Promise<void> {
    this.#rows = rows;
    let unread: NodeJS.Timeout | undefined;
    return this.#underWay<void>(true, (resolve, reject) => {
      const command = send(this.#core) as MysqlCommand;
      let failure: MysqlError | undefined;
      let isOver = false;
      command.on('error', (error: MysqlError) => {
        failure ??= error;
        if (isGivenUp(error)) this.#stop(error);
      });
      command.on('fields', (fields) => {
        if (fields === undefined) command.once('result', (header) => onHeader(header as Header));
        rows.emit('fields', fields);
      });
      // The server goes on sending what nobody reads any more, so that the end of the stream isn't that of the statement.
      command.once('end', () => {
        isOver = true;
        if (failure === undefined || unread !== undefined) resolve();
        else reject(failure);
      });
      pourInto(rows, command, () => {
        if (isOver || failure !== undefined) return;
        unread = setTimeout(() => this.#stop(new Error('the rest of a stream was not to be had')), UNREAD_MS);
      });
    }).finally(() => {
      clearTimeout(unread);
      this.#rows = undefined;
    });
  }

  /** Sends what begins or ends a transaction; where the answer takes too long the connection is cut, as if the network had. Never rejects. */
  flight(texts: readonly string[], what: string): Promise<Answer[]> {
    const ms = this.#endTimeoutMs;
    const inTime = watch(ms, () => this.destroy(new Error(`no answer to ${what} within ${ms} ms`)));
    return this.#underWay(false, (resolve: (answers: Answer[]) => void, reject) => {
      pipeline(this.#core, texts).then(resolve, reject);
    }).then(
      (answers) => {
        inTime();
        this.broken ??= answers.find(({ error }) => error?.fatal === true)?.error;
        return answers;
      },
      (error: Error) => {
        inTime();
        return texts.map(() => ({ error, rows: undefined }));
      },
    );
  }

  /** Lets the server forget what it has prepared of a text, without waiting for it. */
  unprepare(sql: string): void {
    if (this.broken === undefined) this.#core.unprepare(sql);
  }

  #underWay<T>(
    mayKill: boolean,
    start: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    this.#mayKill = mayKill;
    return new Promise<T>((resolve, reject) => {
      const failed = (error: Error): void => {
        this.#over();
        if ((error as MysqlError).fatal === true) this.broken ??= error;
        reject(error);
      };
      this.#abandon = failed;
      start((value) => {
        this.#over();
        resolve(value);
      }, failed);
    });
  }

  /** Nothing is under way any more. */
  #over(): void {
    this.#abandon = undefined;
    if (this.#disobeyed === undefined) return;
    clearTimeout(this.#disobeyed);
    this.#disobeyed = undefined;
  }

  /** Stops what is under way, for good; failing that, cuts the connection. */
  cancel(reason: Error): void {
    // Whoever reads them learns why; and the connection must be read to hear that the server has obeyed.
    this.#rows?.destroy(reason);
    this.#stop(reason);
  }

  /** Asks the server, over another connection, to stop the statement under way; cuts the connection where it doesn't obey. */
  #stop(reason: Error): void {
    if (this.#abandon === undefined || this.#disobeyed !== undefined || this.broken !== undefined) return;
    // Until the command ends: that the server was asked doesn't mean that its answer gets through.
    this.#disobeyed = setTimeout(() => this.destroy(reason), GRACE_MS);
    // What ends a transaction is not interrupted half-way: it is answered, or given up.
    if (this.#mayKill) this.#cancelling = this.#killQuery(this.threadId!).catch(() => this.destroy(reason));
  }

  /** Cuts the connection. The server rolls back when it notices. */
  destroy(reason: Error): void {
    this.broken ??= reason;
    // An error of its own, because the driver writes into it.
    this.#core.stream.destroy(new Error(reason.message, { cause: reason }));
    this.#abandon?.(reason);
  }

  /** Gives the connection back to the pool. */
  release(): void {
    this.#core.removeListener('error', this.#onGone);
    this.#core.removeListener('end', this.#onGone);
    this.#core.release();
  }

  /** Closes it. Its errors go on being heard: the driver may tell of one more than once. */
  close(): void {
    this.#core.destroy();
    if (this.broken !== undefined) this.#core.stream.destroy();
  }
}
