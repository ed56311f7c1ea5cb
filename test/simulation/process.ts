// A process of the application: the real coordinator, over sessions and a decision log that call simulated servers.
import { type OutboxMessage, type RecoveryReport, type Transaction, TransactionCoordinator } from 'unanimous';
import { FencedError, TransientError } from 'unanimous';
import type { Operation } from './database.ts';
import { ANY_ORDER, IN_ORDER, Letters, Postman } from './letters.ts';
import { Log } from './log.ts';
import { incarnationOf } from '../../coordinator/decisions.ts';
import { checkPass } from './pass.ts';
import { Part, Session } from './session.ts';
import { Owner } from './simulator.ts';
import type { Situation } from './situations.ts';
import { DECISION_TIMEOUT_MS, LEASE_MS, RECOVERY_EVERY_MS, type Surroundings, type Workplace } from './surroundings.ts';

/** How far a transaction that is under way has come. */
type Phase =
  | 'worked'
  | 'prepared'
  | 'committed in one phase'
  | 'wrote a decision'
  | 'decided'
  | 'followed'
  | 'delivered';

const DEATHS: Readonly<Record<Phase, Situation>> = {
  worked: 'a process died while its application worked',
  prepared: 'a process died while it prepared',
  'committed in one phase': 'a process died while it committed in one phase',
  'wrote a decision': 'a process died while it wrote a decision',
  decided: 'a process died behind a decision, while the others followed',
  followed: 'a process died behind a decision, while the others followed',
  delivered: 'a process died while it delivered messages',
};

/** One process, which runs transactions in several loops at once until it dies. */
export class Process extends Owner {
  readonly store: Workplace['store'];
  readonly #loops: number;
  readonly #around: Surroundings;
  #coordinator: TransactionCoordinator | undefined = undefined;
  sessions: Session[] = [];
  /** Of this life: there is another one after each time that it was taken for dead. */
  readonly #incarnations = new Set<string>();
  /** Transactions that are under way, and how far they have come. */
  readonly #phases = new Map<string, Phase>();
  /** When the transactions of this life were over. */
  readonly overMs = new Map<string, number>();
  /** A pass of its recovery has come to the decisions that may be deleted. */
  isCollecting = false;
  /** When the last pass of its recovery was over, in this life. */
  #passedMs = -Infinity;
  /** No more transactions begin. */
  isResting = false;
  transactions = 0;
  committed = 0;

  constructor(name: string, { store, loops }: Workplace, around: Surroundings) {
    super(name);
    this.store = store;
    this.#loops = loops;
    this.#around = around;
  }

