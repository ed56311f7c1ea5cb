/** Calling the hooks; each kind has its own rule for errors. */
import { toError } from './errors.ts';
import type { Hooks } from './hooks.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import type { Awaitable, RegisteredHook } from './types.ts';

function call({ hook, args }: RegisteredHook, before: readonly unknown[]): unknown {
  return (hook as (...all: unknown[]) => unknown)(...before, ...args);
}

/**
 * Calls the before-commit hooks, also those that a hook adds; the first error ends the pass and drops the rest (zope 90, 91,
 * 94). Returns a promise only where a hook did.
 */
export function callBeforeCommitHooks(hooks: Hooks): Awaitable<void> {
  const registered = hooks.list('beforeCommit');
  try {
    for (let index = 0; index < registered.length; index++) {
      const answer = call(registered[index]!, []);
      if (isThenable(answer)) return finishBeforeCommitHooks(hooks, answer, registered, index + 1);
    }
  } catch (error) {
    hooks.clear('beforeCommit');
    throw error;
  }
  hooks.clear('beforeCommit');
  return undefined;
}

async function finishBeforeCommitHooks(
  hooks: Hooks,
  pending: PromiseLike<unknown>,
  registered: readonly RegisteredHook[],
  from: number,
): Promise<void> {
  try {
    await pending;
    for (let index = from; index < registered.length; index++) {
      const answer = call(registered[index]!, []);
      if (isThenable(answer)) await answer;
    }
  } finally {
    hooks.clear('beforeCommit');
  }
}

/**
 * Calls hooks whose errors are reported and stop nothing: those before an abort, and those after everything is over (zope
 * 96, 99, departures from 97-101). Also those that a hook adds. Returns a promise only where a hook did.
 */
export function callReportingHooks(
  txn: Transaction,
  registered: readonly RegisteredHook[],
  before: readonly unknown[],
): Awaitable<void> {
  for (let index = 0; index < registered.length; index++) {
    const answer = callReporting(txn, registered[index]!, before);
    if (isThenable(answer)) return finishReportingHooks(txn, answer, registered, index + 1, before);
  }
  return undefined;
}

async function finishReportingHooks(
  txn: Transaction,
  pending: PromiseLike<unknown>,
  registered: readonly RegisteredHook[],
  from: number,
  before: readonly unknown[],
): Promise<void> {
  let answer: unknown = pending;
  for (let index = from; ; index++) {
    try {
      await answer;
    } catch (thrown) {
      txn.manager.report(toError(thrown));
    }
    if (index >= registered.length) return;
    answer = callReporting(txn, registered[index]!, before);
  }
}

function callReporting(txn: Transaction, registered: RegisteredHook, before: readonly unknown[]): unknown {
  try {
    return call(registered, before);
  } catch (thrown) {
    return txn.manager.report(toError(thrown));
  }
}
