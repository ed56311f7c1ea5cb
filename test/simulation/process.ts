// A process of the application: the real coordinator, over sessions and a decision log that call simulated servers.
import {
  CommitOutcomeUnknownError,
  type DataManager,
  type DecisionLog,
  type Decision,
  type RecoverableResource,
  type Transaction,
  TransactionCoordinator,
  type Vote,
  type Xid,
} from 'unanimous';
import { type Database, NotFoundError } from './database.ts';
import type { DecisionStore } from './decision-store.ts';
import type { Network } from './network.ts';
import { Owner, type Simulator } from './simulator.ts';

const CALL_TIMEOUT_MS = 100;
const LEASE_MS = 1_000;
const RECOVERY_EVERY_MS = 300;
/** For how long a session tries to end what it has prepared, before it leaves that to recovery. */
const RESOLVE_MS = 500;

/** What a caller was told. */
export interface Answer {
  readonly gid: string;
  readonly outcome: 'committed' | 'aborted' | 'unknown';
}

/** What all processes have around them. */
export interface Surroundings {
  readonly simulator: Simulator;
  readonly network: Network;
  readonly databases: readonly Database[];
  readonly store: DecisionStore;
  /** The database that the store is in. */
  readonly storeDatabase: Database;
  readonly answers: Answer[];
  readonly breaches: string[];
}

/** A database as one process sees it. */
class Session implements RecoverableResource {
  readonly name: string;
  readonly database: Database;
  readonly #around: Surroundings;

  constructor(database: Database, around: Surroundings) {
    this.name = database.name;
    this.database = database;
    this.#around = around;
  }

  call<T>(work: () => T): Promise<T> {
    const { network } = this.#around;
    return network.call<T>(
      this.database.server,
      (reply) =>
        this.database.server.soon(() => {
          let answer: () => T;
          try {
            const value = work();
            answer = () => value;
          } catch (error) {
            answer = () => {
              throw error;
            };
          }
          reply(answer);
        }),
      CALL_TIMEOUT_MS,
    );
  }

  async listPrepared(): Promise<Xid[]> {
    return (await this.call(() => this.database.list())).map((gid) => ({ gid, branch: this.name }));
  }

  commitPrepared({ gid }: Xid): Promise<void> {
    return this.end('commit', gid, undefined);
  }

  rollbackPrepared({ gid }: Xid): Promise<void> {
    return this.end('rollback', gid, undefined);
  }

  /** Ends a branch: what an answer says of there being none is believed only of a list that doesn't have it. */
  async end(verb: 'commit' | 'rollback', gid: string, connection: number | undefined): Promise<void> {
    const { simulator } = this.#around;
    const untilMs = simulator.nowMs + RESOLVE_MS;
    let own = connection;
    for (;;) {
      try {
        const by = own;
        await this.call(() => this.database.end(verb, gid, by));
        return;
      } catch (error) {
        if (!(error instanceof NotFoundError)) own = undefined;
        else if (!(await this.#isListed(gid))) return;
        if (simulator.nowMs > untilMs) throw error;
      }
      await this.pause(20);
    }
  }

  async #isListed(gid: string): Promise<boolean> {
    try {
      return (await this.call(() => this.database.list())).includes(gid);
    } catch {
      return true;
    }
  }

  /** Closes a connection, which its server hears of a little later. */
  close(connection: number): void {
    const { simulator } = this.#around;
    simulator.after(simulator.random.exponential(10), undefined, () => this.database.close(connection));
  }

  pause(ms: number): Promise<void> {
    const { simulator } = this.#around;
    return new Promise((resolve) => void simulator.after(ms, simulator.current, resolve));
  }
}

/** A session's part of a transaction. */
class Part implements DataManager {
  readonly sortKey: string;
  readonly session: Session;
  readonly recoverable: Session;
  readonly onePhase = true;
  readonly changed = true;
  readonly #gid: string;
  connection: number | undefined;
  #state: 'open' | 'maybe prepared' | 'prepared' | 'ended' = 'open';

