/** Decisions in memory; {@link DecisionLog} has the rules. For tests: they are gone with the process. */
import { DecisionFailedError, FencedError } from '../../coordinator/errors.ts';
import { environment } from '../../coordinator/environment.ts';
import type {
  DecidedOutcome,
  Decision,
  DecisionLog,
  DecisionNode,
  DecisionRow,
  HandAction,
  HandActionRow,
} from '../../coordinator/types.ts';
import { MemoryOutbox, type WaitingMessage } from './outbox.ts';

interface Node {
  readonly node: string;
  readonly startedAt: Date;
  expiresMs: number;
}

/** What the decision logs of several coordinators have in common, as processes have a database. */
export class MemoryDecisionStore {
  /** @internal */ readonly identity: string = environment.randomHex(5);
  /** @internal */ readonly nodes = new Map<string, Node>();
  /** @internal */ readonly decisions = new Map<string, DecisionRow>();
  /** @internal */ readonly actions: HandActionRow[] = [];
  /** @internal */ readonly messages: WaitingMessage[] = [];
}

/** A decision log for tests. */
export class MemoryDecisionLog implements DecisionLog {
  /** What it shares with others. */
  readonly store: MemoryDecisionStore;
  /** @internal */ readonly outbox: MemoryOutbox;

  /** @param store of the logs that are to know each other's decisions; without one, it is alone. */
  constructor(store: MemoryDecisionStore = new MemoryDecisionStore()) {
    this.store = store;
    this.outbox = new MemoryOutbox(store.messages, store.actions);
  }

  /** See {@link DecisionLog.open}. */
  open(_options?: { readonly create?: boolean | undefined }): Promise<string> {
    return Promise.resolve(this.store.identity);
  }

  /** See {@link DecisionLog.register}. */
  register(incarnation: string, node: string, leaseMs: number): Promise<void> {
    const expiresMs = environment.now() + leaseMs;
    this.store.nodes.set(incarnation, { node, startedAt: new Date(), expiresMs });
    return Promise.resolve();
  }

  /** See {@link DecisionLog.renew}. */
  renew(incarnation: string, leaseMs: number): Promise<boolean> {
    const node = this.store.nodes.get(incarnation);
    if (node !== undefined) node.expiresMs = environment.now() + leaseMs;
    return Promise.resolve(node !== undefined);
  }

  /** See {@link DecisionLog.decide}. */
  async decide(decision: Decision): Promise<void> {
    const { gid, incarnation } = decision;
    if (!this.store.nodes.has(incarnation)) {
      throw new FencedError(
        `a process must be registered to decide; this one was taken for dead, so transaction ${gid} is rolled back`,
        { xid: gid, phase: 'tpcVote' },
      );
    }
    if (this.store.decisions.has(gid)) {
      throw new DecisionFailedError(
        `a transaction is decided once; ${gid} was decided to be rolled back by recovery or by hand`,
        { xid: gid, phase: 'tpcVote' },
      );
    }
    this.#write(decision, 'committed');
    this.outbox.store(gid, decision.messages ?? []);
  }

  #write({ gid, incarnation, participants }: Decision, outcome: DecidedOutcome): void {
    this.store.decisions.set(gid, { gid, incarnation, participants, outcome, createdAt: new Date() });
  }

  /** See {@link DecisionLog.settle}. */
  settle(decision: Decision): Promise<DecidedOutcome | undefined> {
    const { decisions, nodes } = this.store;
    if (!decisions.has(decision.gid) && nodes.has(decision.incarnation)) this.#write(decision, 'aborted');
    return Promise.resolve(decisions.get(decision.gid)?.outcome);
  }

  /** See {@link DecisionLog.nodes}. */
  nodes(): Promise<DecisionNode[]> {
    const now = environment.now();
    return Promise.resolve(
      [...this.store.nodes].map(([incarnation, { node, startedAt, expiresMs }]) => ({
        incarnation,
        node,
        startedAt,
        isExpired: expiresMs < now,
      })),
    );
  }

  /** See {@link DecisionLog.fence}. */
  fence(incarnation: string): Promise<boolean> {
    this.store.nodes.delete(incarnation);
    return Promise.resolve(true);
  }

  /** See {@link DecisionLog.decisions}. */
  decisions(limit: number, prefix = ''): Promise<DecisionRow[]> {
    const rows = [...this.store.decisions.values()].filter(({ gid }) => gid.startsWith(prefix));
    return Promise.resolve(rows.slice(0, limit));
  }

  /** See {@link DecisionLog.decisionsOf}. */
  decisionsOf(gids: readonly string[]): Promise<DecisionRow[]> {
    return Promise.resolve(gids.flatMap((gid) => this.store.decisions.get(gid) ?? []));
  }

  /** See {@link DecisionLog.forget}. */
  forget(gids: readonly string[]): Promise<void> {
    for (const gid of gids) this.store.decisions.delete(gid);
    return Promise.resolve();
  }

  /** See {@link DecisionLog.forgetTombstones}. */
  forgetTombstones(): Promise<void> {
    for (const { gid, incarnation, outcome } of this.store.decisions.values()) {
      if (outcome === 'aborted' && !this.store.nodes.has(incarnation)) this.store.decisions.delete(gid);
    }
    return Promise.resolve();
  }

  /** See {@link DecisionLog.actByHand}. */
  async actByHand(
    { action, by, forced, evenFenced }: HandAction,
    decision: Decision,
  ): Promise<DecidedOutcome | undefined> {
    const { gid, incarnation } = decision;
    const { actions, decisions, nodes } = this.store;
    const isRegistered = nodes.has(incarnation);
    let outcome = decisions.get(gid)?.outcome;
    if (action === 'forget') {
      decisions.delete(gid);
      outcome = undefined;
    } else if (outcome === undefined) {
      if (action === 'commit' && evenFenced !== true && !isRegistered) {
        throw new FencedError(
          `a process must be registered for its transaction to be committed by hand; that of ${gid} isn't, so recovery may have begun to roll it back`,
          { xid: gid },
        );
      }
      outcome = action === 'commit' ? 'committed' : 'aborted';
      if (action === 'commit' || isRegistered) this.#write(decision, outcome);
    }
    const isDone = outcome === undefined || (outcome === 'committed') === (action === 'commit');
    if (isDone) actions.push({ gid, action, by, forced, at: new Date() });
    return outcome;
  }

  /** See {@link DecisionLog.handActions}. */
  handActions(gid: string): Promise<HandActionRow[]> {
    return Promise.resolve(this.store.actions.filter((row) => row.gid === gid));
  }

  /** See {@link DecisionLog.close}. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}
