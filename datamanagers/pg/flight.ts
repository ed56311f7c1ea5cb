/**
 * One statement on the wire, with what rides along: BEGIN before it (and before that the ROLLBACK of what has only read), a question behind
 * it, and one Sync behind all.
 *
 * Everything before a Sync stands or falls together: where BEGIN fails, the server skips to the Sync, so the statement can't
 * run outside of the transaction. (`pg`'s own pipelining sends a Sync after each, and has no such rule.)
 */
import type { PgQuery, PgQueryClass, PgResult, PgWire } from './driver.ts';
import type { Statement } from '../sql/statement.ts';
import type { Question } from './question.ts';
import { runStatement } from './wire.ts';

const IN_ROLLBACK = 0;
const IN_BEGIN = 1;
const IN_STATEMENT = 2;
const IN_QUESTION = 3;

/** A statement to send: a subclass of the query class of the pool's own `pg`. */
export interface Flight extends PgQuery {
  /** BEGIN and its options, to be sent before the statement. */
  begin: string | undefined;
  /** Whether a ROLLBACK goes ahead of BEGIN. */
  rollsBack: boolean;
  /** The question behind the statement. */
  question: Question | undefined;
  /** The row that answers the question; undefined until it is there. */
  answer: unknown[] | undefined;
  /** Whether the question was reached. */
  readonly wasAsked: boolean;
  /** What is known of the statement, where it is one of the user's. */
  statement: Statement | undefined;
  /** Whether it was given a name here. */
  isNamed: boolean;
  /** Whether a Sync comes behind it; it doesn't where others follow in the same flight. */
  endsItself: boolean;
  /** Whether it ends the transaction. */
  isEnd: boolean;
  /** Called when it is its turn at the server, where it travels behind others. */
  onTurn: (() => void) | undefined;
  /** Tells whoever waits for it that it was not sent after all, or not reached. */
  turnAway: ((error: Error) => void) | undefined;
  /** Whether all that it asked for was done. */
  readonly isThrough: boolean;
  /** Whether pg has refused it before anything was sent. */
  readonly wasRefused: boolean;
  /** Sent by the extended protocol only for what rides along: its columns come as text, as pg would have them. */
  asText: boolean;
  /** As in the configuration of a query; pg's client looks for it here. */
  query_timeout?: number | undefined;
}

export type FlightClass = new (config: string | object, values?: unknown[]) => Flight;

const classes = new WeakMap<PgQueryClass, FlightClass>();

/** The flight class for the query class of a pool's `pg`. */
export function flightClass(Query: PgQueryClass): FlightClass {
  let made = classes.get(Query);
  if (made === undefined) classes.set(Query, (made = makeFlightClass(Query)));
  return made;
}

const begins = new Map<string, Buffer>();

/** There are as many as there are combinations of isolation, READ ONLY and DEFERRABLE. */
function beginMessages(begin: string): Buffer {
  let messages = begins.get(begin);
  if (messages === undefined) begins.set(begin, (messages = runStatement(begin)));
  return messages;
}

const rollbacks = new Map<string, Buffer>();

function rollbackAndBegin(begin: string): Buffer {
  let messages = rollbacks.get(begin);
  if (messages === undefined) {
    messages = Buffer.concat([runStatement('rollback'), beginMessages(begin)]);
    rollbacks.set(begin, messages);
  }
  return messages;
}

function makeFlightClass(Query: PgQueryClass): FlightClass {
  return class extends Query implements Flight {
    begin: string | undefined = undefined;
    rollsBack = false;
    question: Question | undefined = undefined;
    answer: unknown[] | undefined = undefined;
    statement: Statement | undefined = undefined;
    isNamed = false;
    endsItself = true;
    isEnd = false;
    onTurn: (() => void) | undefined = undefined;
    turnAway: ((error: Error) => void) | undefined = undefined;
    isThrough = false;
    wasRefused = false;
    asText = false;
    #at = IN_STATEMENT;
    #statementName: string | undefined = undefined;
    #failure: Error | undefined = undefined;

    get wasAsked(): boolean {
      return this.#at === IN_QUESTION;
    }

    override submit(connection: PgWire): Error | null {
      const refused = super.submit(connection);
      this.wasRefused = refused !== null;
      if (this.begin !== undefined && refused === null) {
        // pg takes a name as parsed at the next ParseComplete, which is BEGIN's; where the statement then fails to parse, the
        // name would be used and not exist.
        this.#at = this.rollsBack ? IN_ROLLBACK : IN_BEGIN;
        this.#statementName = this.name;
        this.name = undefined;
      }
      return refused;
    }

    override prepare(connection: PgWire): void {
      if (this.begin !== undefined) {
        connection.stream.write(this.rollsBack ? rollbackAndBegin(this.begin) : beginMessages(this.begin));
      }
      if (this.asText) this.binary = false;
      super.prepare(connection);
      // pg closes the statement whose values it can't encode, and would take it for prepared all the same.
      if (this.#failure !== undefined && this.name !== undefined) {
        delete connection.parsedStatements[this.name];
        delete connection.submittedNamedStatements?.[this.name];
        this.name = undefined;
      }
    }

    override _getRows(connection: PgWire, rows: number | undefined): void {
      if (this.question !== undefined) {
        connection.stream.write(this.endsItself ? this.question.andSync : this.question.messages);
      } else if (this.endsItself) super._getRows(connection, rows);
      else connection.execute({ portal: '' });
    }

    override handleRowDescription(message: unknown): void {
      if (this.#at === IN_STATEMENT) super.handleRowDescription(message);
    }

    override handleDataRow(message: { fields: unknown[] }): void {
      if (this.#at === IN_STATEMENT) super.handleDataRow(message);
      else this.answer = message.fields;
    }

    override handleCommandComplete(message: unknown, connection: PgWire): void {
      if (this.#at === IN_STATEMENT) {
        super.handleCommandComplete(message, connection);
        this.#statementDone();
      } else if (this.#at === IN_BEGIN) {
        this.#at = IN_STATEMENT;
        this.name = this.#statementName;
      } else if (this.#at === IN_ROLLBACK) this.#at = IN_BEGIN;
      else this.isThrough = true;
    }

    override handleEmptyQuery(connection: PgWire): void {
      super.handleEmptyQuery(connection);
      this.#statementDone();
    }

    #statementDone(): void {
      if (this.question === undefined) {
        this.isThrough = true;
        return;
      }
      this.#at = IN_QUESTION;
      this.name = undefined;
    }

    /** Reports a failure once: pg reports one of encoding a value at once, and then a success at the Sync. */
    override handleError(error: Error, connection: PgWire): void {
      if (this.#failure !== undefined) return;
      this.#failure = error;
      super.handleError(error, connection);
    }

    override handleReadyForQuery(connection: PgWire): void {
      if (this.#failure === undefined) super.handleReadyForQuery(connection);
    }
  };
}

/** Has it sent by the extended protocol, which takes others along. */
export function extend(flight: Flight): void {
  flight.asText = !flight.requiresPreparation();
  flight.queryMode = 'extended';
}

/** The result of the last statement of a text. */
export function lastResult(result: PgResult | PgResult[]): PgResult {
  return Array.isArray(result) ? result.at(-1)! : result;
}
