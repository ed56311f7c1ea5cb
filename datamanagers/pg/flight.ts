/**
 * One statement on the wire, with what rides along: BEGIN before it, a question behind it, and one Sync behind all.
 *
 * Everything before a Sync stands or falls together: where BEGIN fails, the server skips to the Sync, so the statement can't
 * run outside of the transaction. (`pg`'s own pipelining sends a Sync after each, and has no such rule.)
 */
import type { PgQuery, PgQueryClass, PgResult, PgWire } from './driver.ts';
import type { Statement } from '../sql/statement.ts';
import { runStatement } from './wire.ts';

const IN_BEGIN = 0;
const IN_STATEMENT = 1;
const IN_QUESTION = 2;

/** A statement to send: a subclass of the query class of the pool's own `pg`. */
export interface Flight extends PgQuery {
  /** BEGIN and its options, to be sent before the statement. */
  begin: string | undefined;
  /** The messages of the question behind the statement, with the Sync. */
  question: Buffer | undefined;
  /** The row that answers the question; undefined until it is there. */
  answer: unknown[] | undefined;
  /** Whether the question was reached. */
  readonly wasAsked: boolean;
  /** The statement, where it was given a name here. */
  named: Statement | undefined;
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

function makeFlightClass(Query: PgQueryClass): FlightClass {
  return class extends Query implements Flight {
    begin: string | undefined = undefined;
    question: Buffer | undefined = undefined;
    answer: unknown[] | undefined = undefined;
    named: Statement | undefined = undefined;
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
        this.#at = IN_BEGIN;
        this.#statementName = this.name;
        this.name = undefined;
      }
      return refused;
    }

    override prepare(connection: PgWire): void {
      if (this.begin !== undefined) connection.stream.write(beginMessages(this.begin));
      if (this.asText) this.binary = false;
      super.prepare(connection);
      // pg closes the statement whose values it can't encode, and would take it for prepared all the same.
      if (this.#failure !== undefined && this.name !== undefined) {
        delete connection.parsedStatements[this.name];
        delete connection.submittedNamedStatements[this.name];
        this.name = undefined;
      }
    }

    override _getRows(connection: PgWire, rows: number | undefined): void {
      if (this.question === undefined) return super._getRows(connection, rows);
      connection.execute({ portal: '' });
      connection.stream.write(this.question);
      return undefined;
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
      }
    }

    override handleEmptyQuery(connection: PgWire): void {
      super.handleEmptyQuery(connection);
      this.#statementDone();
    }

    #statementDone(): void {
      if (this.question === undefined) return;
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

/** The result of the last statement of a text. */
export function lastResult(result: PgResult | PgResult[]): PgResult {
  return Array.isArray(result) ? result.at(-1)! : result;
}