  start(): void {
    const { databases, simulator } = this.#around;
    this.isUp = true;
    this.pausedUntilMs = 0;
    simulator.startClock(this, simulator.random.between(0.9, 1.1));
    const coordinator = new TransactionCoordinator({ app: 'sim', onError: (error) => this.#hearError(error) });
    this.#coordinator = coordinator;
    this.sessions = databases.map((database) => new Session(database, this, this.#around));
    coordinator.configure({
      decisionLog: new Log(this, this.store, this.#around),
      decisionTimeoutMs: DECISION_TIMEOUT_MS,
      recovery: { leaseMs: LEASE_MS, everyMs: RECOVERY_EVERY_MS, resources: this.sessions },
    });
    for (const name of [IN_ORDER, ANY_ORDER]) {
      coordinator.delivers(new Postman(name, this, this.store, this.#around));
    }
    const { life } = this;
    for (let loop = 0; loop < this.#loops; loop++) void this.#loop(coordinator, life, loop);
  }

  #hearError(error: Error): void {
    if (error instanceof FencedError) {
      this.#around.situations.occurred('a process was taken for dead while it lived');
    }
  }

  /** Dies from one moment to the next; each server hears of that when it does. */
  override die(): void {
    const { databases, simulator, situations } = this.#around;
    for (const phase of this.#phases.values()) situations.occurred(DEATHS[phase]);
    super.die();
    this.#phases.clear();
    this.#incarnations.clear();
    this.overMs.clear();
    this.#passedMs = -Infinity;
    this.isCollecting = false;
    for (const database of databases) {
      simulator.after(simulator.random.exponential(100), undefined, () => database.closeAllOf(this));
    }
  }

  /** Nothing is open, and nothing in doubt, as far as this process knows. */
  get isQuiet(): boolean {
    return this.#coordinator!.inspect().transactions.length === 0 && this.doubtful.length === 0;
  }

  get doubtful(): readonly string[] {
    return this.#coordinator?.inspect().decisions?.inDoubt ?? [];
  }

  get incarnation(): string | undefined {
    return this.#coordinator?.inspect().decisions?.incarnation;
  }

  /** Whether a transaction is under way here. */
  isAtWork(gid: string): boolean {
    return this.isUp && this.#phases.has(gid);
  }

  /** One of its transactions has come so far. */
  isAt(gid: string, phase: Phase): void {
    if (this.#phases.has(gid)) this.#phases.set(gid, phase);
  }

  /** It delivers a message now. */
  delivers(gid: string): void {
    const { situations } = this.#around;
    this.isAt(gid, 'delivered');
    if (this.#phases.has(gid)) situations.occurred('a message was delivered right after its commit');
    else if (!this.#isOwn(gid)) situations.occurred('a message was delivered by another process');
  }

  /** Its recovery has ended a branch. */
  tookOver(how: 'committed' | 'rolled back', gid: string): void {
    if (!this.#isOwn(gid)) this.#around.situations.occurred(`a recoverer ${how} what another process had prepared`);
  }

  /** A branch that it was to end isn't there any more. */
  foundEnded(connection: number | undefined): void {
    if (connection === undefined) {
      this.#around.situations.occurred('a recoverer found that another one had been faster');
    }
  }

  #isOwn(gid: string): boolean {
    return this.#incarnations.has(incarnationOf(gid));
  }

  /** A pass of its recovery is over; without a report where the decision store could not be reached. */
  passed(report: RecoveryReport | undefined): void {
    if (report !== undefined) checkPass(this, report, this.#passedMs, this.#around);
    for (const session of this.sessions) session.isListed = false;
    this.isCollecting = false;
    this.#passedMs = this.#around.simulator.nowMs;
  }

  async #loop(coordinator: TransactionCoordinator, life: number, loop: number): Promise<void> {
    const { simulator } = this.#around;
    const pause = (): Promise<void> =>
      new Promise((resolve) => void simulator.after(simulator.random.exponential(5), this, resolve));
    for (let number = 1; this.life === life && !this.isResting; number++) {
      await pause();
      await this.#one(coordinator, `${this.name}/${life}/${loop}`, number);
    }
  }

  async #one(coordinator: TransactionCoordinator, stream: string, number: number): Promise<void> {
    const { simulator, ledger, receiver, situations } = this.#around;
    const { random } = simulator;
    const chosen = this.sessions.filter(() => random.chance(0.7));
    const failure = random.chance(0.1) ? random.pick([new Error('no'), new TransientError('not now')]) : undefined;
    const [inOrder, anyOrder] = chosen.length > 0 && random.chance(0.25) ? [random.below(3), random.below(2)] : [0, 0];
    const operation: Operation = { committedBy: undefined };
    let txn: Transaction | undefined;
    let letters: string[] = [];
    try {
      await coordinator.run(
        async (begun) => {
          if (txn !== undefined) {
            situations.occurred('a transaction was tried again');
            this.#over(txn.id);
            ledger.told(txn.id, 'aborted');
          }
          txn = begun;
          this.transactions++;
          const { id } = begun;
          this.#incarnations.add(incarnationOf(id));
          this.#phases.set(id, 'worked');
          ledger.fate(id).operation = operation;
          for (const session of chosen) begun.join(new Part(session, id, await session.write(id)));
          const named = (name: string, count: number): string[] =>
            Array.from({ length: count }, (_, index) => `${stream}: ${number}, ${name}, ${index} of ${id}`);
          letters = named(IN_ORDER, inOrder);
          const others = named(ANY_ORDER, anyOrder);
          receiver.announce(id, letters, stream);
          receiver.announce(id, others, undefined);
          const messages: OutboxMessage[] = [
            ...letters.map((payload) => ({ target: IN_ORDER, payload })),
            ...others.map((payload) => ({ target: ANY_ORDER, payload })),
          ];
          if (messages.length > 0) begun.join(new Letters(messages));
          if (failure !== undefined) throw failure;
        },
        { attempts: 2 },
      );
      this.#acknowledge(txn!, letters, stream);
    } catch (error) {
      if (txn === undefined) return;
      const code = (error as { code?: unknown }).code;
      const isUnknown = code === 'ERR_TXN_OUTCOME_UNKNOWN' || code === 'ERR_TXN_IN_DOUBT';
      if (!isUnknown) ledger.told(txn.id, 'aborted');
      else void this.#hear(txn);
    } finally {
      if (txn !== undefined) this.#over(txn.id);
    }
  }

  #acknowledge(txn: Transaction, letters: readonly string[], stream: string): void {
    const { ledger, receiver, situations } = this.#around;
    this.committed++;
    ledger.told(txn.id, 'committed');
    receiver.owe(letters, stream);
    if ((txn.pendingFinish?.length ?? 0) > 0) situations.occurred('a commit was acknowledged before all had followed');
  }

  #over(gid: string): void {
    this.#phases.delete(gid);
    this.overMs.set(gid, this.#around.simulator.nowMs);
  }

  /** What a transaction in doubt is said to have become must be so. */
  async #hear(txn: Transaction): Promise<void> {
    const { ledger, situations } = this.#around;
    situations.occurred('a transaction was in doubt');
    const outcome = await txn.resolved;
    if (outcome === undefined) return;
    if (outcome === 'unknown') situations.occurred('a transaction in doubt could not be found out about any more');
    else {
      situations.occurred(`a transaction in doubt turned out to be ${outcome}`);
      ledger.told(txn.id, outcome);
    }
  }
}
