// Some processes over three databases, things that go wrong, and what must be so: looked at at every step, and in the end.
//
// Real, unchanged and complete: everything in coordinator/ that a commit goes through (run, manager, transaction, commit, commit-way, two-phase,
// decisions, xid), recovery and its loop, and the deliveries of the outbox. environment.ts is their only door to clocks, timers and randomness,
// and the simulator stands behind it.
//
// Modelled: the databases and what a session makes of their answers (session.ts, in place of datamanagers/sql), the tables of the decision store and
// of its messages (decision-store.ts, messages.ts, log.ts, in place of the SQL of datamanagers/pg), the network, and the server that messages
// are for. Those are tried on real servers by the crash matrix and the soak.
//
// A process dies between two events, or at the moment at which it sends something, before or behind that. As between two awaits of a
// process only what it has sent can be seen from outside, this is a death at any await.
import { observe } from 'unanimous';
import { Watermarks, type Peaks } from './bounds.ts';
import { Database, Ledger } from './database.ts';
import { DecisionStore } from './decision-store.ts';
import { Faults } from './faults.ts';
import { Receiver } from './messages.ts';
import { Network } from './network.ts';
import { Process } from './process.ts';
import { Random } from './random.ts';
import { Simulator } from './simulator.ts';
import { Situations, type Situation } from './situations.ts';
import { LOOPS, type Surroundings } from './surroundings.ts';

/** How long things go wrong, in simulated milliseconds. */
const TROUBLE_MS = 25_000;
/**
 * How long it may take until nothing is left of it: longer than a server that could not be reached is left alone, and than hundreds of messages
 * take, of which some are late (disks stay as they are), and those that were claimed by an answer which came too late wait for 30 s.
 */
const HEALING_MS = 300_000;
const PROCESSES = 3;

/** What came of a world. */
export interface Result {
  readonly seed: number;
  readonly steps: number;
  /** All that has happened, in order, as one number. */
  readonly trace: string;
  readonly transactions: number;
  readonly committed: number;
  readonly faults: number;
  /** How long it took until nothing was left, once nothing went wrong any more, in simulated milliseconds. */
  readonly healedMs: number;
  readonly situations: ReadonlyMap<Situation, number>;
  /** The most that there was at once. */
  readonly peaks: Peaks & { readonly prepared: number; readonly decisions: number; readonly messages: number };
  readonly breaches: readonly string[];
}

/** Lets one world run: the same seed, the same world. */
export async function live(seed: number): Promise<Result> {
  const simulator = new Simulator(new Random(seed));
  const uninstall = simulator.install();
  const world = new World(simulator);
  const stopObserving = observe({
    recovery: ({ report }) => (simulator.current as Process).passed(report),
  });
  const { stackTraceLimit } = Error;
  // Nobody reads them, and they take much of the time.
  Error.stackTraceLimit = 0;
  try {
    await world.run();
    return world.result(seed);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    stopObserving();
    uninstall();
  }
}

class World {
  readonly #simulator: Simulator;
  readonly #ledger = new Ledger();
  readonly #situations = new Situations();
  readonly #databases: readonly Database[];
  readonly #stores: readonly DecisionStore[];
  readonly #processes: readonly Process[];
  readonly #around: Surroundings;
  readonly #faults: Faults;
  readonly #watermarks = new Watermarks();
  readonly #most = { prepared: 0, decisions: 0, messages: 0 };
  #healedMs = 0;

