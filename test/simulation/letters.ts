// Messages of transactions: handed over to be stored with the decision, as `outboxed` does it, and delivered to a server that may be down, slow or
// unwilling.
import type { DataManager, OutboxMessage, OutboxTarget, StoredMessage, Transaction, Vote } from 'unanimous';
import type { DecisionStore } from './decision-store.ts';
import type { Process } from './process.ts';
import { CALL_TIMEOUT_MS, type Surroundings } from './surroundings.ts';

/** The names of those that deliver: for one the order matters. */
export const IN_ORDER = 'in order';
export const ANY_ORDER = 'in any order';

/** What one transaction sends, if it commits. */
export class Letters implements DataManager {
  readonly sortKey = '~~letters';
  readonly #messages: readonly OutboxMessage[];

  constructor(messages: readonly OutboxMessage[]) {
    this.#messages = messages;
  }

  outbox(): readonly OutboxMessage[] {
    return this.#messages;
  }

  tpcBegin(): void {}
  commit(): void {}

  tpcVote(txn: Transaction): Vote {
    if (!txn.isStored(this)) throw new Error('the decision store could not be reached when this began');
    return 'commit';
  }

  tpcFinish(): void {}
  tpcAbort(): void {}
  abort(): void {}
}

/** Delivers them for one process. */
export class Postman implements OutboxTarget {
  readonly name: string;
  readonly anyOrder: boolean;
  readonly #process: Process;
  readonly #store: DecisionStore;
  readonly #around: Surroundings;

  constructor(name: string, process: Process, store: DecisionStore, around: Surroundings) {
    this.name = name;
    this.anyOrder = name === ANY_ORDER;
    this.#process = process;
    this.#store = store;
    this.#around = around;
  }

  async deliver(message: StoredMessage): Promise<void> {
    const { network, receiver, simulator, situations } = this.#around;
    this.#process.delivers(message.gid);
    try {
      await network.call(
        receiver.server,
        (reply) =>
          receiver.server.soon(() => {
            const isRefused = simulator.random.chance(receiver.refusal);
            if (!isRefused) receiver.receive(message, this.#store);
            reply(() => {
              if (isRefused) throw new Error('not now');
            });
          }),
        { timeoutMs: CALL_TIMEOUT_MS },
      );
    } catch (error) {
      situations.occurred('a delivery failed');
      throw error;
    }
  }

  postponed(): void {
    this.#around.situations.occurred('a message was kept behind one that had failed');
  }
}
