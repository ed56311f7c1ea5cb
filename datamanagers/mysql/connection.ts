/** One connection of the pool while a transaction has it: what was begun, written and has failed there. */
import type { PassThrough } from 'node:stream';
import { SilentRollbackError, TransactionStateError } from '../../coordinator/errors.ts';
import type { Xid } from '../../coordinator/xid.ts';
import type { SqlBegin, SqlConnection, WrittenState } from '../sql/connection.ts';
import { connectionLost, endedByStatement } from '../sql/lost.ts';
import { beginTexts } from './begin.ts';
import type { MysqlCore, MysqlError } from './driver.ts';
import { errorNumber } from './driver.ts';
import {
  type Header,
  type KillQuery,
  type MysqlAnswer,
  MysqlLink,
  type Send,
  headersOf,
  isGivenUp,
  isOpen,
} from './link.ts';
import { ownerLock } from './owner-lock.ts';
import type { MysqlStatement } from './statement.ts';
import { XA_NOTA, isRolledBack } from './xa.ts';
import { xidText } from './xid.ts';

/** The server is read-only: ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE. */
const READ_ONLY_SERVER: ReadonlySet<number> = new Set([1290, 1836]);

export interface ConnectionOptions {
  /** How long the server may take to answer what ends a transaction, in milliseconds. */
  readonly endTimeoutMs: number;
  /** How long the server keeps a connection that has prepared and says nothing more, in seconds. */
  readonly preparedWaitSeconds: number;
}

export class MysqlConnection implements SqlConnection {
  readonly name: string;
  readonly #link: MysqlLink;
  readonly #options: ConnectionOptions;
  /** When this transaction got it, by the clock of `performance.now()`. */
  readonly sinceMs: number = performance.now();
  /** Until the first statement. */
  #begin: SqlBegin | undefined = undefined;
  /** The branch, as statements name it; undefined for a plain transaction. */
  #branch: string | undefined = undefined;
  #open = false;
  #uncertain: 'COMMIT' | 'PREPARE' | undefined = undefined;
  /** It isn't trusted with another transaction: an end has failed, or a statement has changed what others rely on. */
  #spoiled = false;
  /** It has prepared something that it may own for as long as it is open. */
  #owns = false;
  /** Why no statement may be sent any more: the transaction was cancelled, or the server has rolled it back. */
  #refusal: Error | undefined = undefined;
  #mustLook = false;
  isUndone = false;
  /** The first error of a statement since the last rollback. */
  firstError: Error | undefined = undefined;
  wrote = false;
  maybeWrote = false;
  /** Whether a statement has changed rows, or may have without its showing; but for functions called in a SELECT. */
  changedRows = false;

  constructor(name: string, core: MysqlCore, killQuery: KillQuery, options: ConnectionOptions) {
    this.name = name;
    this.#link = new MysqlLink(core, killQuery, options.endTimeoutMs);
    this.#options = options;
  }

  /** The server's thread for this connection. */
  get threadId(): number | null {
    return this.#link.threadId;
  }

  get broken(): Error | undefined {
    return this.#link.broken;
  }

  get open(): boolean {
    return this.#open;
  }

  /**
   * Whether a statement has failed and nothing was rolled back since. MySQL undoes only the statement and would commit the rest, so
   * that half of the work would be stored.
   */
  get failed(): boolean {
    return this.firstError !== undefined;
  }

  get isUncertain(): boolean {
    return this.#uncertain !== undefined;
  }

  start(begin: SqlBegin): void {
    this.#begin = begin;
    this.#branch = undefined;
    this.#open = false;
    this.#refusal = undefined;
    this.#mustLook = false;
    this.isUndone = false;
    this.firstError = undefined;
    this.wrote = false;
    this.maybeWrote = false;
    this.changedRows = false;
  }

