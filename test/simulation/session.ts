// What stands for the sessions of datamanagers/sql here: a database as one process sees it, and its part of a transaction. The statements aren't
// real; when which of them is sent, what is made of an answer that is lost and of a "no such branch", and what is asked again, are as there.
import { CommitOutcomeUnknownError, type DataManager, type RecoverableResource, type Transaction } from 'unanimous';
import type { Vote, Xid } from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { type Database, NotFoundError } from './database.ts';
import type { CallOptions } from './network.ts';
import type { Process } from './process.ts';
import { CALL_TIMEOUT_MS, type Surroundings } from './surroundings.ts';

/** For how long a session tries to end what it has prepared, before it leaves that to recovery. */
const RESOLVE_MS = 500;

/** A database as one process sees it. */
export class Session implements RecoverableResource {
  readonly name: string;
  readonly database: Database;
  readonly process: Process;
  readonly #around: Surroundings;
  /** Connections that were opened and not given up: as a pool counts them. */
  connections = 0;
  /** Whether it has told this pass of recovery what is prepared and has to be ended. */
  isListed = false;

  constructor(database: Database, process: Process, around: Surroundings) {
    this.name = database.name;
    this.database = database;
    this.process = process;
    this.#around = around;
  }

  call<T>(work: () => T, options?: Omit<CallOptions, 'timeoutMs'>): Promise<T> {
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
      { timeoutMs: CALL_TIMEOUT_MS, ...options },
    );
  }

  /** Opens a connection and writes something; where the answer doesn't come, the connection is given up. */
  async write(gid: string): Promise<number> {
    const { process } = this;
    const { life } = process;
    const opening: { connection?: number; isGivenUp?: boolean } = {};
    try {
      const connection = await this.call(() => {
        opening.connection = this.database.write(gid, process, life);
        if (opening.isGivenUp === true) this.#tellClosed(opening.connection);
        return opening.connection;
      });
      this.connections++;
      return connection;
    } catch (error) {
      opening.isGivenUp = true;
      if (opening.connection !== undefined) this.#tellClosed(opening.connection);
      throw error;
    }
  }

  async listPrepared(): Promise<Xid[]> {
    const gids = await this.call(() => this.database.list(), { asksAgain: true });
    if (!this.process.isCollecting) this.isListed = true;
    return gids.map((gid) => ({ gid, branch: this.name }));
  }

  async commitPrepared({ gid }: Xid): Promise<void> {
    await this.end('commit', gid, undefined);
    this.process.tookOver('committed', gid);
  }

  async rollbackPrepared({ gid }: Xid): Promise<void> {
    await this.end('rollback', gid, undefined);
    this.process.tookOver('rolled back', gid);
  }

  /** Ends a branch: what an answer says of there being none is believed only of a list that doesn't have it. */
  async end(verb: 'commit' | 'rollback', gid: string, connection: number | undefined): Promise<void> {
    const untilMs = environment.now() + RESOLVE_MS;
    const purpose = verb === 'commit' ? 'COMMIT PREPARED' : 'ROLLBACK PREPARED';
    let own = connection;
    if (verb === 'rollback') this.#around.ledger.fate(gid).isGivenUp = true;
    for (;;) {
      try {
        const by = own;
        // By the connection that has prepared it nothing is asked twice.
        await this.call(() => this.database.end(verb, gid, by), { purpose, asksAgain: by === undefined });
        return;
      } catch (error) {
        if (!(error instanceof NotFoundError)) own = undefined;
        else if (!(await this.#isListed(gid))) return this.process.foundEnded(connection);
        if (environment.now() > untilMs) throw error;
      }
      await this.pause(20);
    }
  }

  async #isListed(gid: string): Promise<boolean> {
    try {
      return (await this.call(() => this.database.list(), { asksAgain: true })).includes(gid);
    } catch {
      return true;
    }
  }

  /** Gives a connection up. */
  close(connection: number): void {
    this.connections--;
    this.#tellClosed(connection);
  }

  /** Its server hears of that a little later. */
  #tellClosed(connection: number): void {
    const { simulator } = this.#around;
    simulator.after(simulator.random.exponential(10), undefined, () => this.database.close(connection));
  }

  pause(ms: number): Promise<void> {
    const { simulator } = this.#around;
    return new Promise((resolve) => void simulator.after(ms, simulator.current, resolve));
  }
}

/** A session's part of a transaction. */
export class Part implements DataManager {
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
    const { database, process } = this.session;
    const connection = this.connection!;
    if (txn.way === 'one-phase') {
      process.isAt(this.#gid, 'committed in one phase');
      this.#state = 'ended';
      try {
        await this.session.call(() => database.commit(connection), { purpose: 'COMMIT' });
      } catch (error) {
        if (error instanceof NotFoundError) throw error;
        throw new CommitOutcomeUnknownError('the answer to COMMIT was lost', {
          cause: error,
          resource: this.session.name,
        });
      } finally {
        this.release();
      }
      return 'commit';
    }
    process.isAt(this.#gid, 'prepared');
    this.#state = 'maybe prepared';
    try {
      await this.session.call(() => database.prepare(connection), { purpose: 'PREPARE' });
    } catch (error) {
      if (error instanceof NotFoundError) {
        this.#state = 'ended';
        this.release();
      }
      throw error;
    }
    this.#state = 'prepared';
    return 'commit';
  }

  async tpcFinish(): Promise<void> {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.session.process.isAt(this.#gid, 'followed');
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

  /** Its own changes were committed along with the decision, or not: nothing more is asked of it. */
  ended(): void {
    this.#state = 'ended';
    this.release();
  }
}
