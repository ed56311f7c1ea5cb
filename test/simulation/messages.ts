// The messages of a decision store, as the tables and statements of PgOutbox have them: in the order of the store's clock, a claim being a time
// until which they are somebody's. And the server that they are for, which does each of them once, because it knows them by their key.
import type { Claim, ListedMessage, MessageKey, OutboxMessage, StoredMessage } from 'unanimous';
import type { Ledger } from './database.ts';
import type { DecisionStore } from './decision-store.ts';
import { Server } from './network.ts';
import type { Situations } from './situations.ts';
import type { Surroundings } from './surroundings.ts';

/** For how long a message is the business of whoever has stored it, in milliseconds. */
const CLAIM_MS = 30_000;

interface Row extends StoredMessage {
  attempts: number;
  isDead: boolean;
  readonly createdMs: number;
  dueMs: number;
}

function keyOf({ gid, sequence }: MessageKey): string {
  return `${gid} ${sequence}`;
}

/** What a statement gives: the row as it is now. */
function copyOf({ gid, sequence, target, payload, attempts, isDead, createdAt }: Row): StoredMessage {
  return { gid, sequence, target, payload, attempts, isDead, createdAt };
}

function isBefore(a: Row, b: Row): boolean {
  if (a.createdMs !== b.createdMs) return a.createdMs < b.createdMs;
  return a.gid === b.gid ? a.sequence < b.sequence : a.gid < b.gid;
}

export class Messages {
  readonly #rows = new Map<string, Row>();
  /** Oldest first, by the clock of the store. */
  readonly #sorted: Row[] = [];
  readonly #nowMs: () => number;
  /** When each was ever stored, by the clock of the store. */
  readonly #createdMs = new Map<string, number>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get size(): number {
    return this.#rows.size;
  }

  add(gid: string, messages: readonly OutboxMessage[]): void {
    const now = this.#nowMs();
    for (const [index, message] of messages.entries()) {
      this.#createdMs.set(message.payload, now);
      const key = { gid, sequence: index + 1 };
      const times = { createdAt: new Date(0), createdMs: now, dueMs: now + CLAIM_MS };
      const row = { ...message, ...key, ...times, attempts: 0, isDead: false };
      this.#rows.set(keyOf(key), row);
      this.#insert(row);
    }
  }

  #insert(row: Row): void {
    const sorted = this.#sorted;
    let at = sorted.length;
    while (at > 0 && isBefore(row, sorted[at - 1]!)) at--;
    sorted.splice(at, 0, row);
  }

  createdMsOf(payload: string): number {
    return this.#createdMs.get(payload) ?? -Infinity;
  }

  wasStored(payload: string): boolean {
    return this.#createdMs.has(payload);
  }

  claim({ prefix, targets, inOrder, limit, forMs }: Claim): StoredMessage[] {
    const now = this.#nowMs();
    const taken: Row[] = [];
    const kept = new Set<string>();
    for (const row of this.#sorted) {
      if (row.isDead || !row.gid.startsWith(prefix) || !targets.includes(row.target)) continue;
      const isInOrder = inOrder.includes(row.target);
      if (row.dueMs > now) kept.add(row.target);
      else if (!(isInOrder && kept.has(row.target)) && taken.length < limit) taken.push(row);
    }
    for (const row of taken) row.dueMs = now + forMs;
    return taken.map(copyOf);
  }

  hold(messages: readonly MessageKey[], forMs: number): void {
    for (const row of this.#these(messages)) if (!row.isDead) row.dueMs = this.#nowMs() + forMs;
  }

  remove(messages: readonly MessageKey[]): void {
    for (const row of this.#these(messages)) {
      this.#rows.delete(keyOf(row));
      this.#sorted.splice(this.#sorted.indexOf(row), 1);
    }
  }

  failed(message: MessageKey, retryInMs: number | undefined): void {
    for (const row of this.#these([message])) {
      row.attempts++;
      row.isDead = retryInMs === undefined;
      row.dueMs = this.#nowMs() + (retryInMs ?? 0);
    }
  }

  list(limit: number): ListedMessage[] {
    const now = this.#nowMs();
    const rows = this.#sorted.slice(0, limit);
    return rows.map((row) =>
      Object.assign(copyOf(row), { ageMs: now - row.createdMs, dueInMs: Math.max(0, row.dueMs - now) }),
    );
  }

  #these(messages: readonly MessageKey[]): Row[] {
    return messages.flatMap((message) => this.#rows.get(keyOf(message)) ?? []);
  }
}

