/** Which way a commit goes, and in which order its data managers are asked. */
import type { Decisions, ToDecide } from './decisions.ts';
import {
  ConfigurationError,
  DecisionFailedError,
  TooManyLastResourcesError,
  type TransactionError,
  list,
} from './errors.ts';
import type { Transaction } from './transaction.ts';
import type { DataManager, OutboxMessage } from './types.ts';

/** A decision that is to be written down, and where. */
export interface DecisionToTake extends ToDecide {
  readonly store: Decisions;
}

/** The way of one commit. */
export interface Way {
  /** In which order the data managers vote and finish. */
  readonly order: readonly DataManager[];
  /** What is written to the decision store; absent where nothing has to be. */
  readonly decision?: DecisionToTake;
  /** Whose own commit takes the decision along; it votes last. */
  readonly carrier?: DataManager;
}

/** By sort key, compared by code unit; equal keys in join order (zope 64, 65). */
export function inSortOrder(managers: readonly DataManager[], keys: readonly string[]): readonly DataManager[] {
  let sorted = true;
  for (let index = 1; index < keys.length && sorted; index++) sorted = !(keys[index]! < keys[index - 1]!);
  if (sorted) return managers;
  const order = managers.map((_, index) => index);
  order.sort((a, b) => (keys[a]! < keys[b]! ? -1 : keys[a]! > keys[b]! ? 1 : a - b));
  return order.map((index) => managers[index]!);
}

/** How many of each kind have changes, and the last of each. */
interface Changes {
  lastResources: number;
  lastResource: DataManager | undefined;
  durables: number;
  durable: DataManager | undefined;
  /** Those that don't say. */
  plain: number;
}

function countChanges(order: readonly DataManager[]): Changes {
  const changes: Changes = {
    lastResources: 0,
    lastResource: undefined,
    durables: 0,
    durable: undefined,
    plain: 0,
  };
  for (const manager of order) {
    const changed = manager.changed;
    if (manager.lastResource === true) {
      if (changed === false) continue;
      changes.lastResources++;
      changes.lastResource = manager;
    } else if (changed === true) {
      changes.durables++;
      changes.durable = manager;
    } else if (changed === undefined) changes.plain++;
  }
  return changes;
}

/**
 * Finds out which way this commit goes, from what has changes, and puts the one that commits by its vote last.
 *
 * @throws TooManyLastResourcesError before anyone votes, where two can only commit in one phase.
 * @throws ConfigurationError before anyone votes, where several durable resources have changes and there is no place to write the decision
 * down, DecisionFailedError where that can't be reached.
 */
export function chooseWay(txn: Transaction, order: readonly DataManager[]): Way {
  const messages = takeMessages(txn, order);
  const asked = messages.length === 0 ? order : order.filter((manager) => !txn.isStored(manager));
  const changes = countChanges(asked);
  const { durables, lastResources } = changes;
  if (durables + lastResources > 1 || messages.length > 0) {
    const decided = decidedWay(txn, order, asked, messages);
    if (decided !== undefined) return decided;
  }
  if (lastResources > 1) {
    txn.way = 'last-resource';
    return {
      order: [...order.filter((m) => m.lastResource !== true), ...order.filter((m) => m.lastResource === true)],
    };
  }
  if (changes.lastResource !== undefined) {
    txn.way = durables === 0 ? 'one-phase' : 'last-resource';
    return { order: withLast(order, changes.lastResource) };
  }
  if (durables === 1 && changes.durable!.onePhase === true) {
    txn.way = 'one-phase';
    return { order: withLast(order, changes.durable!) };
  }
  txn.way = durables + changes.plain === 0 ? 'read-only' : 'two-phase';
  return { order };
}

/**
 * Takes over what can be done after the decision, from those that have it as messages: where a decision can be written down, and
 * somebody else has durable changes. Alone, everyone does it by itself.
 */
