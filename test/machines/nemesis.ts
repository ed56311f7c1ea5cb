// Cuts and heals what is between the machines, as drawn from a seed, while transfers run.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../soak/random.ts';
import type { Teller } from '../soak/tellers.ts';
import type { Host, Network } from './network.ts';

/** How often each happens, in relation to the others. */
const WEIGHTS = {
  /** A link between an application and a database loses everything. */
  link: 20,
  /** It loses what goes one way. */
  'one way': 20,
  /** An application reaches nobody. */
  application: 10,
  /** A database is reached by nobody. */
  database: 8,
  /** A link comes and goes. */
  flapping: 8,
  /** An application stands still for longer than its lease, half of the time cut off besides. */
  paused: 6,
  /** An application is killed while it reaches nobody, and another one starts in its place. */
  killed: 5,
} as const;

export type Kind = keyof typeof WEIGHTS;

const LEAST_GAP_MS = 150;
const LONGEST_GAP_MS = 1_500;
const FLAPS = 6;

export class Nemesis {
  readonly happened: Partial<Record<Kind, number>> = {};
  readonly #network: Network;
  readonly #random: Random;
  readonly #applications: readonly { readonly host: Host; readonly teller: Teller }[];
  readonly #databases: readonly Host[];
  readonly #leaseMs: number;
  /** How many causes there are for what is lost from one host to another. */
  readonly #causes = new Map<string, number>();
  /** Applications that stand still or are started anew. */
  readonly #busy = new Set<string>();

  constructor(
    network: Network,
    random: Random,
    applications: readonly { readonly host: Host; readonly teller: Teller }[],
    databases: readonly Host[],
    leaseMs: number,
  ) {
    this.#network = network;
    this.#random = random;
    this.#applications = applications;
    this.#databases = databases;
    this.#leaseMs = leaseMs;
  }

  /** Lets things happen for so long, and resolves when all is whole again. */
  async run(forMs: number): Promise<void> {
    const happening: Promise<void>[] = [];
    for (const end = performance.now() + forMs; performance.now() < end;) {
      await sleep(this.#random.whole(LEAST_GAP_MS, LONGEST_GAP_MS));
      const one = this.#letHappen();
      // Awaited below, with the others.
      one.catch(() => undefined);
      happening.push(one);
    }
    await Promise.all(happening);
  }

  /** Everything between the applications and the databases is lost while `use` is under way. */
  async whileAllIsLost(use: () => Promise<void>): Promise<void> {
    for (const { host } of this.#applications) await this.#cut(host, this.#databases);
    await use();
    for (const { host } of this.#applications) await this.#heal(host, this.#databases);
  }

  async #letHappen(): Promise<void> {
    const random = this.#random;
    const kind = random.weighted(WEIGHTS);
    const { host, teller } = random.pick(this.#applications);
    const database = random.pick(this.#databases);
    // From a hiccup to longer than any lease.
    const forMs = random.whole(100, random.chance(0.3) ? this.#leaseMs * 3 : this.#leaseMs);
    const isOneWay = random.chance(0.5);
    if (kind === 'paused' || kind === 'killed') {
      if (this.#busy.has(host.name)) return;
      this.#busy.add(host.name);
    }
    this.happened[kind] = (this.happened[kind] ?? 0) + 1;
    switch (kind) {
      case 'link':
        await this.#cutFor(host, [database], forMs);
        break;
      case 'one way': {
        const [from, to] = isOneWay ? [host, database] : [database, host];
        await this.#lose(from, to);
        await sleep(forMs);
        await this.#restore(from, to);
        break;
      }
      case 'application':
        await this.#cutFor(host, this.#databases, forMs);
        break;
      case 'database':
        for (const each of this.#applications) await this.#cut(each.host, [database]);
        await sleep(forMs);
        for (const each of this.#applications) await this.#heal(each.host, [database]);
        break;
      case 'flapping':
        for (let time = 0; time < FLAPS; time++) {
          await this.#cutFor(host, [database], forMs / FLAPS / 2);
          await sleep(forMs / FLAPS / 2);
        }
        break;
      case 'paused':
        teller.pause();
        if (isOneWay) await this.#cutFor(host, this.#databases, this.#leaseMs + forMs);
        else await sleep(this.#leaseMs + forMs);
        teller.resume();
        this.#busy.delete(host.name);
        break;
      case 'killed':
        await this.#cut(host, this.#databases);
        await sleep(forMs / 2);
        await teller.kill();
        // What its system would still send by itself is lost too.
        await sleep(forMs / 2);
        await this.#heal(host, this.#databases);
        await teller.start();
        teller.order({ do: 'work' });
        this.#busy.delete(host.name);
    }
  }

  async #cutFor(host: Host, others: readonly Host[], ms: number): Promise<void> {
    await this.#cut(host, others);
    await sleep(ms);
    await this.#heal(host, others);
  }

  async #cut(host: Host, others: readonly Host[]): Promise<void> {
    for (const other of others) await Promise.all([this.#lose(host, other), this.#lose(other, host)]);
  }

  async #heal(host: Host, others: readonly Host[]): Promise<void> {
    for (const other of others) await Promise.all([this.#restore(host, other), this.#restore(other, host)]);
  }

  async #lose(from: Host, to: Host): Promise<void> {
    const way = `${from.name}>${to.name}`;
    const causes = this.#causes.get(way) ?? 0;
    this.#causes.set(way, causes + 1);
    if (causes === 0) await this.#network.lose(from, to);
  }

  async #restore(from: Host, to: Host): Promise<void> {
    const way = `${from.name}>${to.name}`;
    const causes = this.#causes.get(way)!;
    this.#causes.set(way, causes - 1);
    if (causes === 1) await this.#network.restore(from, to);
  }
}
