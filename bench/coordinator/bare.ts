// The same calls with nothing around them: what no coordinator can be faster than.
import type { DataManager, Transaction } from '../../coordinator/index.ts';

const PHASES = ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'] as const;

type Hook = () => unknown;

/** A list of managers and hooks, and loops over them. */
export class BareTransaction {
  readonly managers: DataManager[] = [];
  readonly beforeCommit: Hook[] = [];
  readonly afterCommit: Hook[] = [];
  readonly savepoints: unknown[] = [];

  join(manager: DataManager): void {
    this.managers.push(manager);
  }

  async savepoint(): Promise<void> {
    for (const manager of this.managers) {
      const made: unknown = manager.savepoint!(this as unknown as Transaction);
      this.savepoints.push(isPromise(made) ? await made : made);
    }
  }

  /** Awaits promises only. */
  async commit(): Promise<void> {
    const txn = this as unknown as Transaction;
    for (const hook of this.beforeCommit) {
      const answer = hook();
      if (isPromise(answer)) await answer;
    }
    for (const phase of PHASES) {
      for (const manager of this.managers) {
        const answer = manager[phase](txn);
        if (isPromise(answer)) await answer;
      }
    }
    for (const hook of this.afterCommit) {
      const answer = hook();
      if (isPromise(answer)) await answer;
    }
  }

  async abort(): Promise<void> {
    for (const manager of this.managers) {
      const answer = manager.abort(this as unknown as Transaction);
      if (isPromise(answer)) await answer;
    }
  }

  /** Awaits everything, as is written without thinking of it. */
  async commitAwaiting(): Promise<void> {
    const txn = this as unknown as Transaction;
    for (const phase of PHASES) for (const manager of this.managers) await manager[phase](txn);
  }
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
