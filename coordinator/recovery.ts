/**
 * Recovery of what is prepared and nobody finishes: by any number of processes at once, each as often as it likes, because every step
 * can be repeated by another. A pass:
 *
 * 1. Fences incarnations whose lease has run out: from then on they can't decide. Not right after the store was down, as then the
 *    living could not renew theirs either.
 * 2. Lists what is prepared on every resource, of this application and store.
 * 3. Reads who may decide, then what is decided: both after the list. Where that is to commit, has the store say that it is there for good.
 * 4. Of a dead incarnation: commits what is decided to, else rolls back. Of its own: what isn't under way, through a tombstone. Of
 *    another living one: nothing.
 * 5. What a resource answers proves nothing; only the next list without the branch does.
 * 6. Delivers what is due of the outbox.
 * 7. Deletes a decision when all its participants were reached after it was read, and list nothing of it.
 * 8. Warns, once a minute at most, of what keeps it from its work, or soon will.
 */
import { type Decisions, incarnationOf } from './decisions.ts';
import { environment } from './environment.ts';
import { events, watched } from './events.ts';
import { ConfigurationError, type RecoveryWarning, toError } from './errors.ts';
import { RecoveryWarnings, type RecoveryWarningsOptions, type Warner } from './recovery-warnings.ts';
import type { DecidedOutcome, DecisionRow, RecoverableResource } from './types.ts';
import { type Xid, isGidOf } from './xid.ts';

/** How many decisions one pass looks at; up to so many where there is little to delete among the oldest. */
const DECISIONS_A_PASS = 1_000;
const MOST_DECISIONS_A_PASS = 16_000;
/** How many branches of a resource are ended at once: one whose owner is paused takes its time. */
const AT_ONCE = 8;
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 60_000;

/** What a pass of recovery has done. */
export interface RecoveryReport {
  /** Incarnations that were taken the right to decide, because their lease had run out. */
  readonly fenced: readonly string[];
  /** Branches that were committed. */
  readonly committed: readonly Xid[];
  /** Branches that were rolled back. */
  readonly rolledBack: readonly Xid[];
  /** Branches that are prepared still: of living processes, or that could not be ended. */
  readonly left: readonly Xid[];
  /** How many messages of the outbox were delivered. */
  readonly delivered: number;
  /** What keeps recovery from its work, or soon will; looked for once a minute, so empty in most reports. */
  readonly warnings: readonly RecoveryWarning[];
  /** Resources that could not be reached or asked, and why. */
  readonly failures: readonly { readonly resource: string; readonly error: Error }[];
}

/** A resource that could not be reached, or a branch that could not be ended, and when that is tried again. */
interface Backoff {
  readonly untilMs: number;
  readonly waitMs: number;
}

/** A report that is being written. */
interface Pass {
  readonly fenced: string[];
  readonly committed: Xid[];
  readonly rolledBack: Xid[];
  readonly left: Xid[];
  readonly failures: { resource: string; error: Error }[];
  warnings: readonly RecoveryWarning[];
  delivered: number;
}

export class Recovery {
  readonly #decisions: Decisions;
  readonly #resources: () => Iterable<RecoverableResource>;
  readonly #backoffs = new Map<string, Backoff>();
  /** Of branches, by resource and transaction: one that a stranger has prepared, and we may not end, keeps no others. */
  readonly #branchBackoffs = new Map<string, Map<string, Backoff>>();
  /** Resources that could not list what is prepared the last time, and why. */
  readonly #unlisted = new Map<string, unknown>();
  #running: Promise<RecoveryReport> | undefined = undefined;
  /** How many decisions the next pass looks at. */
  #decisionsAPass = DECISIONS_A_PASS;
  /** Transactions of this process that are under way, or were while this pass looked. */
  #active: ReadonlySet<string> = new Set();

  readonly #warnings: RecoveryWarnings;

  constructor(decisions: Decisions, resources: () => Iterable<RecoverableResource>, warnings: RecoveryWarningsOptions) {
    this.#decisions = decisions;
    this.#resources = resources;
    this.#warnings = new RecoveryWarnings(warnings);
  }

  /** Runs a pass, or waits for the one that runs. @throws what the decision store does. */
  pass(): Promise<RecoveryReport> {
    this.#running ??= this.#observedPass().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  #observedPass(): Promise<RecoveryReport> {
    const startMs = environment.now();
    return watched(
      () => this.#decisions.watchActive((active) => this.#pass(active)),
      (report, error) => {
        if (!events.recovery.hasSubscribers) return;
        const durationMs = environment.now() - startMs;
        events.recovery.publish(
          error === undefined ? { durationMs, report: report as RecoveryReport } : { durationMs, error },
        );
      },
    );
  }