/** A message on its way from its transaction to being done. */
interface Sent {
  readonly gid: string;
  /** Those that must be done before it. */
  readonly behind: readonly Sent[];
  readonly payload: string;
  isDone: boolean;
}

/** Does what messages ask for, and looks at each: that it is of a commit, done once, and behind those that came before it. */
export class Receiver {
  readonly server: Server;
  readonly breaches: string[] = [];
  readonly #situations: Situations;
  readonly #ledger: Ledger;
  /** What was done, by key. */
  readonly #done = new Map<string, string>();
  readonly #payloads = new Set<string>();
  readonly #sent = new Map<string, Sent>();
  /** Acknowledged and not done yet, by stream: the transactions of one begin each when the one before has been acknowledged. */
  readonly #owed = new Map<string, Set<Sent>>();
  /** How often it refuses. */
  refusal = 0;

  constructor({ simulator, situations, ledger }: Pick<Surroundings, 'simulator' | 'situations' | 'ledger'>) {
    this.server = new Server('receiver', simulator);
    this.#situations = situations;
    this.#ledger = ledger;
  }

  /** A transaction begins that sends these, if it commits; in a stream, where their order matters. */
  announce(gid: string, payloads: readonly string[], stream: string | undefined): void {
    const behind = stream === undefined ? [] : [...this.#owedIn(stream)];
    for (const payload of payloads) {
      const sent = { gid, payload, behind: [...behind], isDone: false };
      if (stream !== undefined) behind.push(sent);
      this.#sent.set(payload, sent);
    }
  }

  /** It was acknowledged: what begins now comes behind it. */
  owe(payloads: readonly string[], stream: string): void {
    for (const payload of payloads) {
      const sent = this.#sent.get(payload)!;
      if (!sent.isDone) this.#owedIn(stream).add(sent);
    }
  }

  #owedIn(stream: string): Set<Sent> {
    let owed = this.#owed.get(stream);
    if (owed === undefined) this.#owed.set(stream, (owed = new Set()));
    for (const sent of owed) if (sent.isDone) owed.delete(sent);
    return owed;
  }

  receive({ gid, sequence, payload }: StoredMessage, store: DecisionStore): void {
    const key = `${gid} ${sequence}`;
    const before = this.#done.get(key);
    if (before !== undefined) {
      this.#situations.occurred('a message was delivered twice, and was done once');
      if (before !== payload) this.breaches.push(`message: ${key} was ${before}, and is ${payload}`);
      return;
    }
    this.#done.set(key, payload);
    if (this.#payloads.has(payload)) this.breaches.push(`message: ${payload} was done twice, under several keys`);
    this.#payloads.add(payload);
    if (!this.#ledger.fate(gid).isDecided) this.breaches.push(`message: ${key} was sent, and ${gid} isn't committed`);
    this.#checkOrder(payload, store);
  }

  #checkOrder(payload: string, { messages }: DecisionStore): void {
    const sent = this.#sent.get(payload)!;
    sent.isDone = true;
    // The order is that of the store's clock: where that was set back between two commits, they have changed places.
    const isOlder = (other: Sent): boolean =>
      other.gid === sent.gid || messages.createdMsOf(other.payload) < messages.createdMsOf(payload);
    const early = sent.behind.find((other) => !other.isDone && isOlder(other));
    if (early === undefined) return;
    this.breaches.push(`message: ${payload} of ${sent.gid} was done before ${early.payload} of ${early.gid}`);
  }

  /** All that was stored with a decision must be done in the end. */
  checkAll(stores: readonly DecisionStore[]): void {
    for (const { payload, gid, isDone } of this.#sent.values()) {
      const isStored = stores.some(({ messages }) => messages.wasStored(payload));
      if (isStored && !isDone) this.breaches.push(`message: ${payload} of ${gid} is lost`);
      if (!isStored && isDone) this.breaches.push(`message: ${payload} of ${gid} was done, and never stored`);
    }
  }
}
