/** One connection of the pool while a transaction has it: one thing at a time, and never lost sight of. */
import { SilentRollbackError } from '../../coordinator/errors.ts';
import {
  type PgClient,
  type PgClientClass,
  type PgPool,
  type PgQueryConfig,
  type PgResult,
  type PgSubmittable,
  sqlState,
} from './driver.ts';
import { type Flight, type FlightClass, extend, flightClass, lastResult } from './flight.ts';
import type { Xid } from '../../coordinator/xid.ts';
import type { SqlBegin, SqlConnection, WrittenState } from '../sql/connection.ts';
import { connectionLost, endedByStatement } from '../sql/lost.ts';
import { effectOf } from '../sql/state.ts';
import { type Statement, statementOf } from '../sql/statement.ts';
import { watch } from '../sql/watch.ts';
import { beginText } from './begin.ts';
import { listen } from './check-out.ts';
import { gidOf, literal } from './gid.ts';
import { type OwnStatement, inlined } from './own-statement.ts';
import { callWithClient } from './out-of-band.ts';
import { forgetNames, isNameGone, nameFor, rename } from './names.ts';
import {
  QUESTION,
  type Question,
  answered,
  forgetQuestion,
  isDirect,
  isQuestionGone,
  questionFor,
} from './question.ts';
import type { Lingering } from './lingering.ts';
import { Train } from './train.ts';

/** How long the server may take to say that it is ready again after an error, or to obey a cancel, in milliseconds. */
const GRACE_MS = 5_000;

const NO_SUCH_STATEMENT = '26000';

/** Command tags of what changes rows and nothing else. */
const CHANGES_ROWS: ReadonlySet<string> = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'COPY']);

export interface ConnectionOptions {
  /** How long the server may take to answer what ends a transaction, in milliseconds. */
  readonly endTimeoutMs: number;
  /** Whether statements that come again get a name. */
  readonly namesStatements: boolean;
  /** Where connections wait for the next transaction. */
  readonly lingering: Lingering<PgConnection>;
}

export class PgConnection implements SqlConnection {
  readonly name: string;
  readonly #client: PgClient;
  readonly #pool: PgPool;
  readonly #Flight: FlightClass;
  readonly #onError: (error: Error) => void;
  readonly #lingering: Lingering<PgConnection>;
  /** BEGIN with its options, until the first statement takes it along. */
  #begin: string | undefined = undefined;
  #open = false;
  /** The server is still in the transaction before, which is over and has only read: a ROLLBACK goes ahead of BEGIN. */
  #lingers = false;
  timesHandedOn = 0;
  /** Whether a COMMIT or PREPARE was sent and its reply never came. */
  #uncertain: 'COMMIT' | 'PREPARE' | undefined = undefined;
  /** False where what went ahead of the end in the same flight has failed, so that the end was not run. */
  #wasEndReached = true;
  /** What is asked for while it is to be sent together; undefined where each statement is sent at once. */
  #boarding: Flight[] | undefined = undefined;
  /** An end has failed: the connection isn't trusted with another transaction. */
  #spoiled = false;
  #xid: string | undefined = undefined;
  #pid: number | undefined = undefined;
  #life: string | undefined = undefined;
  #cancelling: Promise<void> | undefined = undefined;
  /** Runs while a statement is to obey a cancel. */
  #disobeyed: NodeJS.Timeout | undefined = undefined;
  /** Why the connection can't be used any more. */
  broken: Error | undefined = undefined;
  /** The first error of a statement since the last rollback: what a ROLLBACK that answers COMMIT is due to. */
  firstError: Error | undefined = undefined;
  /** Something was written, as a command tag or the server has said. */
  wrote = false;
  /** Something was done that may have written without its showing. */
  maybeWrote = false;

  /** How long the server may take to answer what ends a transaction, in milliseconds. */
  readonly #endTimeoutMs: number;
  readonly #namesStatements: boolean;
  /** Whether statements may have names now: one prepared before a table was altered doesn't fit behind that. */
  #names = false;

