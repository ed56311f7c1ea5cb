// A database that can prepare: what is prepared and committed outlives its death, what isn't is gone. Every step is checked against what the
// other databases have.
import { Server } from './network.ts';
import type { Owner, Simulator } from './simulator.ts';

/** After how long the server closes a connection that has prepared something and says nothing more, in milliseconds. */
const PREPARED_WAIT_MS = 2_000;

/** What a transaction has come to in all databases, seen from nowhere. */
export class Ledger {
  readonly #fates = new Map<
    string,
    { readonly wrote: Set<string>; readonly committed: Set<string>; readonly lost: Set<string> }
  >();
  /** What must not be. */
  readonly breaches: string[] = [];

  fate(gid: string): { readonly wrote: Set<string>; readonly committed: Set<string>; readonly lost: Set<string> } {
    let fate = this.#fates.get(gid);
    if (fate === undefined) this.#fates.set(gid, (fate = { wrote: new Set(), committed: new Set(), lost: new Set() }));
    return fate;
  }

  wrote(gid: string, database: string): void {
    this.fate(gid).wrote.add(database);
  }

  /** Its changes are there for good. */
  committed(gid: string, database: string): void {
    const fate = this.fate(gid);
    fate.committed.add(database);
    if (fate.lost.size > 0) this.#breach(gid, `${database} commits what ${[...fate.lost].join()} has rolled back`);
  }

  /** Its changes are gone for good. */
  lost(gid: string, database: string): void {
    const fate = this.fate(gid);
    if (!fate.wrote.has(database) || fate.committed.has(database)) return;
    fate.lost.add(database);
    if (fate.committed.size > 0)
      this.#breach(gid, `${database} rolls back what ${[...fate.committed].join()} has committed`);
  }

  isCommittedEverywhere(gid: string): boolean {
    const { committed, wrote } = this.fate(gid);
    return committed.size === wrote.size;
  }

  #breach(gid: string, what: string): void {
    this.breaches.push(`half done: ${gid}: ${what}`);
  }

  *[Symbol.iterator](): Iterator<[string, { readonly wrote: Set<string>; readonly committed: Set<string> }]> {
    yield* this.#fates;
  }
}

interface Branch {
  readonly gid: string;
  /** The connection that has prepared it, while it is open. */
  owner: number | undefined;
}

export class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

export class Database {
  readonly server: Server;
  readonly name: string;
  /** As MariaDB: nobody else may end a branch while the connection that prepared it is open; it says that there is none. */
  readonly isOwned: boolean;
  readonly #ledger: Ledger;
  readonly prepared = new Map<string, Branch>();
  /** Work that is neither prepared nor committed, by connection. */
  readonly #open = new Map<number, string>();
  #connections = 0;
  /** Whose a connection is, and in which life. */
  readonly #clients = new Map<number, { readonly owner: Owner; readonly life: number }>();
  readonly #simulator: Simulator;

  constructor(name: string, simulator: Simulator, ledger: Ledger, isOwned: boolean) {
    this.name = name;
    this.server = new Server(name, simulator);
    this.#simulator = simulator;
    this.#ledger = ledger;
    this.isOwned = isOwned;
  }

  /** The server's process dies, with all connections. */
  crash(): void {
    this.server.die();
    for (const connection of this.#clients.keys()) this.close(connection);
  }

  /** A connection on which a transaction has written something. */
  write(gid: string, owner: Owner, life: number): number {
    const connection = ++this.#connections;
    this.#clients.set(connection, { owner, life });
    this.#open.set(connection, gid);
    this.#ledger.wrote(gid, this.name);
    // It may have died meanwhile.
    this.closeAllOf(owner);
    return connection;
  }

  /** The server has noticed that a process is gone. */
  closeAllOf(process: Owner): void {
    for (const [connection, { owner, life }] of this.#clients) {
      if (owner === process && life !== process.life) this.close(connection);
    }
  }

  /** The server has noticed that a connection is closed. */
  close(connection: number): void {
    const gid = this.#open.get(connection);
    if (gid !== undefined) this.#ledger.lost(gid, this.name);
    this.#open.delete(connection);
    this.#clients.delete(connection);
    for (const branch of this.prepared.values()) if (branch.owner === connection) branch.owner = undefined;
  }

  #take(connection: number): string {
    const gid = this.#open.get(connection);
    if (gid === undefined) throw new NotFoundError(`the connection to ${this.name} is gone, with its transaction`);
    this.#open.delete(connection);
    return gid;
  }

  has(connection: number): boolean {
    return this.#open.has(connection);
  }

  commit(connection: number): void {
    this.#ledger.committed(this.#take(connection), this.name);
  }

  prepare(connection: number): void {
    const gid = this.#take(connection);
    this.prepared.set(gid, { gid, owner: connection });
    this.#simulator.after(PREPARED_WAIT_MS, undefined, () => this.close(connection));
  }

  /** @throws NotFoundError, which with an owner means nothing. */
  end(verb: 'commit' | 'rollback', gid: string, connection: number | undefined): void {
    const branch = this.prepared.get(gid);
    if (branch === undefined || (this.isOwned && branch.owner !== undefined && branch.owner !== connection)) {
      throw new NotFoundError(`${this.name} has nothing prepared under ${gid}`);
    }
    this.prepared.delete(gid);
    if (verb === 'commit') this.#ledger.committed(gid, this.name);
    else this.#ledger.lost(gid, this.name);
  }

  list(): string[] {
    return [...this.prepared.keys()];
  }
}