  constructor(simulator: Simulator) {
    this.#simulator = simulator;
    const parts = { simulator, ledger: this.#ledger, situations: this.#situations };
    const [a, b, c] = [
      new Database('a', parts, false),
      new Database('b', parts, false),
      new Database('c', parts, true),
    ] as const;
    this.#databases = [a, b, c];
    const store = new DecisionStore('store', a, parts);
    // Another application of the same name, over the same databases: what it prepares is nobody's business but its own.
    const other = new DecisionStore('other', b, parts);
    this.#stores = [store, other];
    this.#around = {
      ...parts,
      network: new Network(simulator, this.#situations),
      databases: this.#databases,
      receiver: new Receiver(parts),
      breaches: [],
    };
    const names = Array.from({ length: PROCESSES }, (_, index) => `p${index}`);
    this.#processes = [
      ...names.map((name) => new Process(name, { store, loops: LOOPS }, this.#around)),
      new Process('other', { store: other, loops: 1 }, this.#around),
    ];
    this.#faults = new Faults(this.#around, this.#processes, this.#stores);
  }

  async run(): Promise<void> {
    this.#simulator.onStep = () => this.#look();
    for (const process of this.#processes) await this.#simulator.as(process, () => process.start());
    this.#faults.begin();
    await this.#runUntil(TROUBLE_MS);
    this.#faults.end();
    while (this.#simulator.nowMs < TROUBLE_MS + HEALING_MS && !this.#isClean() && !this.#isBroken()) {
      await this.#runUntil(this.#simulator.nowMs + 1_000);
    }
    this.#healedMs = this.#simulator.nowMs - TROUBLE_MS;
    this.#check();
  }

  async #runUntil(endMs: number): Promise<void> {
    while (this.#simulator.nowMs < endMs && !this.#isBroken()) {
      await this.#simulator.runUntil(Math.min(endMs, this.#simulator.nowMs + 1_000));
    }
  }

  /** After a breach the rest means nothing. */
  #isBroken(): boolean {
    return this.#breaches().length > 0;
  }

  #breaches(): string[] {
    return [
      ...this.#ledger.breaches,
      ...this.#stores.flatMap(({ breaches }) => breaches),
      ...this.#around.receiver.breaches,
      ...this.#around.breaches,
    ];
  }

  /** After each step: what there may be only so much of. */
  #look(): void {
    const most = this.#most;
    for (const process of this.#processes) {
      const breach = this.#watermarks.look(process);
      if (breach !== undefined) this.#around.breaches.push(breach);
    }
    for (const { prepared } of this.#databases) if (prepared.size > most.prepared) most.prepared = prepared.size;
    for (const { decisions, messages } of this.#stores) {
      if (decisions.size > most.decisions) most.decisions = decisions.size;
      if (messages.size > most.messages) most.messages = messages.size;
    }
  }

  result(seed: number): Result {
    return {
      seed,
      steps: this.#simulator.steps,
      trace: this.#simulator.trace,
      transactions: this.#processes.reduce((sum, { transactions }) => sum + transactions, 0),
      committed: this.#processes.reduce((sum, { committed }) => sum + committed, 0),
      faults: this.#faults.count,
      healedMs: this.#healedMs,
      situations: this.#situations.counts,
      peaks: { ...this.#watermarks.peaks, ...this.#most },
      breaches: this.#breaches(),
    };
  }

  #isClean(): boolean {
    return (
      this.#databases.every(({ prepared }) => prepared.size === 0) &&
      this.#stores.every(({ messages, decisions }) => messages.size === 0 && !hasCommitted(decisions)) &&
      this.#processes.every((process) => process.isUp && process.isQuiet)
    );
  }

  #check(): void {
    const { breaches, receiver } = this.#around;
    if (this.#isBroken()) return;
    for (const { name, prepared } of this.#databases) {
      if (prepared.size > 0) breaches.push(`for ever: ${name} still has ${[...prepared.keys()].join()} prepared`);
    }
    for (const { id, decisions, messages } of this.#stores) {
      if (hasCommitted(decisions)) breaches.push(`for ever: decisions are still in '${id}'`);
      if (messages.size > 0) breaches.push(`for ever: ${messages.size} messages are still in '${id}'`);
    }
    for (const process of this.#processes) {
      if (!process.isUp || !process.isQuiet) {
        breaches.push(`for ever: ${process.name} still has something open or in doubt`);
      }
    }
    this.#ledger.checkAll();
    receiver.checkAll(this.#stores);
  }
}

function hasCommitted(decisions: DecisionStore['decisions']): boolean {
  return [...decisions.values()].some(({ outcome }) => outcome === 'committed');
}