  constructor(name: string, pool: PgPool, client: PgClient, options: ConnectionOptions) {
    const { endTimeoutMs, namesStatements, lingering } = options;
    this.name = name;
    this.#lingering = lingering;
    this.#namesStatements = namesStatements;
    this.#endTimeoutMs = endTimeoutMs;
    this.#pool = pool;
    this.#client = client;
    this.#Flight = flightClass((client.constructor as PgClientClass).Query);
    // A checked-out client has no listener of the pool's: without one, a backend that dies ends the process.
    this.#onError = (error) => {
      this.broken ??= error;
    };
    listen(client, this.#onError);
  }

  /** The server's process for this transaction: behind a pooler, the one that it said itself. */
  get processId(): number | null {
    return this.#pid ?? this.#client.processID;
  }

  /** The transaction's id at the server, where it is known to have one. */
  get xid(): string | undefined {
    return this.#xid;
  }

  /** The life of the server in which the transaction has its id. */
  get life(): string | undefined {
    return this.#life;
  }

  /** Whether a transaction is open at the server, as far as is known here. */
  get open(): boolean {
    return this.#open;
  }

  /** Starts a transaction with the next statement. */
  start({ options, readOnly }: SqlBegin): void {
    this.#begin = beginText(options.isolation, readOnly, options.deferrable === true);
    this.#lingers = this.#open;
    this.#open = false;
    this.#xid = undefined;
    this.#pid = undefined;
    this.#life = undefined;
    this.#names = this.#namesStatements;
    this.firstError = undefined;
    this.wrote = false;
    this.maybeWrote = false;
  }

