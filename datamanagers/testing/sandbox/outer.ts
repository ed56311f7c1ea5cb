/** The session's part of the outer transaction of a sandbox, which is never committed: it has the connection that all others share. */
import type { Transaction } from '../../../coordinator/transaction.ts';
import { type Mark, SqlBranch } from '../../sql/branch.ts';
import { ClientTransaction } from '../../sql/client-transaction.ts';
import type { SqlConnection } from '../../sql/connection.ts';
import type { Work } from '../../sql/queue.ts';
import type { Rehearsal } from '../../sql/sandbox.ts';
import type { SqlSession } from '../../sql/session.ts';
import type { Turn } from '../../sql/turns.ts';
import { Place, type Places } from './places.ts';

/** What an outer branch has of its sandbox. */
export interface Surroundings {
  readonly places: Places;
  /** Which transaction the calling code is suspended from; undefined where from none. */
  place(): Place | undefined;
  /** Something that was committed is undone by the rollback of what it was begun in. */
  lost(what: readonly string[], by: string): void;
}

/**
 * Runs what is asked for outside of any transaction, too: of a pool that a library has, whose statements commit by themselves. Each is
 * behind a savepoint of its own, which is kept where it succeeds; and so is a library's own transaction.
 */
export class OuterBranch extends SqlBranch {
  override readonly ignoresModes = true;
  /** What was committed, and can be undone by a rollback to a savepoint that is open, oldest first. */
  readonly kept: string[] = [];
  /** How many savepoints of transactions are open. */
  open = 0;
  readonly #surroundings: Surroundings;
  #rehearsal: Rehearsal | undefined = undefined;
  #savepoints = 0;

  constructor(session: SqlSession, txn: Transaction, surroundings: Surroundings) {
    super(session, txn, 'active', false);
    this.#surroundings = surroundings;
  }

  /** It is never prepared. */
  override get lastResource(): boolean {
    return true;
  }

  /** A number that no other savepoint on this connection has. */
  nextNumber(): number {
    return ++this.#savepoints;
  }

  /** The connection, taken where it isn't yet. For who is at the front. */
  taken(): Promise<SqlConnection> {
    return super.perform((connection) => Promise.resolve(connection), undefined, this.turns.current);
  }

  rehearsal(connection: SqlConnection): Rehearsal {
    return (this.#rehearsal ??= this.session.server.rehearsal(connection));
  }

  override perform<T>(work: Work<T>, stop?: () => void, turn?: Turn): Promise<T> {
    return turn === undefined ? this.#alone(work, stop) : super.perform(work, stop, turn);
  }

  /** As if it committed by itself. */
  async #alone<T>(work: Work<T>, stop: (() => void) | undefined): Promise<T> {
    const own = await ClientTransaction.begin(this, {});
    let value: T;
    try {
      value = await super.perform(work, stop, own.turn);
    } catch (error) {
      await own.rollback();
      throw error;
    }
    await own.commit();
    return value;
  }

  /** The savepoint of a statement, or of a library's transaction, outside of any other. */
  override async mark(turn?: Turn): Promise<Mark> {
    const surroundings = this.#surroundings;
    const { places } = surroundings;
    const place = new Place(
      () => `a statement or transaction of a library on '${this.session.name}'`,
      surroundings.place(),
    );
    await places.enter(place, this.session.server.acquireTimeoutMs);
    let made: Mark;
    try {
      made = await super.mark(turn);
    } catch (error) {
      places.leave(place);
      throw error;
    }
    const from = this.kept.length;
    const connection = this.connection!;
    const { wrote, maybeWrote } = connection;
    connection.wrote = false;
    connection.maybeWrote = false;
    return {
      rollback: () => made.rollback(),
      undo: async () => {
        try {
          await made.undo();
          const undone = this.kept.splice(from);
          if (undone.length > 0) surroundings.lost(undone, place.what);
        } finally {
          places.leave(place);
        }
      },
      keep: async () => {
        await super.perform(() => this.#check(connection), undefined, turn);
        await made.keep();
        if (this.open > 0 && connection.wrote) this.kept.push(place.what);
        // What whoever is behind it has written.
        connection.wrote = wrote;
        connection.maybeWrote = maybeWrote;
        places.leave(place);
      },
    };
  }

  /** What a COMMIT of its own would find. */
  async #check(connection: SqlConnection): Promise<void> {
    if (!connection.failed) await this.rehearsal(connection).checkDeferred();
  }
}
