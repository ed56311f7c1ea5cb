/**
 * Stands for the connection that a transaction would have: a savepoint on the one of the sandbox. Its COMMIT keeps the savepoint, after all
 * that a real one would check; its ROLLBACK returns to it.
 */
import { TransactionStateError, suppress, toError } from '../../../coordinator/errors.ts';
import type { Transaction } from '../../../coordinator/transaction.ts';
import type { Xid } from '../../../coordinator/xid.ts';
import type { SqlBegin, SqlConnection, WrittenState } from '../../sql/connection.ts';
import type { Rehearsal } from '../../sql/sandbox.ts';
import type { OuterBranch, Surroundings } from './outer.ts';
import type { Place } from './places.ts';

/** What drivers add to a connection that sends something, each returning a promise. */
const SENDING: ReadonlySet<PropertyKey> = new Set(['query', 'submit', 'stream', 'prepareStatement']);

/** Begins a transaction on the connection of the sandbox, when it is its turn. */
export async function beginOn(
  outer: OuterBranch,
  txn: Transaction,
  place: Place,
  surroundings: Surroundings,
  cancelled: () => Promise<never>,
): Promise<SqlConnection> {
  const { places } = surroundings;
  await places.enter(place, outer.session.server.acquireTimeoutMs, cancelled);
  try {
    return await places.work(place, outer.session.server.acquireTimeoutMs, async () => {
      const real = await outer.taken();
      requireUsable(outer, real);
      const rehearsal = outer.rehearsal(real);
      const { maybeWrote } = real;
      // Who isn't inside of another one has only the outer transaction around it.
      const writers = outer.open > 0 ? await rehearsal.writers() : 1;
      real.maybeWrote = maybeWrote;
      const name = `unanimous_sandbox_${outer.nextNumber()}`;
      const before = await real.savepoint(name);
      return standInFor(new StandIn({ outer, real, rehearsal, txn, place, surroundings, name, before, writers }));
    });
  } catch (error) {
    places.leave(place);
    throw error;
  }
}

/** @throws where the connection can't have another transaction. */
function requireUsable({ session }: OuterBranch, real: SqlConnection): void {
  const cause = real.broken;
  if (cause !== undefined || real.isUndone) {
    throw new TransactionStateError(
      `a sandbox needs its connection until it ends; that to '${session.name}' ${cause === undefined ? 'was rolled back by the server' : `was lost (${cause.message})`}, and all that was done in the sandbox with it`,
      { resource: session.name, phase: 'work' },
    );
  }
  if (!real.failed) return;
  throw new TransactionStateError(
    `in a sandbox a transaction inside of another one shares its connection; in that on '${session.name}' a statement has failed, so that the server takes none until it is rolled back: let the error through first, or test this without a sandbox`,
    { resource: session.name, phase: 'work' },
  );
}

interface Parts {
  readonly outer: OuterBranch;
  readonly real: SqlConnection;
  readonly rehearsal: Rehearsal;
  readonly txn: Transaction;
  readonly place: Place;
  readonly surroundings: Surroundings;
  readonly name: string;
  /** What was written before it began. */
  readonly before: WrittenState;
  /** How many may have written without its being one of them; undefined where the server doesn't tell. */
  readonly writers: number | undefined;
}

/** The stand-in with what the driver's connection has besides, each statement in its turn. */
function standInFor(standIn: StandIn): SqlConnection {
  const real = standIn.real as SqlConnection & Record<PropertyKey, unknown>;
  const proxy: SqlConnection = new Proxy(standIn, {
    get: (target, key) => {
      const isOwn = key in target;
      const from = isOwn ? target : real;
      const value: unknown = Reflect.get(from, key, from);
      if (typeof value !== 'function') return value;
      const method = value as (...args: unknown[]) => unknown;
      if (!isOwn && SENDING.has(key)) {
        return (...args: unknown[]) => target.send(() => method.apply(real, args) as Promise<unknown>);
      }
      if (key === 'whileHearing') {
        return (event: unknown, listener: unknown, work: (connection: unknown) => unknown) =>
          method.call(real, event, listener, () => work(proxy));
      }
      return (...args: unknown[]) => method.apply(from, args);
    },
  });
  return proxy;
}

