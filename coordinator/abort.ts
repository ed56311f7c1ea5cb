/** The abort (zope 82-88, 99-101). */
import { events, publishEnd } from './events.ts';
import type { Transaction } from './transaction.ts';
import { suppress, toError } from './errors.ts';
import { isThenable } from './thenable.ts';
import { callReportingHooks } from './call-hooks.ts';

/**
 * Before-abort hooks, beforeCompletion, `abort` of every data manager in join order, the manager freed, afterCompletion,
 * after-abort hooks. Nothing of it stops the rest; the first error is thrown, later ones hang on it.
 */
export async function abortTransaction(txn: Transaction): Promise<void> {
  txn.ending = true;
  const isTold = txn.state === 'commit failed';
  txn.transition('aborting');
  let first: Error | undefined;
  const failed = (thrown: unknown): void => {
    if (first === undefined) first = toError(thrown);
    else suppress(first, thrown);
  };

  if (txn.hooks !== undefined) {
    const called = callReportingHooks(txn, txn.hooks.list('beforeAbort'), []);
    if (called !== undefined) await called;
  }
  txn.invalidateSavepoints();
  const synchronizers = txn.manager.synchronizers;
  try {
    const told = synchronizers.notify('beforeCompletion', txn);
    if (told !== undefined) await told;
  } catch (thrown) {
    failed(thrown);
  }
  // By index: what joins meanwhile is aborted too.
  for (let index = 0; index < txn.resources.length; index++) {
    try {
      const answer = txn.resources[index]!.abort(txn);
      if (isThenable(answer)) await answer;
    } catch (thrown) {
      failed(thrown);
    }
  }
  txn.transition('aborted');
  if (events.abort.hasSubscribers && !isTold) publishEnd('abort', txn);
  txn.leave();
  try {
    const told = synchronizers.notify('afterCompletion', txn);
    if (told !== undefined) await told;
  } catch (thrown) {
    failed(thrown);
  }
  txn.release();
  if (txn.hooks !== undefined) {
    const called = callReportingHooks(txn, txn.hooks.list('afterAbort'), []);
    if (called !== undefined) await called;
  }
  txn.dropHooks();
  if (first !== undefined) throw first;
}
