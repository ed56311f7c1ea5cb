// Some processes over three databases, things that go wrong, and what must be so in the end.
import { Database, Ledger } from './database.ts';
import { DecisionStore } from './decision-store.ts';
import { Network } from './network.ts';
import { type Answer, Process, type Surroundings } from './process.ts';
import { Random } from './random.ts';
import { Simulator } from './simulator.ts';

/** How long things go wrong, in simulated milliseconds. */
const TROUBLE_MS = 20_000;
/** How long it may take until nothing is left of it. */
const HEALING_MS = 120_000;
const PROCESSES = 3;
const LOOPS = 3;

/** What came of a world. */
export interface Result {
  readonly seed: number;
  readonly steps: number;
  readonly transactions: number;
  readonly committed: number;
  readonly faults: number;
  readonly breaches: readonly string[];
}

/** Lets one world run: the same seed, the same world. */
export async function live(seed: number): Promise<Result> {
  const simulator = new Simulator(new Random(seed));
  const uninstall = simulator.install();
  try {
    const world = new World(simulator);
    await world.run();
    return world.result(seed);
  } finally {
    uninstall();
  }
}

class World {
  readonly #simulator: Simulator;
  readonly #ledger = new Ledger();
  readonly #databases: readonly Database[];
  readonly #processes: Process[];
  readonly #around: Surroundings;
  #faults = 0;
  #isHealing = false;

  constructor(simulator: Simulator) {
    this.#simulator = simulator;
    const make = (name: string, isOwned: boolean): Database => new Database(name, simulator, this.#ledger, isOwned);
    const storeDatabase = make('a', false);
    this.#databases = [storeDatabase, make('b', false), make('c', true)];
    this.#around = {
      simulator,
      network: new Network(simulator),
      databases: this.#databases,
      store: new DecisionStore(storeDatabase, simulator, this.#ledger),
      storeDatabase,
      answers: [],
      breaches: [],
    };
    this.#processes = Array.from({ length: PROCESSES }, (_, index) => new Process(`p${index}`, this.#around));
  }

  async run(): Promise<void> {
    for (const process of this.#processes) await this.#simulator.as(process, () => process.start(LOOPS));
    this.#scheduleFault();
    await this.#simulator.runUntil(TROUBLE_MS);
    this.#heal();
    for (let waitedMs = 0; waitedMs < HEALING_MS && !this.#isClean(); waitedMs += 1_000) {
      await this.#simulator.runUntil(this.#simulator.nowMs + 1_000);
    }
    this.#check();
  }

  result(seed: number): Result {
    return {
      seed,
      steps: this.#simulator.steps,
      transactions: this.#processes.reduce((sum, { transactions }) => sum + transactions, 0),
      committed: this.#around.answers.filter(({ outcome }) => outcome === 'committed').length,
      faults: this.#faults,
      breaches: [...this.#ledger.breaches, ...this.#around.store.breaches, ...this.#around.breaches],
    };
  }

  #scheduleFault(): void {
    this.#simulator.after(this.#simulator.random.exponential(150), undefined, () => {
      if (this.#isHealing) return;
      this.#fault();
      this.#scheduleFault();
    });
  }

  #fault(): void {
    const { random } = this.#simulator;
    this.#faults++;
    const kinds = [
      this.#killProcess,
      this.#pauseProcess,
      this.#killDatabase,
      this.#cutLink,
      this.#badWeather,
      this.#jumpClock,
    ];
    random.pick(kinds).call(this);
  }

  #later(meanMs: number, callback: () => void): void {
    this.#simulator.after(this.#simulator.random.exponential(meanMs), undefined, callback);
  }

  #killProcess(): void {
    const process = this.#simulator.random.pick(this.#processes);
    if (!process.isUp) return;
    process.die();
    this.#later(500, () => this.#startProcess(process));
  }

  #startProcess(process: Process): void {
    if (process.isUp) return;
    this.#simulator.current = process;
    process.start(this.#isHealing ? 0 : LOOPS);
  }

  #pauseProcess(): void {
    const process = this.#simulator.random.pick(this.#processes);
    process.pausedUntilMs = this.#simulator.nowMs + this.#simulator.random.exponential(1_500);
  }

  #killDatabase(): void {
    const database = this.#simulator.random.pick(this.#databases);
    if (!database.server.isUp) return;
    database.crash();
    if (database === this.#around.storeDatabase) this.#around.store.crash();
    this.#later(500, () => {
      database.server.isUp = true;
    });
  }

  #cutLink(): void {
    const { network } = this.#around;
    const { random } = this.#simulator;
    network.cut(random.pick(this.#processes), random.pick(this.#databases).server);
    this.#later(800, () => {
      if (!this.#isHealing) network.heal();
    });
  }

  #badWeather(): void {
    const { random } = this.#simulator;
    this.#around.network.weather = { loss: random.between(0, 0.2), delayMs: random.between(0.5, 20) };
  }

  /** The clock of the decision store's server: leases run out early, or late. */
  #jumpClock(): void {
    this.#around.store.offsetMs = this.#simulator.random.between(-3_000, 3_000);
  }

  #heal(): void {
    this.#isHealing = true;
    this.#around.network.heal();
    for (const process of this.#processes) process.isResting = true;
    for (const database of this.#databases) database.server.isUp = true;
    // In a moment, when those that are paused have gone on.
    for (const process of this.#processes) this.#later(100, () => this.#startProcess(process));
  }

  #isClean(): boolean {
    return (
      this.#databases.every(({ prepared }) => prepared.size === 0) &&
      ![...this.#around.store.decisions.values()].some(({ outcome }) => outcome === 'committed') &&
      this.#processes.every((process) => process.isUp && process.isQuiet)
    );
  }

  #check(): void {
    const { answers, breaches, store } = this.#around;
    for (const { name, prepared } of this.#databases) {
      if (prepared.size > 0) breaches.push(`for ever: ${name} still has ${[...prepared.keys()].join()} prepared`);
    }
    for (const { gid, outcome } of store.decisions.values()) {
      if (outcome === 'committed') breaches.push(`for ever: the decision of ${gid} is still there`);
    }
    for (const process of this.#processes) {
      if (!process.isQuiet) breaches.push(`for ever: ${process.name} still has something open or in doubt`);
    }
    for (const [gid, { wrote, committed }] of this.#ledger) {
      if (committed.size !== 0 && committed.size !== wrote.size) {
        breaches.push(`half done: ${gid} is in ${[...committed].join()}, and was written in ${[...wrote].join()}`);
      }
    }
    for (const answer of answers) this.#checkAnswer(answer);
  }

  /** An acknowledged commit is there; what was said to be aborted isn't. */
  #checkAnswer({ gid, outcome }: Answer): void {
    const { wrote, committed } = this.#ledger.fate(gid);
    if (outcome === 'committed' && committed.size !== wrote.size) {
      this.#around.breaches.push(
        `lost: ${gid} was acknowledged, and is in ${[...committed].join() || 'none'} of ${[...wrote].join()}`,
      );
    }
    if (outcome === 'aborted' && committed.size > 0) {
      this.#around.breaches.push(`appeared: ${gid} was said to be aborted, and is in ${[...committed].join()}`);
    }
  }
}
