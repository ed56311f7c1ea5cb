/** What a library is handed where it asks a pool for a connection inside of a transaction. */
import { EventEmitter } from 'node:events';
import { TransactionStateError } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import { type Enlisting, Enlistment } from '../sql/enlistment.ts';
import { EnlistedCommand } from './command.ts';
import type { MysqlConnection } from './connection.ts';
import { controlIn } from './control.ts';
import type { MysqlCallback, MysqlCorePool, MysqlField, MysqlQueryOptions } from './driver.ts';
import type { MysqlAnswer, Send } from './link.ts';
import { PreparedStatement } from './prepared.ts';
import { promised } from './promised.ts';
import { sendable, textOf } from './sendable.ts';
import { statementOf } from './statement.ts';

/** A statement as it was asked for. */
export interface Asked {
  readonly method: 'query' | 'execute';
  readonly text: string;
  readonly send: Send;
}

/** Is told whether something went well. */
type Done = (error?: Error | null) => void;

const PING = 'do 0';

/**
 * Looks like a connection of `mysql2`, and sends its statements over the connection of a transaction, where its own BEGIN, COMMIT and
 * ROLLBACK come to a savepoint. It never emits `error`: where the connection dies, the statements fail.
 */
export class EnlistedConnection extends EventEmitter {
  /** The session that it is of. */
  readonly name: string;
  /** What connections of the pool are configured with. */
  readonly config: object;
  /** Libraries ask it whether the connection is alive. */
  readonly stream: { readonly destroyed: boolean } = { destroyed: false };
  protected readonly enlistment: Enlistment;
  readonly #pool: MysqlCorePool;

  /** `txn` is the transaction that it is taken for; without one, it finds that of the calling code at each statement. */
  constructor(session: Enlisting, pool: MysqlCorePool, txn: Transaction | undefined) {
    super();
    this.name = session.name;
    this.enlistment = new Enlistment(session, txn);
    this.#pool = pool;
    // Its own, as libraries write into it.
    this.config = Object.create(pool.config.connectionConfig) as object;
  }

  /** As `query` of `mysql2`, in all its forms. */
  query(sql: string | MysqlQueryOptions, values?: unknown, callback?: MysqlCallback): EnlistedCommand {
    return this.#run('query', sql, values, callback);
  }

  /** As `execute` of `mysql2`, in all its forms. */
  execute(sql: string | MysqlQueryOptions, values?: unknown, callback?: MysqlCallback): EnlistedCommand {
    return this.#run('execute', sql, values, callback);
  }