  /** A pass that runs delivers no further messages. */
  stop(): void {
    this.#decisions.deliveries?.stop();
  }

  async #pass(active: ReadonlySet<string>): Promise<RecoveryReport> {
    this.#active = active;
    const lists = { fenced: [], committed: [], rolledBack: [], left: [], failures: [] };
    const pass: Pass = { ...lists, warnings: [], delivered: 0 };
    if (this.#decisions.prefix === undefined) await this.#decisions.start();
    await this.#fence(pass);
    const prepared = await this.#listAll(pass);
    await this.#endAll(prepared, pass);
    pass.delivered = (await this.#decisions.deliveries?.due()) ?? 0;
    await this.#deleteFollowed(pass);
    pass.warnings = (await this.#warnings.due(() => this.#warners(), this.#decisions.prefix!)) ?? [];
    return pass;
  }

  /** Whoever can be reached, also where it can't be asked what is prepared. */
  #warners(): Warner[] {
    const isReachable = ({ name }: RecoverableResource): boolean => {
      const error = this.#unlisted.get(name);
      return error === undefined || error instanceof ConfigurationError;
    };
    return [...[...this.#resources()].filter(isReachable), ...(this.#decisions.deliveries?.targets ?? [])];
  }

  async #fence(pass: Pass): Promise<void> {
    const { log, incarnation, mayFence } = this.#decisions;
    if (!mayFence) return;
    for (const node of await log.nodes()) {
      if (!node.isExpired || node.incarnation === incarnation) continue;
      if (await log.fence(node.incarnation)) pass.fenced.push(node.incarnation);
    }
  }

  /** What is prepared on the resources that can be reached, all of them at once. */
  async #listAll(pass: Pass): Promise<Map<RecoverableResource, Xid[]>> {
    const resources = [...this.#resources()].filter((resource) => !this.#isResting(resource));
    const lists = await Promise.allSettled(resources.map((resource) => resource.listPrepared()));
    const prepared = new Map<RecoverableResource, Xid[]>();
    for (const [index, resource] of resources.entries()) {
      const list = lists[index]!;
      if (list.status === 'fulfilled') {
        this.#backoffs.delete(resource.name);
        this.#unlisted.delete(resource.name);
        const ours = list.value.filter((xid) => this.#isOurs(xid));
        prepared.set(resource, ours);
        this.#forgetBranches(resource, ours);
        this.#warnings.saw(resource.name, ours);
      } else {
        this.#unlisted.set(resource.name, list.reason);
        this.#failed(resource, list.reason, pass);
      }
    }
    return prepared;
  }

  #isOurs({ gid }: Pick<Xid, 'gid'>): boolean {
    return isGidOf(this.#decisions.prefix!, gid);
  }

  #isResting({ name }: RecoverableResource): boolean {
    return isResting(this.#backoffs.get(name));
  }

  #failed({ name }: RecoverableResource, reason: unknown, pass: Pass): void {
    pass.failures.push({ resource: name, error: toError(reason) });
    this.#backoffs.set(name, longer(this.#backoffs.get(name)));
  }

  #failedToEnd({ name }: RecoverableResource, { gid }: Xid, reason: unknown, pass: Pass): void {
    pass.failures.push({ resource: name, error: toError(reason) });
    const branches = this.#branchBackoffs.get(name) ?? new Map<string, Backoff>();
    this.#branchBackoffs.set(name, branches.set(gid, longer(branches.get(gid))));
  }

  /** What isn't there any more need not rest. */
  #forgetBranches({ name }: RecoverableResource, listed: readonly Xid[]): void {
    const branches = this.#branchBackoffs.get(name);
    if (branches === undefined) return;
    const there = new Set(listed.map(({ gid }) => gid));
    for (const gid of branches.keys()) if (!there.has(gid)) branches.delete(gid);
  }

