// A database that can prepare: what is prepared and committed outlives its death, what isn't is gone. Every step is checked against what the
// other databases have.
import { Server } from './network.ts';
import type { Owner, Simulator } from './simulator.ts';
import type { Situations } from './situations.ts';

/** After how long the server closes a connection that has prepared something and says nothing more, in milliseconds. */
const PREPARED_WAIT_MS = 2_000;

/** What has become of one transaction. */
interface Fate {
  readonly wrote: Set<string>;
  readonly committed: Set<string>;
  readonly lost: Set<string>;
  /** What its caller has heard. */
  told: 'committed' | 'aborted' | undefined;
  /** Whether a decision store has written down durably that it commits. */
  isDecided: boolean;
  /** Whether anybody has ever sent a rollback of it: that may be on its way long after its sender has died. */
  isGivenUp: boolean;
  /** The work that it is an attempt of. */
  operation: Operation | undefined;
}

/** Work that is to be done once, in as many attempts as it takes. */
export interface Operation {
  committedBy: string | undefined;
}

/** What each transaction has come to in all databases, seen from nowhere. Looks at every step whether that may be. */
export class Ledger {
  readonly #fates = new Map<string, Fate>();
  /** What must not be. */
  readonly breaches: string[] = [];

  fate(gid: string): Fate {
    let fate = this.#fates.get(gid);
    if (fate === undefined) {
      const sets = { wrote: new Set<string>(), committed: new Set<string>(), lost: new Set<string>() };
      this.#fates.set(
        gid,
        (fate = { ...sets, told: undefined, isDecided: false, isGivenUp: false, operation: undefined }),
      );
    }
    return fate;
  }

  wrote(gid: string, database: string): void {
    this.fate(gid).wrote.add(database);
  }

  /** Its changes are there for good. */
  committed(gid: string, database: string): void {
    const fate = this.fate(gid);
    const { operation } = fate;
    fate.committed.add(database);
    if (fate.lost.size > 0) this.#breach('half done', gid, `${database} commits what ${names(fate.lost)} rolled back`);
    if (fate.told === 'aborted') this.#breach('appeared', gid, `was said to be aborted, and ${database} commits it`);
    if (operation === undefined) return;
    operation.committedBy ??= gid;
    if (operation.committedBy !== gid) this.#breach('twice', gid, `${operation.committedBy} has done the same work`);
  }

  /** Its changes are gone for good. */
  lost(gid: string, database: string): void {
    const fate = this.fate(gid);
    if (!fate.wrote.has(database) || fate.committed.has(database)) return;
    fate.lost.add(database);
    if (fate.committed.size > 0) {
      this.#breach('half done', gid, `${database} rolls back what ${names(fate.committed)} committed`);
    }
    if (fate.told === 'committed') this.#breach('lost', gid, `was acknowledged, and ${database} rolls it back`);
  }

  /** Its caller was told how it has ended: from now on that must be so, whatever dies. */
  told(gid: string, outcome: 'committed' | 'aborted'): void {
    const fate = this.fate(gid);
    fate.told = outcome;
    if (outcome === 'aborted') {
      if (fate.committed.size > 0) this.#breach('appeared', gid, `was aborted, and is in ${names(fate.committed)}`);
      return;
    }
    if (fate.lost.size > 0) this.#breach('lost', gid, `is acknowledged, and ${names(fate.lost)} rolled it back`);
    if (!fate.isDecided && fate.committed.size !== fate.wrote.size) {
      this.#breach('too early', gid, 'is acknowledged before its decision is durable');
    }
  }

  isCommittedEverywhere(gid: string): boolean {
    const { committed, wrote } = this.fate(gid);
    return committed.size === wrote.size;
  }

  /** What is half there when all is over. */
  checkAll(): void {
    for (const [gid, { wrote, committed, told }] of this.#fates) {
      const where = `is in ${names(committed) || 'none'}, and was written in ${names(wrote)}`;
      if (committed.size !== 0 && committed.size !== wrote.size) this.#breach('half done', gid, where);
      if (told === 'committed' && committed.size !== wrote.size) this.#breach('lost', gid, where);
    }
  }

  #breach(kind: string, gid: string, what: string): void {
    this.breaches.push(`${kind}: ${gid}: ${what}`);
  }
}

function names(databases: ReadonlySet<string>): string {
  return [...databases].join();
}

interface Branch {
  readonly gid: string;
  readonly preparedMs: number;
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
  readonly #situations: Situations;

  constructor(
    name: string,
    { simulator, ledger, situations }: { simulator: Simulator; ledger: Ledger; situations: Situations },
    isOwned: boolean,
  ) {
    this.name = name;
    this.#situations = situations;
    this.server = new Server(name, simulator);
    this.#simulator = simulator;
    this.#ledger = ledger;
    this.isOwned = isOwned;
  }

  /** The server's process dies, with all connections. */
  crash(): void {
    if (this.prepared.size > 0) this.#situations.occurred('a database died with something prepared');
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
    if (this.#ledger.fate(gid).told === 'aborted') this.#situations.occurred('PREPARE landed behind the rollback');
    this.prepared.set(gid, { gid, owner: connection, preparedMs: this.#simulator.nowMs });
    this.#simulator.after(PREPARED_WAIT_MS, undefined, () => this.close(connection));
  }

  /** @throws NotFoundError, which with an owner means nothing. */
  end(verb: 'commit' | 'rollback', gid: string, connection: number | undefined): void {
    const branch = this.prepared.get(gid);
    const isOwned = this.isOwned && branch?.owner !== undefined && branch.owner !== connection;
    if (isOwned) this.#situations.occurred('a server said that there was no such branch, and there was');
    if (branch === undefined || isOwned) {
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
