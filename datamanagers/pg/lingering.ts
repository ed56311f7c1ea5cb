/**
 * Connections whose transaction has only read and is over, which the server doesn't know yet: where another transaction begins in the same
 * turn of the event loop, its BEGIN takes the ROLLBACK along, and a round trip is saved. Else the ROLLBACK is sent at the end of the turn.
 */
// As it is here: a test of the user's that replaces the timers must not keep connections from ending.
import { setImmediate } from 'node:timers';
import type { PgPool } from './driver.ts';

/** A pool counts and ages its connections when it hands them out: one is handed on past it so many times at most. */
const MOST_TIMES = 100;

/** What of a connection matters here. */
export interface Lingerer {
  readonly broken: Error | undefined;
  /** How often it was handed on since it came from its pool. */
  timesHandedOn: number;
  /** Rolls back, and goes back to the pool when the answer is there. */
  leave(): void;
}

export class Lingering<C extends Lingerer> {
  readonly #pool: PgPool;
  /** What lingers since this turn has begun. */
  #connections: C[] = [];

  constructor(pool: PgPool) {
    this.#pool = pool;
  }

  /** Lets a connection wait for the next transaction, or the end of this turn; not where others wait for one. */
  add(connection: C): void {
    if (connection.timesHandedOn >= MOST_TIMES || this.#isWanted) return connection.leave();
    if (this.#connections.push(connection) === 1) setImmediate(() => this.#letGo());
    return undefined;
  }

  /** A connection for a transaction that begins: its first statement must take a ROLLBACK along. Undefined where none lingers. */
  take(): C | undefined {
    if (this.#connections.length === 0 || this.#isWanted) return undefined;
    const connection = this.#connections.pop()!;
    if (connection.broken === undefined) {
      connection.timesHandedOn++;
      return connection;
    }
    connection.leave();
    return this.take();
  }

  /** Whoever waits for a connection of the pool comes first, and one that ends wants them all. */
  get #isWanted(): boolean {
    const { waitingCount = 0, ending } = this.#pool as PgPool & { readonly ending?: boolean };
    return waitingCount > 0 || ending === true;
  }

  #letGo(): void {
    const connections = this.#connections;
    this.#connections = [];
    for (const connection of connections) connection.leave();
  }
}
