/** The calls of one transaction to functions of `outboxed`. */
import {
  DecisionFailedError,
  TransactionClosed,
  TransactionError,
  list,
  suppress,
  toError,
} from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  DataManager,
  DataManagerSavepoint,
  OutboxMessage,
  SandboxConduct,
  Vote,
} from '../../coordinator/types.ts';
import { nextNumber } from '../support/sequence.ts';
import type { OutboxedTarget } from './outboxed.ts';

interface Call {
  readonly target: OutboxedTarget;
  readonly key: string;
  /** The payload. */
  readonly json: string;
}

/** A text: copies of this package in one process find each other's, and keep to one order. */
const KEY = 'unanimous:outboxed:1';
const SEQUENCE = Symbol.for('unanimous.outboxed.sequence');

/** Hands the calls over to be stored with the decision; where there is none, makes them itself, behind the databases. */
export class OutboxedCalls implements DataManager {
  readonly sortKey = '~~outboxed';
  readonly #txn: Transaction;
  #calls: Call[] = [];
  #closed = false;

  /** Those of a transaction. @throws TransactionClosed once its end has begun. */
  static of(txn: Transaction): OutboxedCalls {
    return txn.getOrJoin(KEY, () => new OutboxedCalls(txn));
  }

  private constructor(txn: Transaction) {
    this.#txn = txn;
  }

  /** Adds a call, and returns its key. @throws TransactionClosed once the end of the transaction has begun. */
  add(target: OutboxedTarget, json: string): string {
    if (this.#closed) {
      throw new TransactionClosed(
        `a function can be called until the end of its transaction has begun; this one's has, so '${target.name}' will not be called`,
        { xid: this.#txn.id },
      );
    }
    const key = `${this.#txn.id}:${nextNumber(this.#txn, SEQUENCE)}`;
    this.#calls.push({ target, key, json });
    return key;
  }

  tpcBegin(): void {
    this.#closed = true;
  }

  commit(): void {}

  outbox(): readonly OutboxMessage[] {
    return this.#calls.map(({ target, key, json }) => ({
      target: target.name,
      payload: `{"key":${JSON.stringify(key)},"payload":${json}}`,
    }));
  }

  /** @throws DecisionFailedError where the calls should have been stored, and could not be. */
  tpcVote(txn: Transaction): Vote {
    const isPromised = txn.manager.decisions?.deliveries !== undefined && !txn.isStored(this);
    if (isPromised && txn.resources.some(({ changed, recoverable }) => changed === true && recoverable !== undefined)) {
      throw new DecisionFailedError(
        `what must be done after a commit needs the decision store, which could not be reached when transaction ${txn.id} began; nothing was committed`,
        { xid: txn.id, phase: 'tpcVote' },
      );
    }
    return 'commit';
  }

  /** Makes the calls, whatever becomes of one, unless they are stored. @throws TransactionError that names those which failed. */
  async tpcFinish(txn: Transaction): Promise<void> {
    const calls = this.#take();
    if (txn.isStored(this)) return;
    const failures: { name: string; error: Error }[] = [];
    for (const { target, key, json } of calls) {
      try {
        await target.call(key, JSON.parse(json), 1);
      } catch (thrown) {
        failures.push({ name: target.name, error: toError(thrown) });
      }
    }
    if (failures.length === 0) return;
    const names = list(failures.map(({ name, error }) => `'${name}' (${error.message})`));
    const error = new TransactionError(
      `what is done after a commit must not fail where it isn't stored; ${names} did, the others were called, and what was to be done must be done by hand`,
      { cause: failures[0]!.error, resource: failures[0]!.name, xid: txn.id, phase: 'tpcFinish' },
    );
    for (const failure of failures.slice(1)) suppress(error, failure.error);
    throw error;
  }

  sandboxed(): SandboxConduct {
    return {
      planned: () =>
        this.#calls.map(({ target, json }) => ({ function: target.label, payload: JSON.parse(json) as unknown })),
    };
  }

  #take(): Call[] {
    const calls = this.#calls;
    this.#calls = [];
    return calls;
  }

  tpcAbort(): void {
    this.abort();
  }

  /** Nothing is called of what didn't happen. */
  abort(): void {
    this.#closed = true;
    this.#take();
  }

  /** Whether the transaction committed isn't known: what isn't stored is not called. @throws TransactionError that names it. */
  hold(txn: Transaction): void {
    const calls = this.#take();
    if (txn.isStored(this)) return;
    throw new TransactionError(
      `what is done after a commit is done once it is known that there was one; ${list(calls.map(({ key, target }) => `'${target.name}' (${key})`))} was not called`,
      { resource: calls[0]!.target.name, xid: txn.id, phase: 'tpcFinish' },
    );
  }

  /** What is added later is dropped by its rollback. */
  savepoint(): DataManagerSavepoint {
    const count = this.#calls.length;
    return {
      rollback: () => {
        this.#calls.length = count;
      },
    };
  }
}
