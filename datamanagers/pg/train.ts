/**
 * Several statements on the wire as one flight: each with what rides along, and one Sync behind all. They cost one round trip.
 *
 * The server answers them in order, and skips to the Sync where one fails: what comes behind that was not done, a COMMIT at the end least of
 * all.
 */
import type { PgWire } from './driver.ts';
import type { Flight } from './flight.ts';

/** Told of an error: the flights before the failing one are through, those behind it were not reached. */
export type OnDerailed = (error: Error, done: readonly Flight[], failed: Flight, rest: readonly Flight[]) => void;

/** Looks like a query of `pg` to its client, which asks the one on top of the queue for everything that it is told by the server. */
export class Train {
  readonly #flights: readonly Flight[];
  readonly #onDerailed: OnDerailed;
  /** How many were sent: all, unless pg has refused one. */
  #sent = 0;
  /** Which one the server is at. */
  #at = 0;
  #refusal: Error | undefined = undefined;

  constructor(flights: readonly Flight[], onDerailed: OnDerailed) {
    this.#flights = flights;
    this.#onDerailed = onDerailed;
  }

  get #current(): Flight {
    return this.#flights[this.#at]!;
  }

  /** As which the statement that the server is at is prepared: pg notes that it was parsed. */
  get name(): string | undefined {
    return this.#flights[this.#at]?.name;
  }

  get text(): string | undefined {
    return this.#flights[this.#at]?.text;
  }

  submit(connection: PgWire): null {
    connection.stream.cork();
    try {
      for (const flight of this.#flights) {
        flight.endsItself = false;
        const refusal = flight.submit(connection);
        // What was asked for behind it may count on it.
        if (refusal !== null) {
          this.#refusal = refusal;
          break;
        }
        this.#sent++;
      }
      connection.sync();
    } finally {
      connection.stream.uncork();
    }
    return null;
  }

  handleRowDescription(message: unknown): void {
    this.#current.handleRowDescription(message);
  }

  handleDataRow(message: { fields: unknown[] }): void {
    this.#current.handleDataRow(message);
  }

  handlePortalSuspended(connection: PgWire): void {
    this.#current.handlePortalSuspended(connection);
  }

  handleCopyInResponse(connection: PgWire): void {
    this.#current.handleCopyInResponse(connection);
  }

  handleCopyData(message: unknown, connection: PgWire): void {
    this.#current.handleCopyData(message, connection);
  }

  handleCommandComplete(message: unknown, connection: PgWire): void {
    this.#current.handleCommandComplete(message, connection);
    this.#goOn();
  }

  handleEmptyQuery(connection: PgWire): void {
    this.#current.handleEmptyQuery(connection);
    this.#goOn();
  }

  #goOn(): void {
    if (!this.#current.isThrough) return;
    this.#at++;
    if (this.#at < this.#sent) this.#current.onTurn?.();
  }

  handleReadyForQuery(connection: PgWire): void {
    if (this.#refusal !== undefined) return this.#derail(this.#refusal, connection);
    for (const flight of this.#flights) flight.handleReadyForQuery(connection);
    return undefined;
  }

  handleError(error: Error, connection: PgWire): void {
    this.#derail(error, connection);
  }

  #derail(error: Error, connection: PgWire): void {
    // A server that goes down when it has answered them all fails the last one, as pg would have it for a query that goes alone.
    const at = Math.min(this.#at, this.#flights.length - 1);
    const rest = this.#flights.slice(at + 1);
    for (const { name } of rest) {
      // It was submitted, and never parsed.
      if (name !== undefined) delete connection.submittedNamedStatements?.[name];
    }
    this.#onDerailed(error, this.#flights.slice(0, at), this.#flights[at]!, rest);
  }
}
