// What tests of every SQL database need, whichever it is.
import { type DataManager, transaction } from 'unanimous';
import type { Link, TcpProxy } from '../../support/proxy.ts';

// These tests are of what prepares and commits, and of what is left; decisions that are written down have tests of their own.
transaction.configure({ allowUnsafeCommit: true });

/** Calls `act` for the first piece of data from the client that holds `text`; what `act` answers decides whether it passes. */
export function onText(proxy: TcpProxy, text: string, act: (link: Link, data: Buffer) => void | boolean): void {
  proxy.onClientData = (data, link) => {
    if (!data.toString('latin1').toLowerCase().includes(text.toLowerCase())) return undefined;
    proxy.onClientData = undefined;
    return act(link, data);
  };
}

/** Waits for a moment that a test decides on. */
export class Gate {
  readonly opened: Promise<void>;
  open!: () => void;
  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

/** Resolves with the errors of the promises that rejected, in order; undefined where one didn't. */
export async function outcomes(...promises: Promise<unknown>[]): Promise<(Error | undefined)[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((each) => (each.status === 'rejected' ? (each.reason as Error) : undefined));
}

/** Accepts an error whose message matches. */
export function says(pattern: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof Error && pattern.test(error.message);
}

/** A data manager without a database, that may act in a call of it. */
export function plain(sortKey: string, acts: Partial<DataManager> = {}): DataManager {
  const nothing = (): void => undefined;
  const methods = {
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: nothing,
    tpcAbort: nothing,
    abort: nothing,
  };
  return { sortKey, ...methods, ...acts };
}

/** A data manager that notes what it is asked to do. */
export function noting(sortKey = 'noting'): { calls: string[]; manager: DataManager } {
  const calls: string[] = [];
  const note = (call: string) => (): void => void calls.push(call);
  const manager = plain(sortKey, {
    tpcBegin: note('tpcBegin'),
    commit: note('commit'),
    tpcVote: note('tpcVote'),
    tpcFinish: note('tpcFinish'),
    tpcAbort: note('tpcAbort'),
    abort: note('abort'),
  });
  return { calls, manager };
}

/** Resolves with the error of a promise that rejects; undefined where it doesn't. */
export function failureOf(promise: Promise<unknown>): Promise<any> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}
