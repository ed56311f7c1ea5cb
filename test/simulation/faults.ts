// What goes wrong, at random moments, and what an operator does meanwhile.
import { incarnationOf } from '../../coordinator/decisions.ts';
import type { Database } from './database.ts';
import type { DecisionStore } from './decision-store.ts';
import type { Server } from './network.ts';
import type { Process } from './process.ts';
import type { Owner } from './simulator.ts';
import { LEASE_MS, type Surroundings } from './surroundings.ts';

/** Between two of them, on average. */
const EVERY_MS = 150;

/** Longer than a message is its deliverer's, and than it waits for its next delivery. */
const SOON_MS = 75_000;

export class Faults {
  count = 0;
  readonly #around: Surroundings;
  readonly #processes: readonly Process[];
  readonly #stores: readonly DecisionStore[];
  /** Each as many times as it is likelier than others. */
  readonly #kinds: readonly (() => void)[];
  #isOver = false;

  constructor(around: Surroundings, processes: readonly Process[], stores: readonly DecisionStore[]) {
    this.#around = around;
    this.#processes = processes;
    this.#stores = stores;
    const weights: readonly (readonly [() => void, number])[] = [
      [() => this.#killProcess(), 2],
      [() => this.#pauseProcess(), 2],
      [() => this.#killServer(), 2],
      [() => this.#cutLink(), 2],
      [() => this.#badWeather(), 2],
      [() => this.#slowDown(), 1],
      [() => this.#jumpClockOfProcess(), 1],
      [() => this.#jumpClockOfStore(), 2],
      [() => this.#annoyReceiver(), 1],
      [() => this.#decideByHand(), 2],
      [() => this.#endByHand(), 1],
    ];
    this.#kinds = weights.flatMap(([fault, weight]) => Array.from({ length: weight }, () => fault));
  }

  begin(): void {
    this.#around.network.kill = (caller: Owner) => this.#kill(caller as Process);
    this.#schedule();
  }

  #schedule(): void {
    this.#around.simulator.after(this.#around.simulator.random.exponential(EVERY_MS), undefined, () => {
      if (this.#isOver) return;
      this.count++;
      this.#around.simulator.random.pick(this.#kinds)();
      this.#schedule();
    });
  }

  /** From now on nothing goes wrong any more, and no transactions begin. */
  end(): void {
    const { network, databases, receiver } = this.#around;
    this.#isOver = true;
    network.kill = undefined;
    network.heal();
    receiver.refusal = 0;
    for (const server of [...databases.map((database) => database.server), receiver.server]) {
      server.isUp = true;
      server.slowness = 1;
    }
    for (const process of this.#processes) process.isResting = true;
    // Most worlds needn't wait for the claims of messages to run out by themselves.
    if (this.#around.simulator.random.chance(0.7)) for (const store of this.#stores) store.offsetMs += SOON_MS;
    // In a moment, when those that are paused have gone on.
    for (const process of this.#processes) this.#later(100, () => this.#start(process));
  }

  #later(meanMs: number, callback: () => void): void {
    this.#around.simulator.after(this.#around.simulator.random.exponential(meanMs), undefined, callback);
  }

  #killProcess(): void {
    const process = this.#around.simulator.random.pick(this.#processes);
    if (process.isUp) this.#kill(process);
  }

  #kill(process: Process): void {
    process.die();
    // A supervisor starts it again at once, or the machine has to come up.
    this.#later(this.#around.simulator.random.pick([10, 500]), () => this.#start(process));
  }

  #start(process: Process): void {
    if (process.isUp) return;
    this.#around.simulator.current = process;
    process.start();
  }

  /** It does nothing for a while; or its machine does, and then it doesn't know that time has passed. */
  #pauseProcess(): void {
    const { simulator, situations } = this.#around;
    const { random } = simulator;
    const process = random.pick(this.#processes);
    if (!process.isUp || process.pausedUntilMs > simulator.nowMs) return;
    const forMs = random.exponential(1_500);
    process.pausedUntilMs = simulator.nowMs + forMs;
    if (forMs > LEASE_MS) situations.occurred('a process was paused for longer than its lease');
    if (!random.chance(0.4)) return;
    simulator.moveClock(process, -forMs * process.clock.rate);
    situations.occurred('a process was paused, and its clock with it');
  }

  #killServer(): void {
    const { databases, receiver, simulator } = this.#around;
    const died = simulator.random.pick([...databases, receiver]);
    const { server } = died;
    if (!server.isUp) return;
    if (died === receiver) server.die();
    else this.#crash(died as Database);
    this.#later(500, () => {
      server.isUp = true;
    });
  }

  #crash(database: Database): void {
    database.crash();
    for (const store of this.#stores) if (store.database === database) store.crash();
  }

  #cutLink(): void {
    const { network, databases, receiver, simulator } = this.#around;
    const { random } = simulator;
    network.cut(random.pick(this.#processes), random.pick([...databases, receiver]).server);
    this.#later(800, () => {
      if (!this.#isOver) network.heal();
    });
  }

  #badWeather(): void {
    const { random } = this.#around.simulator;
    this.#around.network.weather = { loss: random.between(0, 0.2), delayMs: random.between(0.5, 20) };
  }

  #slowDown(): void {
    const { databases, receiver, simulator, situations } = this.#around;
    const server: Server = simulator.random.pick([...databases, receiver]).server;
    server.slowness = simulator.random.between(5, 100);
    situations.occurred('a server was slow');
    this.#later(1_000, () => {
      server.slowness = 1;
    });
  }

  #annoyReceiver(): void {
    this.#around.receiver.refusal = this.#around.simulator.random.pick([0, 0.1, 0.5]);
  }

