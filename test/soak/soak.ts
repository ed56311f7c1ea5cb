// The soak: tellers make transfers while things go wrong, round by round. After each round everything comes to rest, recovery ends what
// is left, and the books are checked.
import { setTimeout as sleep } from 'node:timers/promises';
import { Chaos } from './chaos.ts';
import { type Breach, check } from './checks.ts';
import { Evidence } from './evidence.ts';
import { type State, readCounters } from './ledgers.ts';
import { type MishapKind, planRound } from './plan.ts';
import type { RecoveryKind, Setting } from './setting.ts';
import { Tally } from './tally.ts';
import { PATIENCE_MS, Teller } from './tellers.ts';
import { World } from './world.ts';

export interface SoakOptions {
  readonly seed: string;
  readonly recovery: RecoveryKind;
  /** For how long things go wrong in each round, in milliseconds. */
  readonly rounds: readonly number[];
  readonly tellers: number;
  readonly atOnce: number;
  readonly leaseMs: number;
  readonly kinds: readonly MishapKind[];
  /** Goes on where something is broken, to find out how much more will be. */
  readonly goesOn: boolean;
}

/** What is told while it runs. */
export interface Watcher {
  opened(world: World): void;
  /** Every few seconds. */
  goesOn(tally: Tally, ms: number): void;
  checked(found: Checked, tally: Tally): void;
}

/** What was found at rest. */
export interface Checked {
  readonly round: number;
  readonly breaches: readonly Breach[];
  /** Transfers that are in the ledgers. */
  readonly transfers: number;
  /** How long it took from the end of the chaos until nothing was left, in milliseconds. */
  readonly settledMs: number;
}

export interface SoakResult {
  readonly tally: Tally;
  readonly breaches: readonly Breach[];
  readonly missing: readonly string[];
  readonly checks: readonly Checked[];
  /** Where the evidence is kept; undefined where nothing is broken. */
  readonly evidence: string | undefined;
}

const TELL_EVERY_MS = 5_000;
const LOOK_EVERY_MS = 100;
const CLEAN_LOOKS = 5;
/** How often what waits in the outbox is made due, where whoever stored it may have died. */
const DELIVER_EVERY_MS = 2_000;

/** Several tellers over one world. */
export class Bank {
  readonly world: World;
  readonly tellers: readonly Teller[];
  readonly tally: Tally = new Tally();
  readonly evidence: Evidence = new Evidence();
  /** When this process is interrupted. */
  readonly #endAll = (): void => {
    for (const teller of this.tellers) teller.killNow();
    this.evidence.drop();
  };

  constructor(world: World, options: Pick<SoakOptions, 'seed' | 'recovery' | 'tellers' | 'atOnce' | 'leaseMs'>) {
    this.world = world;
    const { seed, recovery, leaseMs, atOnce } = options;
    this.tellers = Array.from({ length: options.tellers }, (_, index) => {
      const name = `t${index + 1}`;
      const urls = world.urlsFor(index);
      const setting = (life: number): Setting => ({ name, life, seed, urls, leaseMs, recovery, atOnce });
      return new Teller(name, setting, {
        heard: (_teller, life, word) => {
          this.tally.hear(name, life, word);
          this.evidence.log(`${name}.${life}`, word);
        },
        died: (teller, how) => this.tally.deaths.push(`${teller.name}, life ${teller.life}: ${how}`),
      });
    });
    process.on('exit', this.#endAll);
  }

  async start(): Promise<void> {
    await Promise.all(this.tellers.map((teller) => teller.start()));
  }

  async rest(): Promise<void> {
    await Promise.all(this.tellers.map((teller) => teller.ask({ do: 'rest' }, 'resting')));
  }

  /** Waits until recovery, which runs in the tellers, has left nothing; or for so long that it never will. */
  async settle(): Promise<void> {
    const store = this.world.storeBooks();
    const banks = this.world.banks.map((name) => this.world.books(name));
    let deliveredAt = -Infinity;
    let looks = 0;
    try {
      for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(LOOK_EVERY_MS)) {
        const prepared = await Promise.all(banks.map((bank) => bank.prepared()));
        const [decisions, outbox] = [await store.decisions(), await store.outbox()];
        // What a killed teller has sent may still be under way at a server.
        const left = [...prepared.flat(), ...decisions, ...outbox, ...this.tally.doubts];
        looks = left.length === 0 ? looks + 1 : 0;
        if (looks === CLEAN_LOOKS) break;
        if (outbox.length > 0 && performance.now() - deliveredAt > DELIVER_EVERY_MS) {
          deliveredAt = performance.now();
          await store.deliverNow();
        }
      }
    } finally {
      await Promise.all([store, ...banks].map((books) => books.close()));
    }
  }

  /** What is in the databases. */
  async read(): Promise<State> {
    const { banks, places } = this.world;
    const store = this.world.storeBooks();
    try {
      const states = await Promise.all(
        banks.map(async (name) => {
          const books = this.world.books(name);
          return [name, await books.read().finally(() => books.close())] as const;
        }),
      );
      const counters = places.get('redis');
      return {
        banks: new Map(states),
        decisions: await store.decisions(),
        outbox: await store.outbox(),
        counters: counters === undefined ? undefined : await readCounters(counters.url, banks),
      };
    } finally {
      await store.close();
    }
  }

  async close(isBroken: boolean): Promise<void> {
    await Promise.all(this.tellers.map((teller) => teller.kill()));
    process.off('exit', this.#endAll);
    await this.evidence.close(isBroken);
  }
}

