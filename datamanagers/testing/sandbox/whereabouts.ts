/** Where code is that belongs to a sandbox, beyond what its coordinator knows. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { TransactionClosed } from '../../../coordinator/errors.ts';
import type { Place } from './places.ts';

export interface Whereabouts {
  /** The sandbox; compared by identity. */
  readonly sandbox: { readonly isOver: boolean };
  /** The transaction that it has been suspended from, and which waits for it. */
  readonly place: Place | undefined;
}

/** One for all sandboxes, so that work can be told which has outlived its own. */
export const whereabouts: AsyncLocalStorage<Whereabouts> = new AsyncLocalStorage<Whereabouts>();

/** Why no transaction may begin here; undefined where it may. */
export function outlived(): Error | undefined {
  if (whereabouts.getStore()?.sandbox.isOver !== true) return undefined;
  return new TransactionClosed(
    'work that was started in a sandbox must end before it; that of this work has ended, so that a transaction now would be for good: ' +
      'await it in its test, or start what serves several tests (a server, a timer, a queue) outside of the sandbox',
  );
}