class StandIn implements SqlConnection {
  readonly real: SqlConnection;
  readonly #parts: Parts;
  /** How much was kept on the connection when it began, and at each savepoint. */
  readonly #kept: number;
  readonly #keptAt = new Map<string, number>();
  readonly isUncertain = false;
  /** The next transaction has one of its own. */
  readonly isClean = false;
  #readOnly = false;
  #isSetUp = false;
  #ended = false;
  #cancelled = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.real = parts.real;
    this.#kept = parts.outer.kept.length;
    parts.outer.open++;
    this.real.wrote = false;
    this.real.maybeWrote = false;
  }

  get broken(): Error | undefined {
    return this.real.broken ?? this.#parts.place.lost;
  }

  get open(): boolean {
    return !this.#ended;
  }

  get failed(): boolean {
    return this.real.failed;
  }

  get isUndone(): boolean {
    return this.real.isUndone;
  }

  get wrote(): boolean {
    return this.real.wrote;
  }

  get maybeWrote(): boolean {
    return this.real.maybeWrote;
  }

  start({ readOnly }: SqlBegin): void {
    this.#readOnly = readOnly;
  }

  /** Sends a statement. Isolation and the like are the outer transaction's. */
  send<T>(statement: () => Promise<T>): Promise<T> {
    return this.#work(async () => {
      if (this.#readOnly && !this.#isSetUp) await this.#parts.rehearsal.readOnly();
      this.#isSetUp = true;
      const answer = await statement();
      if (this.#readOnly && this.real.wrote) throw this.#wroteReadOnly();
      return answer;
    });
  }

  #wroteReadOnly(): Error {
    const { outer, txn } = this.#parts;
    return new TransactionStateError(
      `a read-only transaction must write nothing; that on '${outer.session.name}' has written, and is rolled back`,
      { resource: outer.session.name, xid: txn.id, phase: 'work' },
    );
  }

  #work<T>(work: () => Promise<T>): Promise<T> {
    const { outer, place, surroundings } = this.#parts;
    return surroundings.places.work(place, outer.session.server.acquireTimeoutMs, work);
  }

  async hasWritten(): Promise<boolean> {
    const { real } = this;
    const { writers, rehearsal } = this.#parts;
    if (real.wrote || !real.maybeWrote) return real.wrote;
    const now = await this.#work(() => rehearsal.writers());
    real.wrote = now === undefined || writers === undefined || now > writers;
    real.maybeWrote = false;
    return real.wrote;
  }

  learnXid(): undefined {
    return undefined;
  }

  commit(): Promise<void> {
    return this.#work(async () => {
      await this.#check();
      await this.#keep();
    });
  }

  /** Checks what a COMMIT would; what has voted can still be rolled back. */
  prepare(_xid: Xid): Promise<void> {
    return this.#work(() => this.#check());
  }

  endPrepared(verb: 'commit' | 'rollback', _xid: Xid): Promise<void> {
    return verb === 'commit' ? this.#work(() => this.#keep()) : this.rollback();
  }

  async #check(): Promise<void> {
    if (this.real.broken !== undefined) throw this.real.lost();
    if (this.real.failed) throw this.real.silentRollback();
    await this.#parts.rehearsal.checkDeferred();
  }

  async #keep(): Promise<void> {
    const { outer, txn, name } = this.#parts;
    // Only what is inside of another one can be undone with that.
    const canBeLost = outer.open > 1 && (await this.hasWritten());
    await this.real.releaseSavepoint(name);
    if (canBeLost) outer.kept.push(`transaction ${txn.id}`);
    this.#end();
  }

  /** Returns to where it began. Waits for what is in front of it, and undoes that where it doesn't end. */
  async rollback(): Promise<void> {
    if (this.#ended) return;
    const { place, surroundings } = this.#parts;
    try {
      await this.#work(() => this.#undo());
    } catch (thrown) {
      if (this.#ended || this.broken !== undefined) return this.#end();
      surroundings.places.revokeInFrontOf(place);
      try {
        await this.#undo();
      } catch (failure) {
        this.#end();
        throw suppress(toError(thrown), failure);
      }
    }
  }

  async #undo(): Promise<void> {
    const { name, before } = this.#parts;
    if (this.real.broken === undefined && !this.real.isUndone) {
      if (this.#cancelled) await this.real.resume();
      try {
        await this.real.rollbackTo(name, before);
      } catch (error) {
        // A cancel that came late has hit this.
        if (!this.#cancelled || this.real.broken !== undefined) throw error;
        await this.real.rollbackTo(name, before);
      }
      await this.real.releaseSavepoint(name);
    }
    this.#lose(this.#kept);
    this.#end();
  }

  /** What was committed inside of what is undone: elsewhere it would have stayed. */
  #lose(from: number): void {
    const { outer, txn, surroundings } = this.#parts;
    const undone = outer.kept.splice(from);
    if (undone.length > 0) surroundings.lost(undone, `transaction ${txn.id}`);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    // Undone by another one, which has set this right.
    if (this.#parts.place.lost !== undefined) return;
    this.real.wrote = this.#parts.before.wrote;
    this.real.maybeWrote = this.#parts.before.maybeWrote;
  }

  savepoint(name: string): Promise<WrittenState> {
    return this.#work(async () => {
      const own = this.#own(name);
      const state = await this.real.savepoint(own);
      this.#keptAt.set(own, this.#parts.outer.kept.length);
      return state;
    });
  }

  rollbackTo(name: string, state: WrittenState): Promise<void> {
    return this.#work(async () => {
      const own = this.#own(name);
      await this.real.rollbackTo(own, state);
      this.#lose(this.#keptAt.get(own)!);
    });
  }

  releaseSavepoint(name: string): Promise<void> {
    return this.#work(() => this.real.releaseSavepoint(this.#own(name)));
  }

  /** MySQL forgets a savepoint where another one gets its name, be it that of an inner transaction. */
  #own(name: string): string {
    return `${name}_of_${this.#parts.name}`;
  }

  cancel(reason: Error): void {
    this.#cancelled = true;
    this.real.cancel(reason);
  }

  resume(): Promise<void> {
    return this.real.resume();
  }

  destroy(reason: Error): void {
    this.real.destroy(reason);
  }

  /** The savepoint ends with it where it hasn't; the connection stays the sandbox's. */
  release(): void {
    const { outer, place, surroundings } = this.#parts;
    const leave = (): void => {
      outer.open--;
      surroundings.places.leave(place);
    };
    if (this.#ended || this.broken !== undefined) {
      this.#end();
      return leave();
    }
    this.rollback().then(leave, leave);
    return undefined;
  }

  lost(): Error {
    return this.#parts.place.lost ?? this.real.lost();
  }

  silentRollback(): Error {
    return this.real.silentRollback();
  }
}
