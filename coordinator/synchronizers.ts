/** The synchronizers of a manager: a set in the order of registration (zope 12-16). */
import { ConfigurationError, TransactionStateError, describe } from './errors.ts';
import { inOrder } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type { Awaitable, Synchronizer } from './types.ts';

export type SynchronizerCall = 'newTransaction' | 'beforeCompletion' | 'afterCompletion';

const METHODS: readonly SynchronizerCall[] = ['newTransaction', 'beforeCompletion', 'afterCompletion'];

const NONE: readonly Synchronizer[] = [];

export class Synchronizers {
  #members: readonly Synchronizer[] = NONE;

  get size(): number {
    return this.#members.length;
  }

  /** Adds one; false when it was there already. */
  add(member: Synchronizer): boolean {
    if (typeof member !== 'object' || member === null || !METHODS.some((name) => typeof member[name] === 'function')) {
      throw new ConfigurationError(
        `a synchronizer must be an object with at least one of the methods newTransaction, beforeCompletion and afterCompletion, not ${describe(member)}`,
      );
    }
    if (this.#members.includes(member)) return false;
    // Replaced rather than changed: a notification under way goes on over the members that it began with (zope 16).
    this.#members = [...this.#members, member];
    return true;
  }

  /** @throws TransactionStateError when it isn't registered (zope 13). */
  remove(member: Synchronizer): void {
    if (!this.#members.includes(member)) {
      throw new TransactionStateError('the synchronizer to unregister is not registered with this manager');
    }
    this.#members = this.#members.filter((other) => other !== member);
  }

  has(member: Synchronizer): boolean {
    return this.#members.includes(member);
  }

  clear(): void {
    this.#members = [];
  }

  notify(call: SynchronizerCall, txn: Transaction): Awaitable<void> {
    if (this.#members.length === 0) return undefined;
    return inOrder(this.#members, txn, (member, transaction) => member[call]?.(transaction));
  }
}