  async #endAll(prepared: ReadonlyMap<RecoverableResource, Xid[]>, pass: Pass): Promise<void> {
    const { doubtful, log } = this.#decisions;
    const gids = [
      ...new Set(
        [...prepared.values()]
          .flat()
          .map(({ gid }) => gid)
          .concat(doubtful),
      ),
    ];
    if (gids.length === 0) return;
    const living = new Set((await log.nodes()).map(({ incarnation }) => incarnation));
    const decided = new Map((await log.decisionsOf(gids)).map((row) => [row.gid, row.outcome]));
    const outcomes = new Map<string, DecidedOutcome | undefined>();
    for (const gid of gids) outcomes.set(gid, await this.#outcomeOf(gid, living, decided.get(gid)));
    if ([...outcomes.values()].includes('committed')) await log.confirm?.();
    await Promise.all([...prepared].map(([resource, xids]) => this.#endOn(resource, xids, outcomes, pass)));
    for (const gid of doubtful) {
      if (pass.left.some((xid) => xid.gid === gid)) continue;
      const outcome = outcomes.get(gid);
      // Whoever has fenced this process may have followed a decision, and deleted it.
      const isKnown = outcome === 'committed' || decided.has(gid) || incarnationOf(gid) === this.#decisions.incarnation;
      if (outcome !== undefined) this.#decisions.resolved(gid, isKnown ? outcome : 'unknown');
    }
  }

  /** How a transaction is decided; undefined where that is the business of a living process. */
  async #outcomeOf(
    gid: string,
    living: ReadonlySet<string>,
    decided: DecidedOutcome | undefined,
  ): Promise<DecidedOutcome | undefined> {
    const { incarnation: own, log } = this.#decisions;
    const incarnation = incarnationOf(gid);
    if (incarnation === own) {
      return this.#active.has(gid) ? undefined : await log.settle({ gid, incarnation, participants: [] });
    }
    if (living.has(incarnation)) return undefined;
    // Nobody can decide it any more, and what was decided before stands there.
    return decided ?? 'aborted';
  }

  async #endOn(
    resource: RecoverableResource,
    xids: readonly Xid[],
    outcomes: ReadonlyMap<string, DecidedOutcome | undefined>,
    pass: Pass,
  ): Promise<void> {
    const queue = [...xids];
    const endNext = async (): Promise<void> => {
      for (let xid = queue.shift(); xid !== undefined; xid = queue.shift()) {
        await this.#end(resource, xid, outcomes.get(xid.gid), pass);
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, queue.length) }, endNext));
  }

  async #end(resource: RecoverableResource, xid: Xid, outcome: DecidedOutcome | undefined, pass: Pass): Promise<void> {
    if (outcome === undefined || isResting(this.#branchBackoffs.get(resource.name)?.get(xid.gid))) {
      pass.left.push(xid);
      return;
    }
    try {
      if (outcome === 'committed') await resource.commitPrepared(xid);
      else await resource.rollbackPrepared(xid);
      (outcome === 'committed' ? pass.committed : pass.rolledBack).push(xid);
    } catch (error) {
      pass.left.push(xid);
      this.#failedToEnd(resource, xid, error, pass);
    }
  }

  /** Deletes the decisions of this application and of nobody who lives, where the list of every participant, taken behind them, has nothing of it. */
  async #deleteFollowed(pass: Pass): Promise<void> {
    const { log } = this.#decisions;
    await log.forgetTombstones();
    const limit = this.#decisionsAPass;
    const rows = await log.decisions(limit, this.#decisions.prefix);
    const deleted = rows.length === 0 ? 0 : await this.#deleteAmong(rows, pass);
    // Those of other applications, and of resources that are gone, stay: what is behind them must come to its turn.
    if (rows.length === limit && deleted < limit / 2) this.#decisionsAPass = Math.min(limit * 2, MOST_DECISIONS_A_PASS);
    else if (rows.length < limit / 2) this.#decisionsAPass = Math.max(limit / 2, DECISIONS_A_PASS);
  }

  /** How many were deleted. */
  async #deleteAmong(rows: readonly DecisionRow[], pass: Pass): Promise<number> {
    const { incarnation: own, log } = this.#decisions;
    const living = new Set((await log.nodes()).map(({ incarnation }) => incarnation));
    // One in doubt is still asked about, and without its decision would be taken for aborted.
    const doubtful = new Set(this.#decisions.doubtful);
    const isDone = ({ gid, incarnation }: DecisionRow): boolean =>
      incarnation === own ? !this.#active.has(gid) && !doubtful.has(gid) : !living.has(incarnation);
    const candidates = rows.filter((row) => this.#isOurs(row) && row.outcome === 'committed' && isDone(row));
    if (candidates.length === 0) return 0;
    const prepared = await this.#listAll(pass);
    const reached = new Set([...prepared.keys()].map(({ name }) => name));
    const listed = new Set([...prepared.values()].flat().map(({ gid }) => gid));
    const followed = candidates.filter(
      ({ gid, participants }) => participants.every((name) => reached.has(name)) && !listed.has(gid),
    );
    if (followed.length > 0) await log.forget(followed.map(({ gid }) => gid));
    return followed.length;
  }
}

function isResting(backoff: Backoff | undefined): boolean {
  return backoff !== undefined && environment.now() < backoff.untilMs;
}

/** The time to rest after another failure. */
function longer(before: Backoff | undefined): Backoff {
  const waitMs = Math.min((before?.waitMs ?? FIRST_BACKOFF_MS / 2) * 2, LONGEST_BACKOFF_MS);
  return { waitMs, untilMs: environment.now() + waitMs * (1 - environment.random() / 2) };
}