  /** Runs a statement of the user's; BEGIN rides along with the first one, the question for the id with the first write. */
  query(config: string | PgQueryConfig, values?: unknown[]): Promise<PgResult> {
    const text = typeof config === 'string' ? config : config.text;
    const flight = new this.#Flight(config, values);
    if (typeof config === 'object') flight.query_timeout = config.query_timeout;
    const statement = typeof text === 'string' ? statementOf(text) : undefined;
    flight.statement = statement;
    if (statement !== undefined) {
      statement.uses++;
      if (statement.notifies) this.wrote = true;
      if (this.#names) this.#name(flight, statement);
    }
    if (this.#boarding !== undefined) return this.#fly(flight, true);
    const asks = this.#shouldAsk(statement);
    if (this.#begin === undefined && !asks) return this.#fly(flight, true);
    // Several statements need the simple protocol, and a limit on rows its own Sync: neither takes anything along.
    const alone = statement === undefined || text.length === 0 || statement.maybeSeveral || flight.rows !== undefined;
    if (alone)
      return this.#begin === undefined
        ? this.#fly(flight, true)
        : this.#beginApart().then(() => this.#fly(flight, true));
    extend(flight);
    flight.begin = this.#begin;
    flight.rollsBack = this.#lingers;
    if (asks) flight.question = questionFor(this.#client);
    return this.#fly(flight, true);
  }

  /** With the first write; and with the first statement on a connection, as that tells whether statements can have names on it. */
  #shouldAsk(statement: Statement | undefined): boolean {
    if (this.#xid !== undefined) return false;
    return statement?.effect === 'write' || (this.#names && isDirect(this.#client) === undefined);
  }

  #name(flight: Flight, statement: Statement): void {
    if (
      flight.values === undefined ||
      flight.values.length === 0 ||
      flight.name !== undefined ||
      flight.rows !== undefined
    )
      return;
    if (isDirect(this.#client) !== true) return;
    const name = nameFor(this.#client, statement);
    if (name === undefined) return;
    flight.name = name;
    flight.isNamed = true;
  }

  /**
   * As {@link SqlConnection.together}; undefined where pg is to watch the time of each statement, sends them by its own pipelining, or
   * is of a version that would prepare a name twice in one flight.
   */
  get together(): ((ask: () => void) => void) | undefined {
    const { pipeline, connectionParameters, connection } = this.#client;
    const isAlone = pipeline === true || connection.submittedNamedStatements === undefined;
    return isAlone || connectionParameters?.query_timeout ? undefined : this.#sendTogether;
  }

  readonly #sendTogether = (ask: () => void): void => {
    const flights: Flight[] = (this.#boarding = []);
    try {
      ask();
    } finally {
      this.#boarding = undefined;
    }
    this.#depart(flights);
  };

  #depart(flights: readonly Flight[]): void {
    const first = flights[0];
    if (first === undefined) return;
    first.begin = this.#begin;
    first.rollsBack = this.#lingers;
    const asking =
      this.#xid === undefined
        ? (flights.find(({ statement }) => statement?.effect === 'write') ??
          (this.#shouldAsk(undefined) ? first : undefined))
        : undefined;
    for (const flight of flights) {
      this.#board(flight);
      flight.question = flight === asking ? questionFor(this.#client) : undefined;
    }
    this.#client.query(new Train(flights, (error, done, failed, rest) => this.#derailed(error, done, failed, rest)));
  }

  #board(flight: Flight): void {
    if (flight.queryMode !== 'extended') extend(flight);
    // What pg does for a query that it makes itself.
    flight._result._types ??= this.#client;
    if (this.#client.binary === true) flight.binary = !flight.asText;
  }

  /** One of several has failed: those before it are through, and those behind it are sent again, as they would have been one by one. */
  #derailed(error: Error, done: readonly Flight[], failed: Flight, rest: readonly Flight[]): void {
    const wire = this.#client.connection;
    const isKnown = failed.wasRefused || sqlState(error) !== undefined;
    this.#afterReady(() => {
      for (const flight of done) flight.handleReadyForQuery(wire);
    });
    failed.handleError(error, wire);
    this.#afterReady(() => {
      const end = rest.find(({ isEnd }) => isEnd);
      if (end !== undefined && isKnown) this.#wasEndReached = false;
      const isOver = this.broken !== undefined || this.#cancelling !== undefined;
      const again = isOver ? [] : rest.filter((flight) => flight !== end);
      const reason = this.broken === undefined ? error : this.lost();
      for (const flight of rest) if (!again.includes(flight)) flight.turnAway!(reason);
      this.#depart(again);
    });
  }

  async #beginApart(): Promise<void> {
    if (this.#begin === undefined) return;
    await this.#fly(new this.#Flight(this.#lingers ? `rollback; ${this.#begin}` : this.#begin), false);
    this.#opened();
  }

  #opened(): void {
    this.#begin = undefined;
    this.#lingers = false;
    this.#open = true;
  }

  /** Sends a flight and waits until the server is ready for the next. Of the user's own, the effect is noted. */
  #fly(flight: Flight, isUsers: boolean, inTime?: () => void): Promise<PgResult> {
    if (this.broken !== undefined) return Promise.reject(this.lost());
    return new Promise((resolve, reject) => {
      flight.callback = (error, result) => {
        inTime?.();
        if (error !== null && error !== undefined) return this.#failed(flight, error, reject);
        this.#obeyed();
        if (flight.begin !== undefined) this.#opened();
        if (flight.answer !== undefined) this.#learn(flight.question, flight.answer);
        if (isUsers) {
          this.#note(result!);
          if (flight.statement?.forgetsPrepared === true) this.#forgetPrepared(false);
          if (this.broken !== undefined) return reject(this.broken);
        }
        return resolve(result!);
      };
      if (this.#boarding === undefined) return void this.#client.query(flight);
      flight.turnAway = (error) => {
        inTime?.();
        reject(error);
      };
      this.#boarding.push(flight);
      return undefined;
    });
  }

  #failed(flight: Flight, error: Error, reject: (error: Error) => void): void {
    // What pg refuses to send doesn't fail the transaction.
    if (!flight.wasRefused) this.firstError ??= error;
    // pg's query_timeout gives up the wait and leaves the statement running.
    if (error.message === 'Query read timeout') this.cancel(error);
    if (flight.wasAsked && isQuestionGone(error)) this.#forgetPrepared(true);
    if (flight.isNamed && isNameGone(error)) {
      if (sqlState(error) === NO_SUCH_STATEMENT) this.#forgetPrepared(false);
      else rename(flight.statement!);
    }
    this.#ready(error, () => {
      if (flight.begin !== undefined && !flight.wasRefused) this.#begunBy(error);
      // Such as a value that can't be encoded, of which the server hears nothing.
      if (this.firstError === error && this.#status() === 'T') this.firstError = undefined;
      // The server's last word says more than that the connection has ended.
      const isServers = sqlState(error) !== undefined;
      if (this.broken !== undefined && isServers) this.broken = error;
      reject(this.broken === undefined || isServers ? error : this.lost());
    });
  }

  #forgetPrepared(forGood: boolean): void {
    forgetQuestion(this.#client, forGood);
    forgetNames(this.#client);
  }

  #learn(question: Question | undefined, answer: readonly unknown[]): void {
    const [xid, pid, life] = answer as readonly [string | null, string | undefined, string | undefined];
    this.#xid = xid ?? undefined;
    if (pid !== undefined) this.#pid = Number(pid);
    this.#life = answered(this.#client, question, this.#pid, life);
  }

  /** After a failed flight with a BEGIN: the statement's failure leaves a failed transaction open, BEGIN's leaves none. */
  #begunBy(error: Error): void {
    if (this.#status() === 'I') this.broken ??= error;
    else this.#opened();
  }

  #status(): string | null | undefined {
    return this.#client.getTransactionStatus?.();
  }