export async function soak(options: SoakOptions, watcher: Watcher): Promise<SoakResult> {
  const world = await World.open(options.tellers);
  try {
    watcher.opened(world);
    return await soakIn(world, options, watcher);
  } finally {
    await world.close();
  }
}

/** The same in a world that is there, and stays. */
export async function soakIn(world: World, options: SoakOptions, watcher: Watcher): Promise<SoakResult> {
  const bank = new Bank(world, options);
  const { tally, evidence } = bank;
  const checks: Checked[] = [];
  let chaosMs = 0;
  let isBroken = true;
  try {
    await bank.start();
    const chaos = new Chaos(world, bank.tellers, tally, evidence);
    for (const [index, forMs] of options.rounds.entries()) {
      const plan = planRound({ ...options, round: index + 1, forMs, servers: world.servers });
      for (const teller of bank.tellers) teller.order({ do: 'work' });
      const startedAt = performance.now();
      const passed = (): number => Math.min(forMs, performance.now() - startedAt);
      const telling = setInterval(() => watcher.goesOn(tally, chaosMs + passed()), TELL_EVERY_MS);
      await chaos.run(plan, forMs).finally(() => clearInterval(telling));
      chaosMs += forMs;

      const overAt = performance.now();
      await bank.rest();
      await bank.settle();
      const settledMs = performance.now() - overAt;
      const state = await bank.read();
      const breaches = check(state, tally);
      const transfers = new Set(
        [...state.banks.values()].flatMap(({ entries }) => entries.map((each) => each.transfer)),
      );
      const checked = { round: index + 1, breaches, transfers: transfers.size, settledMs };
      checks.push(checked);
      watcher.checked(checked, tally);
      if (breaches.length > 0) evidence.keep(breaches, state, world);
      if (breaches.length > 0 && !options.goesOn) break;
    }
    const breaches = checks.at(-1)?.breaches ?? [];
    isBroken = breaches.length > 0;
    return { tally, breaches, missing: world.missing, checks, evidence: isBroken ? evidence.folder : undefined };
  } catch (error) {
    throw new Error(`the soak could not go on; what has happened is in ${evidence.folder}`, { cause: error });
  } finally {
    await bank.close(isBroken);
  }
}