  /**
   * A monotonic clock never goes back, and forward only with time. Here it does both, as nothing that is safe may depend on a clock: only how
   * long something takes.
   */
  #jumpClockOfProcess(): void {
    const { simulator, situations } = this.#around;
    const process = simulator.random.pick(this.#processes);
    if (!process.isUp) return;
    const byMs = simulator.random.between(-3_000, 3_000);
    simulator.moveClock(process, byMs);
    situations.occurred(`the clock of a process jumped ${byMs > 0 ? 'forward' : 'back'}`);
  }

  /** The clock of a decision store's server: leases run out early, or late, and so do claims. */
  #jumpClockOfStore(): void {
    const { simulator, situations } = this.#around;
    const { random } = simulator;
    const store = random.pick(this.#stores);
    const before = store.offsetMs;
    const farthest = random.chance(0.1) ? 40_000 : 3_000;
    store.offsetMs = random.between(-farthest, farthest);
    situations.occurred(`the clock of a decision store jumped ${store.offsetMs > before ? 'forward' : 'back'}`);
  }

  /** All that is prepared somewhere. */
  get #prepared(): string[] {
    const gids = new Set<string>();
    for (const { prepared } of this.#around.databases) for (const gid of prepared.keys()) gids.add(gid);
    return [...gids];
  }

  /** Where a transaction is prepared. */
  #placesOf(gid: string): string[] {
    return this.#around.databases.filter(({ prepared }) => prepared.has(gid)).map(({ name }) => name);
  }

  /** Everything is prepared, whoever would decide is dead, and nobody has begun to roll it back. */
  #mayBeCommitted(gid: string): boolean {
    const { wrote, told, isGivenUp } = this.#around.ledger.fate(gid);
    const isAtWork = this.#processes.some((process) => process.isAtWork(gid));
    return !isAtWork && !isGivenUp && told === undefined && wrote.size > 1 && this.#placesOf(gid).length === wrote.size;
  }

  /** As an operator may who knows what he does: an abort at any time, a commit not. */
  #decideByHand(): void {
    const { simulator, situations } = this.#around;
    const { random } = simulator;
    const prepared = this.#prepared;
    if (prepared.length === 0) return;
    const committable = prepared.filter((each) => this.#mayBeCommitted(each));
    const commits = committable.length > 0 && random.chance(0.7);
    const gid = random.pick(commits ? committable : prepared);
    const store = this.#stores.find(({ id }) => gid.startsWith(`sim:${id}:`))!;
    const decision = { gid, incarnation: incarnationOf(gid), participants: commits ? this.#placesOf(gid) : [] };
    if (!store.database.server.isUp || !store.actByHand(decision, commits ? 'committed' : 'aborted')) return;
    situations.occurred(`an operator decided to ${commits ? 'commit' : 'abort'}`);
  }

  /** COMMIT PREPARED or ROLLBACK PREPARED at a console, as it is decided. */
  #endByHand(): void {
    const { databases, simulator, situations } = this.#around;
    const decided = this.#prepared.flatMap((each) => this.#stores.flatMap((store) => store.decisions.get(each) ?? []));
    if (decided.length === 0) return;
    const { gid, outcome } = simulator.random.pick(decided);
    for (const database of databases) {
      const branch = database.prepared.get(gid);
      if (branch === undefined || !database.server.isUp || (database.isOwned && branch.owner !== undefined)) continue;
      database.end(outcome === 'committed' ? 'commit' : 'rollback', gid, undefined);
      situations.occurred('an operator ended a branch as it was decided');
      return;
    }
  }
}
