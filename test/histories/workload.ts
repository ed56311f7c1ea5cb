// What a transaction does: appends to lists and reads them, in one of the databases or in both, and what ends it. Drawn from the seed, but
// for the keys in use, which change with the time, so that lists stay short.
import type { Random } from '../soak/random.ts';
import { DATABASES, type DatabaseName } from './history.ts';
import { type Isolation, type Product, levelsOf, mayRewrite } from './setting.ts';

/** `rewrite` reads a list and writes it back with a value more; `undo` appends and takes it back by a savepoint. */
export type Action = 'append' | 'rewrite' | 'read' | 'undo';

export interface PlannedStep {
  readonly do: Action;
  readonly database: DatabaseName;
  readonly key: string;
  /** Before it, in milliseconds. */
  readonly pauseMs: number;
}

export interface Plan {
  readonly steps: readonly PlannedStep[];
  /** What ends it: nothing, an error that is thrown when all is done, or a deadline that is too short for most. */
  readonly end: 'commit' | 'throw' | 'time out';
  readonly readOnly: boolean;
  /** Waits for a moment in which it can't be refused: of use where it is serializable and only reads. */
  readonly deferrable: boolean;
}

export interface PlanOptions {
  readonly isolation: Isolation;
  readonly product: Product;
  /** Milliseconds since the run began. */
  readonly atMs: number;
}

/** Reads at once what was acknowledged a moment ago: it must be there, in both databases. */
export function readBack(steps: readonly PlannedStep[]): Plan {
  const keys = new Map(steps.map(({ database, key }) => [`${database}/${key}`, { database, key }]));
  const reads = Array.from(keys.values(), (at): PlannedStep => ({ do: 'read', ...at, pauseMs: 0 }));
  return { steps: reads, end: 'commit', readOnly: false, deferrable: false };
}

const KEYS_MS = 1_000;
const ACTIONS = { append: 48, rewrite: 12, read: 35, undo: 5 } as const;

export function drawPlan(random: Random, { isolation, product, atMs }: PlanOptions): Plan {
  const levels = levelsOf(product, isolation);
  const kind = random.weighted({ 'write both': 58, 'write one': 14, 'read both': 16, 'declared reader': 12 });
  const readOnly = kind === 'declared reader';
  const taking = kind === 'write one' ? [random.pick(DATABASES)] : random.shuffled(DATABASES);
  const now = Math.floor(atMs / KEYS_MS);
  const step = (database: DatabaseName, action: Action): PlannedStep => ({
    do: action === 'rewrite' && !mayRewrite(levels[database]) ? 'append' : action,
    database,
    // Some keys are wanted by more than others, and the last ones by some who come late.
    key: `${random.chance(0.15) ? Math.max(0, now - 1) : now}.${random.weighted({ 0: 4, 1: 3, 2: 2, 3: 1 })}`,
    pauseMs: random.chance(0.4) ? random.whole(1, 4) : 0,
  });
  const some = (): PlannedStep[] => {
    if (kind === 'read both' || readOnly)
      return taking.flatMap((name) => Array.from({ length: random.whole(1, 3) }, () => step(name, 'read')));
    // Each has one append at least, so that both are changed, and some further steps in any order.
    const more = Array.from({ length: random.whole(0, 4) }, () =>
      step(random.pick(taking), random.weighted<Action>(ACTIONS)),
    );
    return random.shuffled([...taking.map((name) => step(name, 'append')), ...more]);
  };
  return {
    steps: some().flatMap((each) => (each.do === 'append' && random.chance(0.15) ? [each, each] : [each])),
    end: random.weighted({ commit: 91, throw: 6, 'time out': 3 }),
    readOnly,
    deferrable: readOnly && isolation === 'serializable' && random.chance(0.5),
  };
}
