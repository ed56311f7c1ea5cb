/**
 * One statement on the wire, with what rides along: BEGIN before it, a question behind it, and one Sync behind all.
 *
 * Everything before a Sync stands or falls together: where BEGIN fails, the server skips to the Sync, so the statement can't
 * run outside of the transaction. (`pg`'s own pipelining sends a Sync after each, and has no such rule.)
 */
import type { PgQuery, PgQueryClass, PgResult, PgWire } from './driver.ts';

/** Asks which id the transaction has; null while it has written nothing. PostgreSQL 13 and later. */
export const ASK_XID = 'select pg_catalog.pg_current_xact_id_if_assigned()::text';

const IN_BEGIN = 0;
const IN_STATEMENT = 1;
const IN_QUESTION = 2;

/** A statement to send: a subclass of the query class of the pool's own `pg`. */
export interface Flight extends PgQuery {
  /** BEGIN and its options, to be sent before the statement. */
  begin: string | undefined;
  /** Whether to ask for the transaction's id behind the statement. */
  asks: boolean;
  /** The answer; null where nothing was written, undefined where it wasn't asked or answered. */
  xid: string | null | undefined;
}

export type FlightClass = new (config: string | object, values?: unknown[]) => Flight;

const classes = new WeakMap<PgQueryClass, FlightClass>();

/** The flight class for the query class of a pool's `pg`. */
export function flightClass(Query: PgQueryClass): FlightClass {
  let made = classes.get(Query);
  if (made === undefined) classes.set(Query, (made = makeFlightClass(Query)));
  return made;
}

function makeFlightClass(Query: PgQueryClass): FlightClass {
  return class extends Query implements Flight {
    begin: string | undefined = undefined;
    asks = false;
    xid: string | null | undefined = undefined;
    #at = IN_STATEMENT;
    #statementName: string | undefined = undefined;
    #failure: Error | undefined = undefined;

    override submit(connection: PgWire): Error | null {
      const refused = super.submit(connection);
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
      if (this.begin !== undefined) sendUnnamed(connection, this.begin);
      super.prepare(connection);
    }

    override _getRows(connection: PgWire, rows: number | undefined): void {
      if (!this.asks) return super._getRows(connection, rows);
      connection.execute({ portal: '' });
      sendUnnamed(connection, ASK_XID);
      connection.sync();
      return undefined;
    }

    override handleRowDescription(message: unknown): void {
      if (this.#at === IN_STATEMENT) super.handleRowDescription(message);
    }

    override handleDataRow(message: { fields: unknown[] }): void {
      if (this.#at === IN_STATEMENT) super.handleDataRow(message);
      else this.xid = message.fields[0] as string | null;
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
      if (!this.asks) return;
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

/** Parse, Bind and Execute of a statement without parameters, on the unnamed statement and portal. */
function sendUnnamed(connection: PgWire, text: string): void {
  connection.parse({ text });
  connection.bind({});
  connection.execute({ portal: '' });
}

/** The command tag of the last statement of a result, which is a list where the text held several. */
export function lastResult(result: PgResult | PgResult[]): PgResult {
  return Array.isArray(result) ? result.at(-1)! : result;
}
