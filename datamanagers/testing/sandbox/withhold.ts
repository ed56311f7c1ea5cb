/** What data managers that aren't databases do in a sandbox: nothing leaves it, and what would have can be looked at. */
import type { Transaction } from '../../../coordinator/transaction.ts';
import type { Awaitable, DataManager, SandboxConduct } from '../../../coordinator/types.ts';
import { type DataManagerPhase, intercept } from '../intercept.ts';

/** Something that a transaction would have done when it committed, such as a mail. */
export interface Withheld {
  /** The name of the session, or else the sort key of the data manager. */
  readonly resource: string;
  /** The id of the transaction. */
  readonly xid: string;
  /**
   * What it is: the fields of a mail as nodemailer takes them, `{ command, args }` of Redis, `{ operation, path, … }` of a file,
   * `{ function, payload }` of a function of `outboxed`, or what another data manager calls its planned work.
   */
  readonly work: unknown;
}

/** Where a data manager's part in the sandbox is kept. */
export interface Keeper {
  withheld(item: Withheld): void;
  undo(step: () => Awaitable<void>): void;
  /** Whether it is to do what it does, for good. */
  isLetThrough(txn: Transaction, manager: DataManager): boolean;
}

const DOES_NOTHING: SandboxConduct = {};
const AS_EVER: SandboxConduct = { undo: () => undefined };

type Part = (phase: DataManagerPhase, proceed: () => unknown) => unknown;

/** What each has to do in which transaction: one that lives for longer takes part in others, also outside of any sandbox. */
const parts = new WeakMap<DataManager, WeakMap<Transaction, Part>>();

/** Makes a data manager, which has just joined, do what is to be done in a sandbox. */
export function withhold(joined: Transaction, manager: DataManager, keeper: Keeper): void {
  let own = parts.get(manager);
  if (own === undefined) {
    const made = new WeakMap<Transaction, Part>();
    intercept(manager, (phase, proceed, txn) => {
      const part = txn === undefined ? undefined : made.get(txn);
      return part === undefined ? proceed() : part(phase, proceed);
    });
    parts.set(manager, made);
    own = made;
  }
  own.set(joined, partOf(joined, manager, keeper));
}

function partOf(joined: Transaction, manager: DataManager, keeper: Keeper): Part {
  let conduct: SandboxConduct | undefined;
  const learn = (): SandboxConduct => {
    if (keeper.isLetThrough(joined, manager)) return AS_EVER;
    const asked = manager.sandboxed?.() ?? DOES_NOTHING;
    if (asked.undo !== undefined) keeper.undo(asked.undo);
    return asked;
  };
  const record = (planned: () => readonly unknown[] = () => []): void => {
    const resource = nameOf(joined, manager);
    for (const work of planned()) keeper.withheld({ resource, xid: joined.id, work });
  };
  return (phase, proceed) => {
    if (phase === 'savepoint') return proceed();
    conduct ??= learn();
    if (conduct.undo !== undefined) return proceed();
    if (phase === 'tpcFinish') {
      record(conduct.planned);
      return manager.tpcAbort(joined);
    }
    const isAsked = conduct !== DOES_NOTHING;
    if (phase === 'commit' && !isAsked) return undefined;
    if (phase === 'tpcVote' && (!isAsked || commitsByVote(manager, joined))) return undefined;
    return proceed();
  };
}

function commitsByVote(manager: DataManager, { way }: Transaction): boolean {
  if (manager.changed === false) return false;
  return manager.lastResource === true || (way === 'one-phase' && manager.onePhase === true);
}

function nameOf(txn: Transaction, manager: DataManager): string {
  const { name } = manager as { name?: unknown };
  return typeof name === 'string' ? name : txn.nameOf(manager);
}
