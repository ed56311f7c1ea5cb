/** Decisions in a sandbox: none is written down, and nothing is sent of what would be stored with them. */
import type {
  DataManager,
  DecidedOutcome,
  Decision,
  DecisionLog,
  DecisionNode,
  DecisionRow,
  HandActionRow,
  ListedMessage,
  Outbox,
  StoredMessage,
} from '../../../coordinator/types.ts';
import type { Transaction } from '../../../coordinator/transaction.ts';
import type { SqlBranch } from '../../sql/branch.ts';

/** Nobody delivers what is put here. */
const NOWHERE: Outbox = {
  claim: () => Promise.resolve<StoredMessage[]>([]),
  hold: () => Promise.resolve(),
  remove: () => Promise.resolve(),
  failed: () => Promise.resolve(),
  list: () => Promise.resolve<ListedMessage[]>([]),
  retry: () => Promise.resolve(),
  drop: () => Promise.resolve<StoredMessage[]>([]),
};

/** Takes the same way as the real log would: the same commits are refused, and the same database takes the decision along. */
export class SandboxDecisionLog implements DecisionLog {
  readonly outbox: Outbox | undefined;
  readonly #real: DecisionLog;

  constructor(real: DecisionLog) {
    this.#real = real;
    this.outbox = real.outbox === undefined ? undefined : NOWHERE;
  }

  get session(): object | undefined {
    return this.#real.session;
  }

  carries(manager: DataManager): boolean {
    return this.#real.carries?.(manager) === true;
  }

  async decideWith(manager: DataManager, txn: Transaction): Promise<void> {
    // Where a log of this package carries anything, it is a SQL session's.
    const branch = manager as Partial<SqlBranch> & DataManager;
    if (branch.commitBy === undefined) await manager.tpcVote(txn);
    else await branch.commitBy((connection) => connection.commit());
  }

  open(): Promise<string> {
    return Promise.resolve('sandbox');
  }
  register(): Promise<void> {
    return Promise.resolve();
  }
  renew(): Promise<boolean> {
    return Promise.resolve(true);
  }
  decide(): Promise<void> {
    return Promise.resolve();
  }
  settle(_decision: Decision): Promise<DecidedOutcome | undefined> {
    return Promise.resolve('aborted');
  }
  nodes(): Promise<DecisionNode[]> {
    return Promise.resolve([]);
  }
  fence(): Promise<boolean> {
    return Promise.resolve(true);
  }
  decisions(): Promise<DecisionRow[]> {
    return Promise.resolve([]);
  }
  decisionsOf(): Promise<DecisionRow[]> {
    return Promise.resolve([]);
  }
  forget(): Promise<void> {
    return Promise.resolve();
  }
  forgetTombstones(): Promise<void> {
    return Promise.resolve();
  }
  actByHand(): Promise<DecidedOutcome | undefined> {
    return Promise.resolve(undefined);
  }
  handActions(): Promise<HandActionRow[]> {
    return Promise.resolve([]);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}
