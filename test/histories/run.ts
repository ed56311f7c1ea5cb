// One run: processes of clients work on two databases while things go wrong, all comes to rest, and the checker looks at what they have
// written down.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Across, type Anomaly, across, check, isForbidden } from './check.ts';
import { type DatabaseName, DATABASES, type History } from './history.ts';
import { ClientProcess, PATIENCE_MS } from './processes.ts';
import { type Line, historyOf, linesOf } from './record.ts';
import { type Isolation, type Product, type Setting, type StoreName, levelsOf, now } from './setting.ts';
import { type Troubles, makeTrouble, planTrouble } from './trouble.ts';
import type { Databases, World } from './world.ts';

export interface RunOptions {
  readonly seed: string;
  readonly isolation: Isolation;
  readonly product: Product;
  readonly forMs: number;
  /** Each has two processes. */
  readonly stores: readonly StoreName[];
  readonly atOnce: number;
  readonly leaseMs: number;
  /** Goes on for longer where the machine is slow: until so many attempts have committed that have changed both. */
  readonly least?: number;
}

export interface RunResult {
  readonly options: RunOptions;
  readonly lines: readonly Line[];
  readonly history: History;
  readonly anomalies: readonly Anomaly[];
  /** Those that break a promise. */
  readonly forbidden: readonly Anomaly[];
  /** What else must not be. */
  readonly breaches: readonly string[];
  readonly across: Across;
  readonly troubles: Troubles;
  readonly settledMs: number;
  readonly load: number;
  /** Where the evidence is; undefined where nothing is broken. */
  readonly evidence: string | undefined;
}

const LOOK_EVERY_MS = 100;
const CLEAN_LOOKS = 5;

export async function runIn(world: World, options: RunOptions): Promise<RunResult> {
  const { seed, isolation, product, stores, forMs, leaseMs, atOnce } = options;
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-histories-'));
  const databases = await world.databases(product);
  const files: string[] = [];
  const startedAt = now();
  const processes = [...stores, ...stores].map((store, index) => {
    const name = `p${index + 1}`;
    return new ClientProcess(name, (life): Setting => {
      const file = join(folder, `${name}.${life}.jsonl`);
      files.push(file);
      return { name, life, seed, isolation, product, urls: databases.urls, store, leaseMs, atOnce, startedAt, file };
    });
  });
  const endAll = (): void => {
    for (const each of processes) each.killNow();
  };
  process.on('exit', endAll);
  let isBroken = true;
  try {
    await Promise.all(processes.map((each) => each.start()));
    for (const each of processes) each.order({ do: 'work' });
    const troubles = await makeTrouble(planTrouble(seed, forMs, processes.length), forMs, databases, processes);
    await until(files, options.least ?? 0);
    const load = loadavg()[0]!;
    await Promise.all(processes.map((each) => each.rest()));
    const restedAt = performance.now();
    const left = await settle(databases);
    const settledMs = performance.now() - restedAt;
    const lists = await listsOf(databases);
    await Promise.all(processes.map((each) => each.kill()));

    const lines = linesOf(files);
    const history = historyOf(lines, lists);
    const anomalies = check(history);
    const levels = levelsOf(product, isolation);
    const forbidden = anomalies.filter((anomaly) => isForbidden(anomaly, levels));
    const breaches = [...left, ...processes.flatMap(({ deaths }) => deaths), ...breachesOf(lines, product)];
    isBroken = forbidden.length + breaches.length > 0;
    if (isBroken) {
      const found = { options, forbidden, breaches, lists: [...lists].map(([name, of]) => [name, [...of]]) };
      writeFileSync(join(folder, 'found.json'), JSON.stringify(found, undefined, 1));
    }
    return {
      options,
      lines,
      history,
      anomalies,
      forbidden,
      breaches,
      across: across(history),
      troubles,
      settledMs,
      load,
      evidence: isBroken ? folder : undefined,
    };
  } finally {
    endAll();
    process.off('exit', endAll);
    await Promise.all(DATABASES.map((name) => databases.books[name].close()));
    if (!isBroken) rmSync(folder, { recursive: true, force: true });
  }
}

async function until(files: readonly string[], least: number): Promise<void> {
  const isBoth = (line: Line): boolean =>
    line.at === 'told' && (line.way === 'two-phase' || line.way === 'last-resource');
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(LOOK_EVERY_MS)) {
    if (linesOf(files).filter(isBoth).length >= least) return;
  }
}

/** Waits until recovery, which runs in the processes, has left nothing; what it has left where it never will. */
async function settle({ books }: Databases): Promise<string[]> {
  let looks = 0;
  let left: string[] = [];
  for (const end = performance.now() + PATIENCE_MS / 2; performance.now() < end; await sleep(LOOK_EVERY_MS)) {
    left = (await Promise.all(DATABASES.map((name) => books[name].underWay()))).flat();
    looks = left.length === 0 ? looks + 1 : 0;
    if (looks === CLEAN_LOOKS) return [];
  }
  return left.map((what) => `left under way: ${what}`);
}

async function listsOf({ books }: Databases): Promise<History['lists']> {
  const lists = await Promise.all(DATABASES.map(async (name) => [name, await books[name].lists()] as const));
  return new Map<DatabaseName, Awaited<(typeof lists)[number]>[1]>(lists);
}

const REFUSED = '40001';

/** What is no matter of a history. */
function breachesOf(lines: readonly Line[], product: Product): string[] {
  return lines.flatMap((line) => {
    if (line.at === 'reported' && line.code === 'ERR_TXN_HEURISTIC') return [line.message];
    const isRefused = line.at === 'told' && line.isDeferrable === true && line.code === REFUSED;
    return isRefused && product === 'postgres' ? [`${line.id}: deferrable and only reading, it was refused`] : [];
  });
}
