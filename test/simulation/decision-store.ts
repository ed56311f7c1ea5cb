// The decision store: what DecisionLog promises, on a server that dies and whose writes take their time.
import { DecisionFailedError, type Decision, type DecisionNode, type DecisionRow, FencedError } from 'unanimous';
import type { DecidedOutcome } from 'unanimous';
import type { Database, Ledger } from './database.ts';
import { Messages } from './messages.ts';
import type { Reply } from './network.ts';
import type { Simulator } from './simulator.ts';
import type { Situations } from './situations.ts';

const NOWHERE = new Date(0);

export class DecisionStore {
  /** Its identity, which is in the ids of all transactions that it decides. */
  readonly id: string;
  readonly database: Database;
  /** What is to be done after commits, stored with decisions. */
  readonly messages: Messages;
  readonly #situations: Situations;
  readonly #simulator: Simulator;
  readonly #nodes = new Map<string, { expiresMs: number }>();
  readonly decisions = new Map<string, DecisionRow & { readonly writtenMs: number }>();
  /** When those were taken the right to decide that have it no more. */
  readonly fencedMs = new Map<string, number>();
  /** Decisions that are being written, which keep the row of their node from being deleted. */
  readonly #writing = new Map<string, number>();
  /** What has ever been decided, and how. */
  readonly #everDecided = new Map<string, DecidedOutcome>();
  readonly #ledger: Ledger;
  readonly breaches: string[] = [];
  /** How far the clock of the server is off: leases are by it. */
  offsetMs = 0;

  constructor(
    id: string,
    database: Database,
    { simulator, ledger, situations }: { simulator: Simulator; ledger: Ledger; situations: Situations },
  ) {
    this.id = id;
    this.database = database;
    this.#ledger = ledger;
    this.#simulator = simulator;
    this.#situations = situations;
    this.messages = new Messages(() => this.#nowMs);
  }

  get #nowMs(): number {
    return this.#simulator.nowMs + this.offsetMs;
  }

  /** What was on its way is gone with the server. */
  crash(): void {
    if (this.#writing.size > 0) this.#situations.occurred('a decision store died with a decision on its way');
    this.#writing.clear();
  }

  register(incarnation: string, leaseMs: number): void {
    this.#nodes.set(incarnation, { expiresMs: this.#nowMs + leaseMs });
  }

  renew(incarnation: string, leaseMs: number): boolean {
    const node = this.#nodes.get(incarnation);
    if (node !== undefined) node.expiresMs = this.#nowMs + leaseMs;
    return node !== undefined;
  }

  /** Writes "committed", and commits the changes on `connection` with it, where there is one. */
  decide(decision: Decision, connection: number | undefined, reply: Reply): void {
    const { gid, incarnation } = decision;
    const refuse = (error: Error): void => {
      if (connection !== undefined) this.database.close(connection);
      reply(() => {
        throw error;
      });
    };
    if (!this.#nodes.has(incarnation)) {
      this.#situations.occurred('who was taken for dead tried to decide');
      return refuse(new FencedError(`${incarnation} was taken for dead`));
    }
    const refuseSecond = (): void => {
      if (this.decisions.get(gid)!.outcome === 'aborted') {
        this.#situations.occurred('a tombstone was first, and a decision came too late');
      }
      refuse(new DecisionFailedError(`${gid} is decided`));
    };
    if (this.decisions.has(gid)) return refuseSecond();
    if (connection !== undefined && !this.database.has(connection)) {
      return refuse(new DecisionFailedError('the connection is gone', { cause: new Error('gone') }));
    }
    this.#writing.set(incarnation, (this.#writing.get(incarnation) ?? 0) + 1);
    this.database.server.soon(() => {
      const left = this.#writing.get(incarnation)! - 1;
      if (left === 0) this.#writing.delete(incarnation);
      else this.#writing.set(incarnation, left);
      // Somebody else was first with the primary key.
      if (this.decisions.has(gid)) refuseSecond();
      else if (connection !== undefined && !this.database.has(connection)) {
        refuse(new DecisionFailedError('the connection is gone', { cause: new Error('gone') }));
      } else {
        this.#write(decision, 'committed');
        this.messages.add(gid, decision.messages ?? []);
        if (connection !== undefined) this.database.commit(connection);
        reply(() => undefined);
      }
      this.database.server.letGo();
    });
  }

  #write({ gid, incarnation, participants }: Decision, outcome: DecidedOutcome): void {
    const before = this.#everDecided.get(gid);
    // A tombstone may land when all have followed and the decision was deleted: nobody needs either any more.
    const isOver = before === 'committed' && this.#ledger.isCommittedEverywhere(gid);
    if (before !== undefined && before !== outcome && !isOver) {
      this.breaches.push(`contradicted: ${gid} was ${before}, now ${outcome}`);
    }
    this.#everDecided.set(gid, outcome);
    if (outcome === 'committed') this.#ledger.fate(gid).isDecided = true;
    const writtenMs = this.#simulator.nowMs;
    this.decisions.set(gid, { gid, incarnation, participants, outcome, createdAt: NOWHERE, writtenMs });
  }

  settle(decision: Decision, reply: Reply): void {
    const { gid, incarnation } = decision;
    // An insert under the key of one that is being written waits for it.
    this.database.server.when(
      () => !this.#writing.has(incarnation),
      () => {
        const before = this.decisions.get(gid)?.outcome;
        if (before === 'committed') this.#situations.occurred('a decision was first, and a tombstone came too late');
        if (!this.#nodes.has(incarnation)) this.#situations.occurred('who was taken for dead asked for its decision');
        if (!this.decisions.has(gid) && this.#nodes.has(incarnation)) this.#write(decision, 'aborted');
        const outcome = this.decisions.get(gid)?.outcome;
        reply(() => outcome);
      },
    );
  }

  nodes(): DecisionNode[] {
    const now = this.#nowMs;
    return [...this.#nodes].map(([incarnation, { expiresMs }]) => ({
      incarnation,
      node: incarnation,
      startedAt: NOWHERE,
      isExpired: expiresMs < now,
    }));
  }

  isRegistered(incarnation: string): boolean {
    return this.#nodes.has(incarnation);
  }

  /** Decides by hand where nothing is decided, and nobody does at this moment; false where that isn't so. */
  actByHand(decision: Decision, outcome: DecidedOutcome): boolean {
    const { gid, incarnation } = decision;
    if (this.decisions.has(gid) || !this.#nodes.has(incarnation) || this.#writing.has(incarnation)) return false;
    this.#write(decision, outcome);
    return true;
  }

  fence(incarnation: string, reply: Reply): void {
    if (this.#writing.has(incarnation)) this.#situations.occurred('a fence waited for a decision on its way');
    this.database.server.when(
      () => !this.#writing.has(incarnation),
      () => {
        this.#nodes.delete(incarnation);
        if (!this.fencedMs.has(incarnation)) this.fencedMs.set(incarnation, this.#simulator.nowMs);
        reply(() => true);
      },
    );
  }

  forget(gids: readonly string[]): void {
    for (const gid of gids) this.decisions.delete(gid);
  }

  forgetTombstones(): void {
    for (const { gid, incarnation, outcome } of this.decisions.values()) {
      if (outcome === 'aborted' && !this.#nodes.has(incarnation)) this.decisions.delete(gid);
    }
  }
}
