// The random form: two tellers of the soak on machines of their own make transfers while links are cut and healed. After each round all is
// healed, recovery ends what is left, and the books are checked.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Breach, check } from '../soak/checks.ts';
import { Random } from '../soak/random.ts';
import type { Setting, Word } from '../soak/setting.ts';
import { Tally } from '../soak/tally.ts';
import { PATIENCE_MS, Teller } from '../soak/tellers.ts';
import { nodeOn } from './applications.ts';
import { type Kind, Nemesis } from './nemesis.ts';
import type { Site } from './site.ts';

export interface RoundsOptions {
  readonly seed: string;
  /** For how long things are cut in each round, in milliseconds. */
  readonly rounds: readonly number[];
  readonly atOnce: number;
  readonly leaseMs: number;
}

/** What was found after a round. */
export interface Checked {
  readonly breaches: readonly Breach[];
  /** How long it took until every caller was told, in milliseconds, and whether nothing was reached meanwhile. */
  readonly toldMs: number;
  readonly wasCutOff: boolean;
  /** Whether some of them were not told as long as nothing was reached. */
  readonly wereLeft: boolean;
  /** How long it took from then on until nothing was left. */
  readonly settledMs: number;
}

export interface RoundsResult {
  readonly tally: Tally;
  readonly happened: Partial<Record<Kind, number>>;
  /** How often each error has ended an attempt, by its code. */
  readonly errors: ReadonlyMap<string, number>;
  readonly checks: readonly Checked[];
}

const NAMES = ['x', 'y'];
/** Longer than all attempts of a transfer, each to its deadline and what comes behind that. */
const CUT_OFF_PATIENCE_MS = 75_000;
const LOOK_EVERY_MS = 100;
const CLEAN_LOOKS = 5;

export async function runRounds(
  site: Site,
  { seed, rounds, atOnce, leaseMs }: RoundsOptions,
  onChecked: (checked: Checked, tally: Tally) => void = () => undefined,
): Promise<RoundsResult> {
  const tally = new Tally();
  const errors = new Map<string, number>();
  const hear = (name: string, life: number, word: Word): void => {
    tally.hear(name, life, word);
    if (word.is === 'ended') for (const code of word.codes) errors.set(code, (errors.get(code) ?? 0) + 1);
  };
  const applications = await Promise.all(
    NAMES.map(async (name) => {
      const host = await site.network.add(name);
      const setting = (life: number): Setting => {
        return { name, life, seed, urls: site.urls, leaseMs, recovery: 'fence', atOnce };
      };
      const listener = {
        heard: (_teller: Teller, life: number, word: Word) => hear(name, life, word),
        died: (_teller: Teller, how: string) => void tally.deaths.push(`${name}: ${how}`),
      };
      return { host, teller: new Teller(name, setting, listener, nodeOn(host)) };
    }),
  );
  const tellers = applications.map(({ teller }) => teller);
  const databases = site.hostsOf(['a', 'b', 'c']);
  const nemesis = new Nemesis(site.network, new Random(seed), applications, databases, leaseMs);
  const checks: Checked[] = [];
  try {
    await Promise.all(tellers.map((teller) => teller.start()));
    for (const [index, forMs] of rounds.entries()) {
      for (const teller of tellers) teller.order({ do: 'work' });
      await nemesis.run(forMs);

      const wasCutOff = index % 2 === 0;
      const overAt = performance.now();
      // Whoever waits for an answer must be told without one, too.
      let wereLeft = false;
      if (wasCutOff) {
        await nemesis.whileAllIsLost(async () => {
          await Promise.all(tellers.map((teller) => teller.ask({ do: 'rest' }, 'resting', CUT_OFF_PATIENCE_MS)));
          wereLeft = performance.now() - overAt >= CUT_OFF_PATIENCE_MS;
        });
      }
      if (!wasCutOff || wereLeft) await rest(tellers);
      const toldAt = performance.now();
      await settle(site, tally);
      const settledMs = performance.now() - toldAt;
      const state = {
        banks: await site.read(),
        decisions: await site.decisions(),
        outbox: [],
        counters: undefined,
      };
      const checked = { breaches: check(state, tally), toldMs: toldAt - overAt, wasCutOff, wereLeft, settledMs };
      checks.push(checked);
      onChecked(checked, tally);
      if (checked.breaches.length > 0) break;
    }
    return { tally, happened: nemesis.happened, errors, checks };
  } finally {
    await Promise.all(tellers.map((teller) => teller.kill()));
  }
}

async function rest(tellers: readonly Teller[]): Promise<void> {
  await Promise.all(tellers.map((teller) => teller.ask({ do: 'rest' }, 'resting')));
}

/** Waits until recovery, which runs in the tellers, has left nothing; or for so long that it never will. */
async function settle(site: Site, tally: Tally): Promise<void> {
  let looks = 0;
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(LOOK_EVERY_MS)) {
    const left = [await site.prepared(), await site.decisions(), tally.doubts].flat();
    // What a killed teller has sent may still be under way at a server.
    looks = left.length === 0 ? looks + 1 : 0;
    if (looks === CLEAN_LOOKS) return;
  }
}