  constructor(session: Session, gid: string, connection: number) {
    this.session = session;
    this.recoverable = session;
    this.sortKey = `~sql:${session.name}`;
    this.#gid = gid;
    this.connection = connection;
  }

  tpcBegin(): void {}
  commit(): void {}

  async tpcVote(txn: Transaction): Promise<Vote> {
    const { database } = this.session;
    const connection = this.connection!;
    if (txn.way === 'one-phase') {
      this.#state = 'ended';
      try {
        await this.session.call(() => database.commit(connection));
      } catch (error) {
        if (error instanceof NotFoundError) throw error;
        throw new CommitOutcomeUnknownError('the answer to COMMIT was lost', {
          cause: error,
          resource: this.session.name,
        });
      }
      return 'commit';
    }
    this.#state = 'maybe prepared';
    try {
      await this.session.call(() => database.prepare(connection));
    } catch (error) {
      if (error instanceof NotFoundError) this.#state = 'ended';
      throw error;
    }
    this.#state = 'prepared';
    return 'commit';
  }

  async tpcFinish(): Promise<void> {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    await this.session.end('commit', this.#gid, this.connection).finally(() => this.release());
  }

  tpcAbort(): Promise<void> {
    return this.abort();
  }

  async abort(): Promise<void> {
    const state = this.#state;
    this.#state = 'ended';
    if (state === 'ended') return;
    if (state === 'open') return this.release();
    await this.session.end('rollback', this.#gid, this.connection).finally(() => this.release());
  }

  hold(): void {
    this.#state = 'ended';
    this.release();
  }

  /** Gives its connection up. */
  release(): void {
    const { connection } = this;
    this.connection = undefined;
    if (connection !== undefined) this.session.close(connection);
  }

  /** Its own changes were committed along with the decision, or not. */
  ended(): void {
    this.#state = 'ended';
    this.connection = undefined;
  }
}

class Log implements DecisionLog {
  readonly #around: Surroundings;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  #call<T>(work: (store: DecisionStore) => T): Promise<T> {
    return this.#steps((reply) => {
      const value = work(this.#around.store);
      reply(() => value);
    });
  }

  #steps<T>(work: Parameters<Network['call']>[1]): Promise<T> {
    const { network, storeDatabase } = this.#around;
    return network.call<T>(storeDatabase.server, work, CALL_TIMEOUT_MS);
  }