  #run(
    method: Asked['method'],
    sql: string | MysqlQueryOptions,
    values: unknown,
    callback: MysqlCallback | undefined,
  ): EnlistedCommand {
    const done = typeof values === 'function' ? (values as MysqlCallback) : callback;
    const given = typeof values === 'function' ? undefined : values;
    const text = textOf(this.name, method, sql);
    // What was looked at is what is sent, whatever the caller does with its options while the statement waits for its turn.
    const options = typeof sql === 'string' ? sql : { ...sql };
    const asked: Asked = { method, text, send: (core, answer) => core[method](options, given, answer) };
    const command = new EnlistedCommand(text);
    if (done === undefined) command.pour(this.#pour(asked, command));
    else
      command.answer(
        attempt(() => this.ask(asked)),
        done,
      );
    return command;
  }

  /** Runs a statement, or does what it says of the client's own transaction. */
  protected ask({ method, text, send }: Asked): Promise<MysqlAnswer> {
    const control = controlIn(text);
    if (control === undefined) {
      const statement = sendable(this.name, method, text);
      return this.#perform((connection) => connection.query(statement, send));
    }
    if (!('name' in control)) return this.enlistment.control(control).then(() => [okHeader(), NO_FIELDS]);
    const statement = statementOf(text);
    return this.enlistment.performInOwn(control, (connection) =>
      (connection as MysqlConnection).query(statement, send),
    );
  }

  async #pour(asked: Asked, command: EnlistedCommand): Promise<void> {
    if (controlIn(asked.text) === undefined) return this.pour(asked, command);
    const [header] = await this.ask(asked);
    command.begun().end(header);
  }

  /** Runs a statement whose rows come one by one. */
  protected pour({ method, text, send }: Asked, command: EnlistedCommand): Promise<void> {
    const statement = sendable(this.name, method, text);
    return this.#perform(
      (connection) => connection.stream(statement, send, () => command.begun()),
      () => command.rows.destroy(),
    );
  }

  #perform<T>(work: (connection: MysqlConnection) => Promise<T>, stop?: () => void): Promise<T> {
    return this.enlistment.perform((connection) => work(connection as MysqlConnection), stop);
  }

  /** As `prepare` of `mysql2`: the statement is run by {@link execute}, which knows it by its text. */
  prepare(
    sql: string | MysqlQueryOptions,
    callback: (error: Error | null, statement?: PreparedStatement) => void,
  ): void {
    const text = textOf(this.name, 'prepare', sql);
    attempt(() => this.prepareAt(text)).then(
      () => callback(null, new PreparedStatement(this, text)),
      (error: Error) => callback(error),
    );
  }

  /** Prepares a statement at the server. */
  protected prepareAt(text: string): Promise<void> {
    sendable(this.name, 'prepare', text);
    return this.#perform((connection) => connection.prepareStatement(text));
  }

  /** Lets the server forget what it has prepared of a text. */
  unprepare(sql: string | MysqlQueryOptions): void {
    const text = textOf(this.name, 'unprepare', sql);
    const forget = (connection: MysqlConnection): Promise<void> => Promise.resolve(connection.unprepare(text));
    this.#perform(forget).catch(() => undefined);
  }

  /** As `START TRANSACTION`. */
  beginTransaction(callback?: MysqlCallback): EnlistedCommand {
    return this.query('START TRANSACTION', callback);
  }

  /** As `COMMIT`. */
  commit(callback?: MysqlCallback): EnlistedCommand {
    return this.query('COMMIT', callback);
  }

  /** As `ROLLBACK`. */
  rollback(callback?: MysqlCallback): EnlistedCommand {
    return this.query('ROLLBACK', callback);
  }

  /** Asks the server whether the connection of the transaction is alive; where it has none yet, nothing. */
  ping(callback?: Done): void {
    tell(
      attempt(() => this.pingAt()),
      callback,
    );
  }

  protected async pingAt(): Promise<void> {
    if (this.enlistment.branch()?.connection === undefined) return;
    await this.#perform((connection) =>
      connection.query(statementOf(PING), (core, answer) => core.query(PING, undefined, answer)),
    );
  }

  /** Is there already. */
  connect(callback?: (error: Error | null, connection?: unknown) => void): void {
    tell(Promise.resolve(), () => callback?.(null, this));
  }

  /** Refused: it would roll the transaction back. */
  reset(callback?: Done): void {
    tell(Promise.reject(this.#refusedError('reset')), callback);
  }

  /** Refused: it would roll the transaction back. */
  changeUser(options?: unknown, callback?: Done): void {
    tell(
      Promise.reject(this.#refusedError('changeUser')),
      typeof options === 'function' ? (options as Done) : callback,
    );
  }

  #refusedError(method: string): TransactionStateError {
    return new TransactionStateError(
      `a connection keeps its user and its session for as long as a transaction has it; ${method}() would roll that of '${this.name}' back, so nothing was sent`,
      { resource: this.name, phase: 'work' },
    );
  }

  /** Ends its use. What it has begun and not ended is rolled back; nothing happens to the connection. */
  release(): void {
    this.enlistment.release();
  }

  /** As {@link release}. */
  destroy(): void {
    this.release();
  }

  /** As {@link release}. */
  close(): void {
    this.release();
  }

  /** As {@link release}. */
  end(callback?: Done): void {
    this.release();
    tell(Promise.resolve(), callback);
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** The rows of a stream wait for their reader by themselves. */
  pause(): void {}

  /** As {@link pause}. */
  resume(): void {}

  /** As of a connection of the pool. */
  promise(implementation?: unknown): unknown {
    return promised(this.#pool, this, implementation);
  }

  /** The server's thread, once the transaction has sent a statement; else null. */
  get threadId(): number | null {
    return (this.enlistment.connection as MysqlConnection | undefined)?.threadId ?? null;
  }

  /** As libraries know it of `mysql`. */
  get state(): string {
    return 'authenticated';
  }

  /** As in `mysql2`. */
  format(sql: string, values?: unknown): string {
    return this.#pool.format(sql, values);
  }

  /** As in `mysql2`. */
  escape(value: unknown): string {
    return this.#pool.escape(value);
  }

  /** As in `mysql2`. */
  escapeId(value: string | string[]): string {
    return this.#pool.escapeId(value);
  }
}

/** A statement without rows has no fields. */
export const NO_FIELDS: MysqlField[] = undefined as unknown as MysqlField[];

/** What `mysql2` returns for a statement that changes nothing. */
export function okHeader(): object {
  return { fieldCount: 0, affectedRows: 0, insertId: 0, info: '', serverStatus: 3, warningStatus: 0, changedRows: 0 };
}

/** Makes a rejection of what is thrown. */
function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Tells of the end of something, in the context of whoever asked for it. */
function tell(ended: Promise<unknown>, callback: Done | undefined): void {
  ended.then(
    () => callback?.(null),
    (error: Error) => callback?.(error),
  );
}