function takeMessages(txn: Transaction, order: readonly DataManager[]): readonly OutboxMessage[] {
  const store = txn.manager.decisions;
  if (store?.deliveries === undefined || !order.some((manager) => manager.outbox !== undefined)) return [];
  if (!order.some((manager) => manager.changed === true && manager.recoverable !== undefined)) return [];
  if (!store.canDecide(txn)) return [];
  const taken: OutboxMessage[] = [];
  const storing: DataManager[] = [];
  for (const manager of order) {
    const messages = manager.changed === false ? undefined : manager.outbox?.(txn);
    if (messages === undefined || messages.length === 0) continue;
    taken.push(...messages);
    storing.push(manager);
  }
  if (storing.length > 0) stored.set(txn, new Set(storing));
  return taken;
}

/** Those whose messages are stored with the decision: few transactions have any, so it takes no room in the others. */
const stored = new WeakMap<Transaction, ReadonlySet<DataManager>>();

/** Whether what a data manager would do is stored with the decision. */
export function isStoredWith(txn: Transaction, manager: DataManager): boolean {
  return stored.get(txn)?.has(manager) === true;
}

function withLast(order: readonly DataManager[], last: DataManager): readonly DataManager[] {
  return order.at(-1) === last ? order : [...order.filter((manager) => manager !== last), last];
}

/** The way with a decision that is written down; undefined where the commit is to go on without one. */
function decidedWay(
  txn: Transaction,
  order: readonly DataManager[],
  asked: readonly DataManager[],
  messages: readonly OutboxMessage[],
): Way | undefined {
  const changed = asked.filter((m) => m.changed === true || (m.lastResource === true && m.changed !== false));
  const outliving = changed.filter((m) => m.lastResource === true || m.recoverable !== undefined);
  const store = txn.manager.decisions;
  const carrier = store === undefined ? undefined : changed.find((manager) => store.log.carries?.(manager) === true);
  const onePhase = changed.filter((manager) => manager.lastResource === true && manager !== carrier);
  if (onePhase.length > 1 && !txn.manager.allowUnsafeLastResources) {
    throw new TooManyLastResourcesError(
      `at most one resource of a transaction may be unable to prepare; ${names(txn, onePhase)} can only commit in one phase, so that one could commit and the next fail; nothing was committed`,
      { xid: txn.id, phase: 'tpcVote' },
    );
  }
  // Without a branch that outlives the process there is nothing to decide afterwards; and whoever allows several that can't prepare has
  // asked for that.
  if (onePhase.length > 1 || outliving.length < (store === undefined ? 2 : 1)) return undefined;
  const refusal = refusalOf(txn, store, changed, onePhase);
  if (refusal !== undefined) {
    if (txn.manager.allowUnsafeCommit) return undefined;
    throw refusal;
  }
  const participants = outliving.filter((manager) => manager !== carrier).map((manager) => txn.nameOf(manager));
  const decision = { store: store!, participants, messages };
  if (carrier === undefined) {
    txn.way = 'two-phase';
    return { order, decision };
  }
  txn.way = participants.length === 0 ? 'one-phase' : 'last-resource';
  return { order: withLast(order, carrier), decision, carrier };
}

/** Why the decision can't be written down; undefined where it can. */
function refusalOf(
  txn: Transaction,
  store: Decisions | undefined,
  changed: readonly DataManager[],
  onePhase: readonly DataManager[],
): TransactionError | undefined {
  const refuse = (
    what: string,
    Refusal: new (message: string, details: object) => TransactionError = ConfigurationError,
  ): TransactionError =>
    new Refusal(
      `${what}; this transaction has changed ${names(txn, changed)}, so nothing is committed, because a crash between their commits would leave half of it` +
        ' (allowUnsafeCommit: true of the coordinator takes that risk)',
      { xid: txn.id, phase: 'tpcVote' },
    );
  if (store === undefined) {
    return refuse(
      'a commit over several resources needs a place to write the decision down: transaction.configure({ decisionLog: new PgDecisionLog(session) })',
    );
  }
  if (onePhase.length > 0) {
    return refuse(
      `a commit over several resources needs all of them but the decision store's own to prepare, and ${names(txn, onePhase)} can't`,
    );
  }
  if (!store.canDecide(txn)) {
    return refuse(
      'a commit over several resources needs the decision store, which could not be reached when it began',
      DecisionFailedError,
    );
  }
  return undefined;
}

function names(txn: Transaction, managers: readonly DataManager[]): string {
  return list(managers.map((manager) => txn.nameOf(manager)));
}
