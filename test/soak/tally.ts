// What the tellers have said, counted: what the callers were told, and what recovery has done.
import type { Heard } from './checks.ts';
import type { MishapKind } from './plan.ts';
import type { Ended, Word } from './setting.ts';

const DEADLOCKS: ReadonlySet<string> = new Set(['40P01', 'ER_LOCK_DEADLOCK']);
const LOCK_TIMEOUTS: ReadonlySet<string> = new Set(['55P03', 'ER_LOCK_WAIT_TIMEOUT']);

export class Tally implements Heard {
  readonly committed: Set<string> = new Set();
  readonly aborted: Set<string> = new Set();
  readonly heuristics: string[] = [];
  readonly deaths: string[] = [];
  /** Transactions in doubt of processes that live, and whose: those must hear how they have ended. */
  readonly #doubts = new Map<string, string>();
  readonly #lives = new Map<string, number>();

  /** Transfers, by how their callers were told that they have ended. */
  readonly told = { committed: 0, aborted: 0, 'in doubt': 0, unknown: 0 };
  /** Those that have committed, by the way that they took. */
  readonly ways: Record<string, number> = {};
  /** Transfers that were in doubt, by how they were resolved later. */
  readonly resolved = { committed: 0, aborted: 0, unknown: 0 };
  /** Transfers that were committed before all had followed. */
  pending = 0;
  retries = 0;
  deadlocks = 0;
  lockTimeouts = 0;
  thrown = 0;
  timedOut = 0;
  /** How often a process has found out that it was taken for dead. */
  fencedFound = 0;
  /** What recovery has done, in all processes. */
  readonly recovered = { fenced: 0, committed: 0, rolledBack: 0, delivered: 0 };
  readonly mishaps: Partial<Record<MishapKind, number>> = {};

  get doubts(): readonly string[] {
    return [...this.#doubts].map(([gid, who]) => `${gid} of ${who}`);
  }

  /** A word of the process that is the `life`th under a name. */
  hear(name: string, life: number, word: Word): void {
    switch (word.is) {
      case 'ended':
        this.#ended(word);
        // Words of one that was killed may come late.
        if (word.told === 'in doubt' && this.#lives.get(name) === life) this.#doubts.set(word.gids.at(-1)!, name);
        break;
      case 'resolved':
        this.#doubts.delete(word.gid);
        this.resolved[word.outcome]++;
        if (word.outcome !== 'unknown') this[word.outcome].add(word.gid);
        break;
      case 'recovered':
        for (const key of ['fenced', 'committed', 'rolledBack', 'delivered'] as const) this.recovered[key] += word[key];
        break;
      case 'reported':
        if (word.code === 'ERR_TXN_HEURISTIC') this.heuristics.push(word.message);
        if (word.code === 'ERR_TXN_FENCED') this.fencedFound++;
        break;
      case 'ready':
        this.#lives.set(name, life);
        for (const [gid, who] of this.#doubts) if (who === name) this.#doubts.delete(gid);
        break;
      case 'resting':
      case 'stopping':
      case 'stopping nowhere':
    }
  }

  #ended({ told, gids, way, isPending, codes, isHeuristic, message }: Ended): void {
    this.told[told]++;
    for (const gid of gids.slice(0, -1)) this.aborted.add(gid);
    // Before the first attempt there is none.
    const last = gids.at(-1);
    if (last !== undefined && (told === 'committed' || told === 'aborted')) this[told].add(last);
    if (way !== undefined) this.ways[way] = (this.ways[way] ?? 0) + 1;
    if (told === 'committed' && isPending) this.pending++;
    this.retries += Math.max(0, gids.length - 1);
    this.deadlocks += codes.filter((code) => DEADLOCKS.has(code)).length;
    this.lockTimeouts += codes.filter((code) => LOCK_TIMEOUTS.has(code)).length;
    const ending = told === 'aborted' ? codes.at(-1) : undefined;
    if (ending === 'ON_PURPOSE') this.thrown++;
    if (ending === 'ERR_TXN_TIMEOUT') this.timedOut++;
    if (isHeuristic) this.heuristics.push(message ?? 'without a message');
  }

  happened(kind: MishapKind): void {
    this.mishaps[kind] = (this.mishaps[kind] ?? 0) + 1;
  }

  /** All transfers of which something is known. */
  get transfers(): number {
    return Object.values(this.told).reduce((sum, count) => sum + count, 0);
  }

  /** Transactions, and what is left of them, that recovery has ended. */
  get recoveredBranches(): number {
    return this.recovered.committed + this.recovered.rolledBack;
  }
}