  open(): Promise<string> {
    return this.#call(() => 'store');
  }
  register(incarnation: string, _node: string, leaseMs: number): Promise<void> {
    return this.#call((store) => store.register(incarnation, leaseMs));
  }
  renew(incarnation: string, leaseMs: number): Promise<boolean> {
    return this.#call((store) => store.renew(incarnation, leaseMs));
  }
  decide(decision: Decision): Promise<void> {
    return this.#steps((reply) => this.#around.store.decide(decision, undefined, reply));
  }
  carries(manager: DataManager): boolean {
    return manager instanceof Part && manager.session.database === this.#around.storeDatabase;
  }
  async decideWith(manager: DataManager, _txn: Transaction, decision: Decision): Promise<void> {
    const part = manager as Part;
    const connection = part.connection!;
    try {
      await this.#steps((reply) => this.#around.store.decide(decision, connection, reply));
      part.ended();
    } catch (error) {
      // So that whoever looks for the decision finds one that won't change: its connection is ended.
      part.ended();
      part.session.close(connection);
      throw error;
    }
  }
  settle(decision: Decision): ReturnType<DecisionLog['settle']> {
    return this.#steps((reply) => this.#around.store.settle(decision, reply));
  }
  nodes(): ReturnType<DecisionLog['nodes']> {
    return this.#call((store) => store.nodes());
  }
  fence(incarnation: string): Promise<boolean> {
    return this.#steps((reply) => this.#around.store.fence(incarnation, reply));
  }
  decisions(limit: number): ReturnType<DecisionLog['decisions']> {
    return this.#call((store) => [...store.decisions.values()].slice(0, limit));
  }
  decisionsOf(gids: readonly string[]): ReturnType<DecisionLog['decisionsOf']> {
    return this.#call((store) => gids.flatMap((gid) => store.decisions.get(gid) ?? []));
  }
  forget(gids: readonly string[]): Promise<void> {
    return this.#call((store) => store.forget(gids));
  }
  forgetTombstones(): Promise<void> {
    return this.#call((store) => store.forgetTombstones());
  }
  actByHand(): never {
    throw new Error('nobody acts by hand here');
  }
  handActions(): never {
    throw new Error('nobody acts by hand here');
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** One process, which runs transactions in several loops at once until it dies. */
export class Process extends Owner {
  readonly #around: Surroundings;
  #coordinator: TransactionCoordinator | undefined = undefined;
  #sessions: Session[] = [];
  /** No more transactions begin. */
  isResting = false;
  transactions = 0;

  constructor(name: string, around: Surroundings) {
    super(name);
    this.#around = around;
  }

  start(loops: number): void {
    this.isUp = true;
    this.pausedUntilMs = 0;
    const coordinator = new TransactionCoordinator({ app: 'sim', onError: () => undefined });
    this.#coordinator = coordinator;
    this.#sessions = this.#around.databases.map((database) => new Session(database, this.#around));
    coordinator.configure({
      decisionLog: new Log(this.#around),
      decisionTimeoutMs: 400,
      recovery: { leaseMs: LEASE_MS, everyMs: RECOVERY_EVERY_MS, resources: this.#sessions },
    });
    const { life } = this;
    for (let loop = 0; loop < loops; loop++) void this.#loop(coordinator, life);
  }

  /** Dies from one moment to the next; each server hears of that when it does. */
  override die(): void {
    super.die();
    const { databases, simulator } = this.#around;
    for (const database of databases) {
      simulator.after(simulator.random.exponential(100), undefined, () => database.closeAllOf(this));
    }
  }

  /** Nothing is open, and nothing in doubt, as far as this process knows. */
  get isQuiet(): boolean {
    const { transactions, decisions } = this.#coordinator!.inspect();
    return transactions.length === 0 && decisions!.inDoubt.length === 0;
  }

  async #loop(coordinator: TransactionCoordinator, life: number): Promise<void> {
    const { simulator } = this.#around;
    const pause = (): Promise<void> =>
      new Promise((resolve) => void simulator.after(simulator.random.exponential(5), this, resolve));
    while (this.life === life && !this.isResting) {
      await pause();
      await this.#one(coordinator);
    }
  }

  async #one(coordinator: TransactionCoordinator): Promise<void> {
    const { simulator, answers } = this.#around;
    const { random } = simulator;
    const chosen = this.#sessions.filter(() => random.chance(0.7));
    const fails = random.chance(0.1);
    let gid: string | undefined;
    let txn: Transaction | undefined;
    try {
      await coordinator.run(
        async (begun) => {
          txn = begun;
          gid = begun.id;
          this.transactions++;
          for (const session of chosen) {
            const id = begun.id;
            const { life } = this;
            const connection = await session.call(() => session.database.write(id, this, life));
            begun.join(new Part(session, id, connection));
          }
          if (fails) throw new Error('the application says no');
        },
        { attempts: 1 },
      );
      answers.push({ gid: gid!, outcome: 'committed' });
    } catch (error) {
      if (gid === undefined) return;
      const code = (error as { code?: unknown }).code;
      const isUnknown = code === 'ERR_TXN_OUTCOME_UNKNOWN' || code === 'ERR_TXN_IN_DOUBT';
      if (!isUnknown) answers.push({ gid, outcome: 'aborted' });
      else void this.#hear(txn!);
    }
  }

  /** What a transaction in doubt is said to have become must be so. */
  async #hear(txn: Transaction): Promise<void> {
    const outcome = await txn.resolved;
    if (outcome !== undefined && outcome !== 'unknown') this.#around.answers.push({ gid: txn.id, outcome });
  }
}