  /** Calls `then` when the server is ready again after an error, or never will be: an error is told before that. */
  #ready(error: Error, then: () => void): void {
    const late = (): void => this.destroy(new Error(`the server was not ready ${GRACE_MS} ms after an error`));
    const timer = setTimeout(late, GRACE_MS);
    const stop = this.#whenReady((isGone) => {
      clearTimeout(timer);
      if (isGone) this.broken ??= error;
      then();
    });
    if (this.broken !== undefined) stop();
  }

  /** Calls `then` when the server is ready again, or at once where it never will be. */
  #afterReady(then: () => void): void {
    const stop = this.#whenReady(() => then());
    if (this.broken !== undefined) stop();
  }

  /** Runs a query that speaks the protocol by itself; resolves when it is through. BEGIN goes ahead of it. */
  async submit(submittable: PgSubmittable): Promise<void> {
    await this.#beginApart();
    if (this.broken !== undefined) throw this.lost();
    this.maybeWrote = true;
    this.#noteErrorsOf(submittable);
    await new Promise<void>((resolve) => {
      this.#whenReady(() => resolve());
      this.#client.query(submittable);
    });
  }

  /** A cursor or stream is told itself of an error, and the transaction has failed with it. */
  #noteErrorsOf(submittable: PgSubmittable): void {
    const told = submittable as { handleError?: (error: Error, ...rest: unknown[]) => unknown };
    const { handleError } = told;
    told.handleError = (error, ...rest) => {
      this.firstError ??= error;
      return handleError?.call(submittable, error, ...rest);
    };
  }

  /**
   * Calls `then` once: when the server is ready for the next statement, or the connection has failed or is gone. Returns the function
   * that ends the wait.
   */
  #whenReady(then: (isGone: boolean) => void): () => void {
    const client = this.#client;
    const end = (isGone: boolean): void => {
      this.#obeyed();
      client.removeListener('drain', done);
      client.removeListener('error', done);
      client.removeListener('end', gone);
      then(isGone);
    };
    const done = (): void => end(false);
    const gone = (): void => end(true);
    client.once('drain', done);
    client.once('error', done);
    client.once('end', gone);
    return done;
  }

  /** Calls `listener` with what the server says while `work` is done. */
  async whileHearing<T>(
    event: string,
    listener: (said: unknown) => void,
    work: (connection: this) => Promise<T>,
  ): Promise<T> {
    this.#client.on(event, listener);
    try {
      return await work(this);
    } finally {
      this.#client.removeListener(event, listener);
    }
  }

  /** Learns from the command tags what was written, and that the transaction is still open. */
  #note(result: PgResult | PgResult[]): void {
    if (Array.isArray(result)) for (const { command } of result) this.#noteTag(command);
    else this.#noteTag(result.command);
    // A COMMIT in the same flight is ours.
    if (this.#status() !== 'I' || this.#uncertain !== undefined) return;
    this.#open = false;
    this.broken ??= endedByStatement(this.name);
  }

  #noteTag(tag: string | null | undefined): void {
    const effect = tag === null || tag === undefined ? 'maybe' : effectOf(tag);
    if (effect === 'write') {
      this.wrote = true;
      if (!CHANGES_ROWS.has(tag!)) this.#names = false;
    } else if (effect === 'maybe') this.maybeWrote = true;
    // To a savepoint, as nothing else gets here.
    else if (tag === 'ROLLBACK') this.firstError = undefined;
  }

  /** Asks the server whether anything was written, where that doesn't show (one round trip). */
  async hasWritten(): Promise<boolean> {
    const xid = await this.#askXid();
    this.wrote = xid !== undefined;
    this.maybeWrote = false;
    return this.wrote;
  }

  async #askXid(): Promise<string | undefined> {
    const ms = this.#endTimeoutMs;
    const late = (): void => this.destroy(new Error(`no answer to the question for the id within ${ms} ms`));
    const { rows } = await this.#fly(new this.#Flight({ text: QUESTION, rowMode: 'array' }), false, watch(ms, late));
    this.#learn(undefined, rows[0] as unknown[]);
    return this.#xid;
  }

  /** Finds out the transaction's id where that isn't known: without it, a lost reply to COMMIT can't be resolved. */
  learnXid(): Promise<void> | undefined {
    if (this.#xid !== undefined || !this.#open || this.failed) return undefined;
    return this.#askXid().then(() => undefined);
  }

  /** Whether a statement has failed and nothing was rolled back since: the server can only roll back. */
  get failed(): boolean {
    return this.firstError !== undefined && this.#status() !== 'T';
  }

  /** The error of committing a transaction in which a statement has failed. */
  silentRollback(): SilentRollbackError {
    const cause = this.firstError;
    return new SilentRollbackError(
      `a transaction in which a statement has failed can only be rolled back; one on '${this.name}' failed and its error was not acted on` +
        `${cause === undefined ? '' : ` (${cause.message})`}: nothing was stored`,
      { resource: this.name, phase: 'commit', ...(cause === undefined ? {} : { cause }) },
    );
  }

  async savepoint(savepointName: string): Promise<WrittenState> {
    const state = { wrote: this.wrote, maybeWrote: this.maybeWrote };
    await this.query(`savepoint ${savepointName}`);
    return state;
  }

  async rollbackTo(savepointName: string, state: WrittenState): Promise<void> {
    await this.#fly(new this.#Flight(`rollback to savepoint ${savepointName}`), false);
    this.wrote = state.wrote;
    this.maybeWrote = state.maybeWrote;
    this.firstError = undefined;
  }

  async releaseSavepoint(savepointName: string): Promise<void> {
    await this.#fly(new this.#Flight(`release savepoint ${savepointName}`), false);
  }

  /**
   * Commits in one phase.
   * @throws SilentRollbackError when the server answered ROLLBACK. {@link isUncertain} is true when the reply was lost.
   */
  commit(): Promise<void> {
    return this.#end('commit', 'COMMIT');
  }

  /**
   * Runs statements and commits, in one packet: where one of them fails, the COMMIT isn't run.
   * @throws as {@link commit} does.
   */
  async commitAfter(statements: readonly OwnStatement[]): Promise<void> {
    await this.#beginApart();
    const flights = this.#named(statements);
    if (flights !== undefined) return this.#commitBehind(flights);
    return this.#end(`${statements.map(inlined).join('; ')}; commit`, 'COMMIT', true);
  }

  /** Statements of the library's own under names, as they come again with each decision; undefined where they can't have any. */
  #named(statements: readonly OwnStatement[]): Flight[] | undefined {
    if (!this.#names || isDirect(this.#client) !== true || this.together === undefined) return undefined;
    const flights: Flight[] = [];
    for (const { text, values } of statements) {
      const statement = statementOf(text);
      statement.uses++;
      const name = nameFor(this.#client, statement);
      if (name === undefined) return undefined;
      // Not as an object, of which pg makes a copy, slowly.
      const flight = new this.#Flight(text, [...values]);
      flight.name = name;
      flight.statement = statement;
      flight.isNamed = true;
      flights.push(flight);
    }
    return flights;
  }

  #commitBehind(flights: readonly Flight[]): Promise<void> {
    if (this.broken !== undefined) return Promise.reject(this.lost());
    const commit = new this.#Flight('commit');
    const all = [...flights, commit];
    for (const flight of all) this.#board(flight);
    this.#uncertain = 'COMMIT';
    const committed = new Promise<PgResult>((resolve, reject) => {
      const inTime = this.#watchEnd('COMMIT');
      commit.callback = (_error, result) => {
        inTime();
        this.#obeyed();
        resolve(lastResult(result!));
      };
      const train = new Train(all, (error, _done, failed) => {
        inTime();
        // What the server has said of a statement before it keeps it from being run.
        const wasReached = failed === commit || sqlState(error) === undefined;
        if (!wasReached) this.#uncertain = undefined;
        this.#failed(failed, error, (explained) => reject(wasReached ? this.#endFailed(explained, false) : explained));
      });
      this.#client.query(train);
    });
    return committed.then((result) => this.#ended(result, 'COMMIT'));
  }

  /** Prepares the transaction under a name that outlives the connection. */
  prepare(xid: Xid): Promise<void> {
    return this.#end(`prepare transaction ${literal(gidOf(xid))}`, 'PREPARE');
  }

  /** PostgreSQL goes on in a transaction that has failed, until it is told to roll back. */
  readonly isUndone = false;

  /** Whether a COMMIT or PREPARE was sent and its reply never came. */
  get isUncertain(): boolean {
    return this.#uncertain !== undefined;
  }

  #end(text: string, expected: 'COMMIT' | 'PREPARE', staysOpen = false): Promise<void> {
    if (this.broken !== undefined) return Promise.reject(this.lost());
    this.#uncertain = expected;
    return this.#flyInTime(text).then(
      (result) => this.#ended(lastResult(result), expected),
      (error: Error) => {
        throw this.#endFailed(error, staysOpen);
      },
    );
  }

  #ended(result: PgResult, expected: string): void {
    this.#uncertain = undefined;
    this.#open = false;
    // A failed transaction is rolled back by COMMIT and PREPARE TRANSACTION without an error: only the tag says so.
    if (result.command === expected) return;
    this.#spoiled = true;
    throw this.silentRollback();
  }

  #endFailed(error: Error, staysOpen: boolean): Error {
    if (!this.#wasEndReached) {
      this.#wasEndReached = true;
      this.#uncertain = undefined;
      return this.broken === undefined ? this.silentRollback() : this.lost();
    }
    this.#spoiled = true;
    // An error that the server sent, while the connection stands, is a reply.
    if (this.broken === undefined) {
      this.#uncertain = undefined;
      this.#open = staysOpen;
    }
    return error;
  }

  /** Sends what ends a transaction; where the answer takes too long the connection is cut, as if the network had. */
  #flyInTime(text: string): Promise<PgResult> {
    const what = text.split(' ', 2).join(' ').toUpperCase();
    const flight = new this.#Flight(text);
    flight.isEnd = this.#boarding !== undefined;
    if (!flight.isEnd) return this.#fly(flight, false, this.#watchEnd(what));
    // What goes ahead of it may take as long as it likes.
    let inTime: (() => void) | undefined;
    flight.onTurn = () => {
      inTime = this.#watchEnd(what);
    };
    return this.#fly(flight, false, () => inTime?.());
  }

  /** Cuts the connection unless the function that is returned is called in time. */
  #watchEnd(what: string): () => void {
    const ms = this.#endTimeoutMs;
    return watch(ms, () => this.destroy(new Error(`no answer to ${what} within ${ms} ms`)));
  }

  /** Ends a prepared transaction from this connection. */
  async endPrepared(verb: 'commit' | 'rollback', xid: Xid): Promise<void> {
    await this.#flyInTime(`${verb} prepared ${literal(gidOf(xid))}`);
  }

  /** Rolls back what is open; nothing where no statement was sent. */
  async rollback(): Promise<void> {
    if (this.#cancelling !== undefined) await this.#cancelling;
    this.#begin = undefined;
    if (!(this.#open || this.#lingers) || this.broken !== undefined) return;
    await this.#flyInTime('rollback');
    this.#open = false;
    this.#lingers = false;
    // The signal was sent before the ROLLBACK was, and a server's process sees to its signals before it reads on: it can hit nothing any more.
    this.#cancelling = undefined;
  }

  /** A cancel might hit the next transaction, too. */
  retire(): void {
    if (this.#open && this.#cancelling === undefined && this.broken === undefined) this.#lingering.add(this);
    else this.leave();
  }

  leave(): void {
    const release = (): void => this.release();
    this.rollback().then(release, release);
  }

  /** Asks the server, over another connection, to stop the statement under way; failing that, cuts the connection. */
  cancel(reason: Error): void {
    if (this.#disobeyed !== undefined || this.broken !== undefined) return;
    const pid = this.processId;
    // Until the statement ends: that the server was asked doesn't mean that its answer gets through.
    this.#disobeyed = setTimeout(() => this.destroy(reason), GRACE_MS);
    this.#cancelling = callWithClient(this.#pool, GRACE_MS, async (client) => {
      await client.query('select pg_catalog.pg_cancel_backend($1)', [pid]);
    }).catch(() => this.destroy(reason));
  }

  /** What was sent to stop a statement can't hit what comes next, or is at the server by now. */
  async resume(): Promise<void> {
    await this.#cancelling;
  }

  /** No statement is under way any more. */
  #obeyed(): void {
    if (this.#disobeyed !== undefined) clearTimeout(this.#disobeyed);
    this.#disobeyed = undefined;
  }

  /** Cuts the connection. The server rolls back when it notices. */
  destroy(reason: Error): void {
    this.broken ??= reason;
    this.#client.connection.stream.destroy(reason);
  }

  /** Whether another transaction may have it: idle, its end went well, and no cancel is on its way that might hit whoever has it next. */
  get isClean(): boolean {
    const idle = this.broken === undefined && !this.#open && !this.#lingers && this.#uncertain === undefined;
    return idle && !this.#spoiled && this.#cancelling === undefined;
  }

  /** Gives the connection back to the pool; closed, where it isn't clean or `close` says so. */
  release(close = false): void {
    this.#client.release(this.broken ?? (close || !this.isClean));
    this.#client.removeListener('error', this.#onError);
  }

  /** The error of using a connection that is gone. */
  lost(): Error {
    return connectionLost(this.name, this.broken!, this.#uncertain === 'COMMIT');
  }
}
