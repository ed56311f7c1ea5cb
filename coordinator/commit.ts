/** The commit from its call to its outcome (zope 48, 52, 63, 76-81, 94-103 and their departures). */
import { callBeforeCommitHooks, callReportingHooks } from './call-hooks.ts';
import { attempt } from './cleanup.ts';
import { events, publishEnd } from './events.ts';
import { isOutcomeUnknown, suppress, toError } from './errors.ts';
import { isThenable } from './thenable.ts';
import type { Transaction } from './transaction.ts';
import { TwoPhaseCommit } from './two-phase.ts';
import type { Awaitable } from './types.ts';

/** Runs the commit; without a tick where everything answers synchronously. */
export async function commitTransaction(txn: Transaction): Promise<void> {
  txn.ending = true;
  txn.invalidateSavepoints();
  const prepared = txn.hooks === undefined && txn.manager.synchronizers.size === 0 ? undefined : prepare(txn);
  try {
    if (prepared !== undefined) await prepared;
    // A hook, a synchronizer or the deadline may have doomed it meanwhile.
    if (txn.state === 'doomed') throw txn.doomedError();
    if (txn.savepointsUnderWay > 0) throw txn.concurrentUse();
  } catch (thrown) {
    const error = toError(thrown);
    // The phases never began, so this is an abort rather than a tpcAbort (departure from zope 80, 94).
    for (const manager of txn.resources) await attempt(() => manager.abort(txn), error);
    return fail(txn, error);
  }

  // Those that a hook has made, too.
  txn.invalidateSavepoints();
  txn.transition('committing');
  if (txn.resources.length === 0) {
    txn.way = 'read-only';
    txn.decided = true;
    const done = succeed(txn);
    if (done !== undefined) await done;
    return;
  }
  const phases = new TwoPhaseCommit(txn);
  try {
    let pending = phases.advance();
    while (pending !== undefined) pending = phases.advance(await pending);
    const deciding = phases.decide();
    if (deciding !== undefined) await deciding;
  } catch (thrown) {
    const error = toError(thrown);
    if (isOutcomeUnknown(error)) {
      const doubt = await phases.hold(error);
      phases.over();
      return remainInDoubt(txn, doubt);
    }
    await phases.undo(error);
    phases.over();
    return fail(txn, error);
  }
  for (let finishing = true; finishing;) {
    try {
      const answer = phases.finishNext();
      finishing = answer !== false;
      if (isThenable(answer)) await answer;
    } catch (thrown) {
      phases.failedToFinish(thrown);
    }
  }
  const delivering = phases.deliver();
  if (delivering !== undefined) await delivering;
  phases.over();
  const pendingFinish = phases.pending();
  if (pendingFinish !== undefined) {
    // Decided, written down, and recovery goes on with it: committed is what it is.
    txn.pendingFinish = pendingFinish;
    for (const failure of phases.failures) txn.manager.report(failure);
    return succeed(txn);
  }
  const doubt = phases.inDoubt();
  if (doubt !== undefined) {
    txn.pendingFinish = doubt.unfinished;
    return remainInDoubt(txn, doubt);
  }
  const done = succeed(txn);
  if (done !== undefined) await done;
}

/** Before-commit hooks, beforeCompletion, and the hooks that were added there (departure from zope 103). */
async function prepareSlowly(txn: Transaction, pending: Awaitable<void>): Promise<void> {
  if (pending !== undefined) await pending;
  const told = txn.manager.synchronizers.notify('beforeCompletion', txn);
  if (told !== undefined) await told;
  const called = txn.hooks === undefined ? undefined : callBeforeCommitHooks(txn.hooks);
  if (called !== undefined) await called;
}

function prepare(txn: Transaction): Awaitable<void> {
  let pending: Awaitable<void>;
  try {
    pending = txn.hooks === undefined ? undefined : callBeforeCommitHooks(txn.hooks);
    if (pending === undefined && txn.manager.synchronizers.size === 0) return undefined;
  } catch (error) {
    return Promise.reject(error);
  }
  return prepareSlowly(txn, pending);
}

/** Committed: afterCompletion inside, the manager freed, after-commit hooks outside (departures from zope 81, 97, 98). */
function succeed(txn: Transaction): Awaitable<void> {
  txn.transition('committed');
  if (events.commit.hasSubscribers) publishEnd('commit', txn);
  return complete(txn, true);
}

function complete(txn: Transaction, committed: boolean): Awaitable<void> {
  if (txn.manager.synchronizers.size > 0) return completeSlowly(txn, committed);
  txn.free();
  return callAfterCommitHooks(txn, committed);
}

async function completeSlowly(txn: Transaction, committed: boolean): Promise<void> {
  try {
    const told = txn.manager.synchronizers.notify('afterCompletion', txn);
    if (told !== undefined) await told;
  } catch (thrown) {
    txn.manager.report(toError(thrown));
  }
  txn.free();
  const called = callAfterCommitHooks(txn, committed);
  if (called !== undefined) await called;
}

function callAfterCommitHooks(txn: Transaction, committed: boolean): Awaitable<void> {
  const called =
    txn.hooks === undefined ? undefined : callReportingHooks(txn, txn.hooks.list('afterCommit'), [committed]);
  if (called !== undefined) return called.then(() => txn.dropHooks());
  txn.dropHooks();
  return undefined;
}

/** The outcome isn't known everywhere: nothing more is called, and nothing may be repeated. */
async function remainInDoubt(txn: Transaction, error: Error): Promise<never> {
  txn.transition('in doubt');
  if (events['in-doubt'].hasSubscribers) publishEnd('in-doubt', txn, error);
  await complete(txn, txn.decided);
  throw error;
}

/** Not committed: afterCompletion while still committing, then the status, then after-commit hooks(false) (zope 76, 77). */
async function fail(txn: Transaction, error: Error): Promise<never> {
  try {
    const told = txn.manager.synchronizers.notify('afterCompletion', txn);
    if (told !== undefined) await told;
  } catch (failure) {
    suppress(error, failure);
  }
  txn.fail(error);
  if (events.abort.hasSubscribers) publishEnd('abort', txn, error);
  if (txn.deadline !== undefined) {
    txn.deadline.clear();
    txn.deadline = undefined;
  }
  if (txn.hooks !== undefined) {
    const called = callReportingHooks(txn, txn.hooks.list('afterCommit'), [false]);
    if (called !== undefined) await called;
    txn.hooks.clear('afterCommit');
  }
  throw error;
}
