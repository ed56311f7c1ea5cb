// A decision log whose tables are those of decision-store.ts, asked over the network; and the messages with them. When what is asked, and what an
// answer that is lost means, is as in PgDecisionLog and PgOutbox.
import type { DataManager, Decision, DecisionLog, Outbox, Transaction } from 'unanimous';
import type { DecisionStore } from './decision-store.ts';
import type { CallOptions, Reply } from './network.ts';
import type { Process } from './process.ts';
import { Part } from './session.ts';
import { CALL_TIMEOUT_MS, type Surroundings } from './surroundings.ts';

export class Log implements DecisionLog {
  readonly outbox: Outbox;
  readonly #around: Surroundings;
  readonly #store: DecisionStore;
  readonly #process: Process;

  constructor(process: Process, store: DecisionStore, around: Surroundings) {
    this.#around = around;
    this.#store = store;
    this.#process = process;
    const { messages } = store;
    this.outbox = {
      // A claim that was made and not heard of runs out.
      claim: (claim) => this.#call(() => messages.claim(claim), {}),
      hold: (keys, forMs) => this.#call(() => messages.hold(keys, forMs)),
      remove: (keys) => this.#call(() => messages.remove(keys)),
      failed: (key, _error, retryInMs) => this.#call(() => messages.failed(key, retryInMs), {}),
      list: (limit) => this.#call(() => messages.list(limit)),
      retry: () => byHand(),
      drop: () => byHand(),
    };
  }

  #call<T>(
    work: (store: DecisionStore) => T,
    options: Omit<CallOptions, 'timeoutMs'> = { asksAgain: true },
  ): Promise<T> {
    return this.#steps((reply) => {
      const value = work(this.#store);
      reply(() => value);
    }, options);
  }

  #steps<T>(work: (reply: Reply) => void, options: Omit<CallOptions, 'timeoutMs'>): Promise<T> {
    return this.#around.network.call<T>(this.#store.database.server, work, { timeoutMs: CALL_TIMEOUT_MS, ...options });
  }

  open(): Promise<string> {
    return this.#call((store) => store.id);
  }
  register(incarnation: string, _node: string, leaseMs: number): Promise<void> {
    return this.#call((store) => store.register(incarnation, leaseMs), {});
  }
  renew(incarnation: string, leaseMs: number): Promise<boolean> {
    return this.#call((store) => store.renew(incarnation, leaseMs));
  }
  async decide(decision: Decision): Promise<void> {
    this.#process.isAt(decision.gid, 'wrote a decision');
    await this.#steps((reply) => this.#store.decide(decision, undefined, reply), { purpose: 'a decision' });
    this.#process.isAt(decision.gid, 'decided');
  }
  carries(manager: DataManager): boolean {
    return manager instanceof Part && manager.session.database === this.#store.database;
  }
  async decideWith(manager: DataManager, _txn: Transaction, decision: Decision): Promise<void> {
    const part = manager as Part;
    const connection = part.connection!;
    this.#process.isAt(decision.gid, 'wrote a decision');
    try {
      await this.#steps((reply) => this.#store.decide(decision, connection, reply), { purpose: 'a decision' });
      this.#process.isAt(decision.gid, 'decided');
    } finally {
      // Also where the answer was lost: then whoever looks for the decision finds one that won't change, once the connection is ended.
      part.ended();
    }
  }
  settle(decision: Decision): ReturnType<DecisionLog['settle']> {
    return this.#steps((reply) => this.#store.settle(decision, reply), { asksAgain: true });
  }
  nodes(): ReturnType<DecisionLog['nodes']> {
    return this.#call((store) => store.nodes());
  }
  fence(incarnation: string): Promise<boolean> {
    return this.#steps((reply) => this.#store.fence(incarnation, reply), { asksAgain: true });
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
    this.#process.isCollecting = true;
    return this.#call((store) => store.forgetTombstones());
  }
  actByHand(): never {
    return byHand();
  }
  handActions(): never {
    return byHand();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

function byHand(): never {
  throw new Error('an operator acts on the store itself here');
}
