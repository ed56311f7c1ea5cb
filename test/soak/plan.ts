// What is going to go wrong, and when: drawn from the seed alone, so that the same seed gives the same plan.
import { Random } from './random.ts';
import type { Point, ServerName } from './setting.ts';

/** Something that goes wrong, `atMs` after the beginning of its round. */
export type Mishap = { readonly atMs: number } & (
  | Kill
  | Pause
  | Strand
  | Crash
  | SpoiledLink
  | LostDecision
  | Delivery
);

/** A teller is gone, from one instruction to the next, and another one starts in its place. */
interface Kill {
  readonly kind: 'kill';
  readonly teller: number;
}

/** A teller stands still for longer than its lease, and then goes on where it was. */
interface Pause {
  readonly kind: 'pause';
  readonly teller: number;
  readonly forMs: number;
}

/** A teller stops itself in the middle of a commit, and goes on after that time, or is killed. */
interface Strand {
  readonly kind: 'strand';
  readonly teller: number;
  readonly point: Point;
  readonly forMs: number;
  readonly isKilled: boolean;
}

/** All processes of a server are gone, and it starts again. */
interface Crash {
  readonly kind: 'crash';
  readonly server: ServerName;
  readonly forMs: number;
}

/** What happens to the link between a teller and a server. */
interface SpoiledLink {
  readonly kind: Fault;
  readonly teller: number;
  readonly server: ServerName;
  readonly forMs: number;
}

/** The link to bank a breaks when a decision is on its way there, which arrives or doesn't; nobody gets through for that time. */
interface LostDecision {
  readonly kind: 'lose decision';
  readonly teller: number;
  readonly arrives: boolean;
  readonly forMs: number;
}

/** An operator has everything in the outbox delivered now, also what somebody is delivering. */
interface Delivery {
  readonly kind: 'deliver';
}

/** `cut`: all connections end. `refuse`: nobody gets through. `drop`: what is sent arrives, the replies don't. `hold`: all of it arrives later. */
export type Fault = 'cut' | 'refuse' | 'drop' | 'hold';

export type MishapKind = Mishap['kind'];

/** How often each happens, in relation to the others. */
const WEIGHTS: { readonly [K in MishapKind]: number } = {
  kill: 22,
  pause: 14,
  strand: 14,
  crash: 6,
  cut: 16,
  refuse: 10,
  drop: 12,
  hold: 12,
  'lose decision': 8,
  deliver: 4,
};

export const MISHAP_KINDS = Object.keys(WEIGHTS) as readonly MishapKind[];

/** What a plan is made for. */
export interface PlanOptions {
  readonly seed: string;
  readonly round: number;
  readonly forMs: number;
  readonly tellers: number;
  readonly servers: readonly ServerName[];
  readonly leaseMs: number;
  readonly kinds: readonly MishapKind[];
}

/** Mean time between two mishaps, in milliseconds, where all kinds happen; of a selection each happens as often as among all. */
const MEAN_GAP_MS = 800;

/** The mishaps of one round, in the order of their times. */
export function planRound({ seed, round, forMs, tellers, servers, leaseMs, kinds }: PlanOptions): Mishap[] {
  const random = new Random(`${seed}/round ${round}`);
  const weights = Object.fromEntries(kinds.map((kind) => [kind, WEIGHTS[kind]])) as typeof WEIGHTS;
  const meanGapMs = (MEAN_GAP_MS * sumOf(WEIGHTS)) / sumOf(weights);
  const gap = (): number => random.whole(meanGapMs / 8, (meanGapMs * 15) / 8);
  const mishaps: Mishap[] = [];
  for (let atMs = gap(); atMs < forMs; atMs += gap()) {
    const kind = random.weighted(weights);
    const teller = random.whole(0, tellers - 1);
    const server = random.pick(servers);
    switch (kind) {
      case 'kill':
        mishaps.push({ atMs, kind, teller });
        break;
      case 'pause':
        mishaps.push({ atMs, kind, teller, forMs: random.whole(leaseMs * 1.2, leaseMs * 3) });
        break;
      case 'strand':
        mishaps.push({
          atMs,
          kind,
          teller,
          point: random.chance(0.6) ? 'all prepared' : 'decided',
          forMs: random.whole(0, leaseMs * 2.5),
          isKilled: random.chance(0.5),
        });
        break;
      case 'crash':
        mishaps.push({ atMs, kind, server, forMs: random.whole(0, 3_000) });
        break;
      case 'cut':
        mishaps.push({ atMs, kind, teller, server, forMs: 0 });
        break;
      case 'refuse':
      case 'drop':
      case 'hold':
        mishaps.push({ atMs, kind, teller, server, forMs: random.whole(200, 2_500) });
        break;
      case 'lose decision':
        mishaps.push({ atMs, kind, teller, arrives: random.chance(0.5), forMs: random.whole(200, 4_000) });
        break;
      case 'deliver':
        mishaps.push({ atMs, kind });
    }
  }
  return mishaps;
}

function sumOf(weights: { readonly [kind: string]: number }): number {
  return Object.values(weights).reduce((sum, weight) => sum + weight, 0);
}