  /** Runs a statement of the user's. */
  query(statement: MysqlStatement, send: Send): Promise<MysqlAnswer> {
    if (statement.marks && this.failed) return Promise.reject(this.#savepointTooLate());
    const ready = this.#ready();
    return ready === undefined ? this.#queryNow(statement, send) : ready.then(() => this.#queryNow(statement, send));
  }

  #queryNow(statement: MysqlStatement, send: Send): Promise<MysqlAnswer> {
    return this.#link.ask(send).then(
      (answer) => {
        this.#noteText(statement);
        for (const header of headersOf(answer)) this.#noteHeader(header);
        if (statement.returns) this.firstError = undefined;
        if (this.broken !== undefined) throw this.lost();
        return answer;
      },
      (error: MysqlError) => this.#failed(error),
    );
  }

  /** Prepares a statement of the user's at the server. */
  async prepareStatement(sql: string): Promise<void> {
    await this.#ready();
    await this.#ask((core, callback) => core.prepare(sql, callback));
  }

  /** Lets the server forget it. */
  unprepare(sql: string): void {
    this.#link.unprepare(sql);
  }

  /** Sends a statement and pipes its rows into what `rows` gives then; resolves when the server is through with it. */
  async stream(statement: MysqlStatement, send: Send, rows: () => PassThrough): Promise<void> {
    await this.#ready();
    this.#noteText(statement);
    try {
      await this.#link.stream(send, rows(), (header) => this.#noteHeader(header));
    } catch (error) {
      this.#failed(error as MysqlError);
    }
  }

  /** Begins where that hasn't been done, and refuses where the transaction is gone; undefined where there is nothing to wait for. */
  #ready(): Promise<void> | undefined {
    const isReady =
      this.#begin === undefined && !this.#mustLook && this.#refusal === undefined && this.broken === undefined;
    return isReady && this.#link.settled() === undefined ? undefined : this.#makeReady();
  }

  async #makeReady(): Promise<void> {
    await this.#link.settled();
    if (this.broken !== undefined) throw this.lost();
    if (this.#refusal === undefined) {
      if (this.#begin !== undefined) await this.#beginNow(this.#begin);
      else if (this.#mustLook) await this.#lookWhetherOpen();
    }
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  async #beginNow(begin: SqlBegin): Promise<void> {
    const branch = begin.mayPrepare ? xidText(begin.xid()) : undefined;
    const answers = await this.#link.flight(beginTexts(begin, branch), 'the beginning of a transaction');
    if (this.broken !== undefined) throw this.lost();
    const error = firstErrorOf(answers);
    if (error !== undefined) {
      this.#link.destroy(error);
      throw error;
    }
    this.#begin = undefined;
    this.#branch = branch;
    this.#open = true;
  }

  /**
   * After an error the transaction may be gone without a word (a deadlock rolls it back, and a lock timeout does where the server is so
   * configured), and the next statement of a plain one would commit by itself.
   */
  async #lookWhetherOpen(): Promise<void> {
    const [header] = headersOf(await this.#ask((core, callback) => core.query('do 0', undefined, callback)));
    this.#mustLook = false;
    if (isOpen(header!)) return;
    const cause = this.firstError;
    this.isUndone = true;
    this.#refusal = new TransactionStateError(
      `a statement needs the transaction that it belongs to; that on '${this.name}' was rolled back by the server when a statement failed (${cause?.message}), so nothing more is sent`,
      { resource: this.name, ...(cause === undefined ? {} : { cause }) },
    );
  }

  #ask(send: Send): Promise<MysqlAnswer> {
    return this.#link.ask(send).catch((error: MysqlError) => this.#failed(error));
  }

  #failed(error: MysqlError): never {
    // Since a failover, the pool has it to a server that is a replica now.
    if (READ_ONLY_SERVER.has(errorNumber(error) ?? 0)) this.#spoiled = true;
    if (errorNumber(error) !== undefined || isGivenUp(error)) {
      this.firstError ??= error;
      this.#mustLook = true;
      throw error;
    }
    // What the driver refuses by itself has changed nothing.
    throw error.fatal === true || error === this.broken ? this.lost() : error;
  }

  /** Learns from an answer what was written, and that the transaction is still open. */
  #noteHeader(header: Header): void {
    if (header.affectedRows > 0) this.wrote = this.changedRows = true;
    if (isOpen(header)) return;
    this.#open = false;
    this.#link.destroy(endedByStatement(this.name));
  }

  #noteText({ effect, tells, soils }: MysqlStatement): void {
    if (effect === 'write') this.wrote = true;
    else if (effect === 'maybe') this.maybeWrote = true;
    if (!tells) this.changedRows = true;
    if (soils) this.#spoiled = true;
  }

  /** What may have been written counts as written: MySQL can't be asked. */
  hasWritten(): Promise<boolean> {
    this.wrote ||= this.maybeWrote;
    this.maybeWrote = false;
    return Promise.resolve(this.wrote);
  }

  /** MySQL has no id by which it could be asked afterwards. */
  learnXid(): undefined {
    return undefined;
  }

  /** The error of committing a transaction in which a statement has failed. */
  silentRollback(): SilentRollbackError {
    const cause = this.firstError!;
    return new SilentRollbackError(
      `a transaction in which a statement has failed can't be committed: MySQL has undone that statement only, or all before it, and would commit the rest; ` +
        `one on '${this.name}' failed and its error was not acted on (${cause.message}), so nothing is stored: roll back to a savepoint to go on`,
      { resource: this.name, phase: 'commit', cause },
    );
  }

  #savepointTooLate(): TransactionStateError {
    const cause = this.firstError!;
    return new TransactionStateError(
      `a savepoint must be made before a statement fails; one on '${this.name}' has failed and nothing was rolled back since (${cause.message}), so a rollback to this one would not heal it`,
      { resource: this.name, phase: 'savepoint', cause },
    );
  }

  async savepoint(savepointName: string): Promise<WrittenState> {
    if (this.failed) throw this.#savepointTooLate();
    const state = { wrote: this.wrote, maybeWrote: this.maybeWrote };
    await this.#ready();
    await this.#text(`savepoint ${savepointName}`);
    return state;
  }

  async rollbackTo(savepointName: string, state: WrittenState): Promise<void> {
    await this.#ready();
    await this.#text(`rollback to savepoint ${savepointName}`);
    this.wrote = state.wrote;
    this.maybeWrote = state.maybeWrote;
    this.firstError = undefined;
  }

  async releaseSavepoint(savepointName: string): Promise<void> {
    await this.#ready();
    await this.#text(`release savepoint ${savepointName}`);
  }

  #text(text: string): Promise<MysqlAnswer> {
    return this.#ask((core, callback) => core.query(text, undefined, callback));
  }

  /** Commits in one phase. {@link isUncertain} is true when the reply was lost. */
  async commit(): Promise<void> {
    const branch = this.#branch;
    const texts = branch === undefined ? ['commit'] : [`xa end ${branch}`, `xa commit ${branch} one phase`];
    await this.#end(texts, 'COMMIT');
    this.#open = false;
  }

  /**
   * Runs statements and commits, unless `check` throws for the number of rows that one of them has changed.
   * @throws as {@link commit} does.
   */
  async commitAfter(texts: readonly string[], check: (affectedRows: number) => void): Promise<void> {
    await this.#ready();
    for (const text of texts) {
      const [header] = headersOf(await this.#text(text));
      check(header!.affectedRows);
    }
    await this.commit();
  }

  /** Prepares the branch. On MariaDB, and MySQL before 8.0.29, this connection owns it for as long as it is open. */
  async prepare(xid: Xid): Promise<void> {
    const branch = xidText(xid);
    const texts = [own(xid, this.#options.preparedWaitSeconds), `xa end ${branch}`, `xa prepare ${branch}`];
    await this.#end(texts, 'PREPARE');
    this.#open = false;
    this.#owns = true;
  }

  async #end(texts: readonly string[], what: 'COMMIT' | 'PREPARE'): Promise<void> {
    const settled = this.#link.settled();
    if (settled !== undefined) await settled;
    if (this.broken !== undefined) throw this.lost();
    this.#uncertain = what;
    const answers = await this.#link.flight(texts, what);
    const error = firstErrorOf(answers);
    const last = answers.at(-1)!.error;
    // An answer to the last statement that the server has sent is a reply, whatever it says.
    if (last === undefined || errorNumber(last) !== undefined) this.#uncertain = undefined;
    if (error === undefined) return;
    this.#spoiled = true;
    throw this.broken === undefined || errorNumber(error) !== undefined ? error : this.lost();
  }

  /** Ends a prepared branch from this connection. */
  async endPrepared(verb: 'commit' | 'rollback', xid: Xid): Promise<void> {
    await this.#link.settled();
    const texts = [`xa ${verb} ${xidText(xid)}`, disown(xid)];
    const [ended] = await this.#link.flight(texts, `XA ${verb.toUpperCase()}`);
    if (ended!.error !== undefined) throw ended!.error;
    this.#owns = false;
  }

  /** Rolls back what is open; nothing where no statement was sent. */
  async rollback(): Promise<void> {
    await this.#link.settled();
    this.#begin = undefined;
    if (!this.#open || this.broken !== undefined) return;
    const branch = this.#branch;
    const texts = branch === undefined ? ['rollback'] : [`xa end ${branch}`, `xa rollback ${branch}`];
    const last = (await this.#link.flight(texts, 'ROLLBACK')).at(-1)!.error;
    // The branch may have been rolled back before, which XA END complains of.
    if (last === undefined || isRolledBack(last) || errorNumber(last) === XA_NOTA) {
      this.#open = false;
      return;
    }
    this.#spoiled = true;
    if (this.broken === undefined) throw last;
  }

  /** Stops the statement under way, and lets none follow; where the server doesn't obey, cuts the connection. */
  cancel(reason: Error): void {
    this.#refusal ??= reason;
    this.#link.cancel(reason);
  }

  async resume(): Promise<void> {
    await this.#link.settled();
    if (this.isUndone) return;
    this.#refusal = undefined;
    this.#mustLook = true;
  }

  /** Cuts the connection. The server rolls back when it notices. */
  destroy(reason: Error): void {
    this.#link.destroy(reason);
  }

  /** Whether another transaction may have it: idle, its end went well, and no cancel was sent that might hit whoever has it next. */
  get isClean(): boolean {
    const isIdle = !this.#open && this.#uncertain === undefined;
    return isIdle && this.#link.isClean && !this.#spoiled && !this.#owns;
  }

  /** Gives the connection back to the pool; closed, where it isn't clean or `close` says so. */
  release(close = false): void {
    if (close || !this.isClean) this.#link.close();
    else this.#link.release();
  }

  lost(): Error {
    return connectionLost(this.name, this.broken!, this.#uncertain === 'COMMIT');
  }
}

/** Others see whether the connection is still there; and a paused process keeps it, and the branch, for so many seconds at most. */
function own(xid: Xid, seconds: number): string {
  return `set @unanimous_wait = @@session.wait_timeout, session wait_timeout = ${seconds}, @unanimous_owner = get_lock(${ownerLock(xid)}, 0)`;
}

function disown(xid: Xid): string {
  return `set session wait_timeout = @unanimous_wait, @unanimous_owner = release_lock(${ownerLock(xid)})`;
}

function firstErrorOf(answers: readonly { readonly error: MysqlError | undefined }[]): MysqlError | undefined {
  return answers.find(({ error }) => error !== undefined)?.error;
}
