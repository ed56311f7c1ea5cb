// Throughput of several ways to do the same. Every slice of a contender lies between two of the baseline, and only their ratio counts.
import { join } from 'node:path';
import { Contender } from '../contender.ts';
import { type Spread, ascending, quantile, shuffled, spreadOf } from '../statistics.ts';
import type { SliceAnswer, SliceRequest } from './slice.ts';

/** A row: a way, and how the table names it. */
export type Entry<Name extends string = string> = {
  readonly title: string;
  readonly name: Name;
  /** Of the other build, where there is one to compare with. */
  readonly other?: true;
};

/** What is compared with what. */
export type Comparison<Name extends string = string, Workload extends string = string> = {
  /** The folder of the contenders, which `process.js` in there runs. */
  readonly folder: string;
  /** The number of the table. */
  readonly table: number;
  /** What the work is done on. */
  readonly title: string;
  readonly baseline: Entry<Name>;
  readonly workloads: Readonly<
    Record<Workload, { readonly title: string; readonly entries: readonly Entry<NoInfer<Name>>[] }>
  >;
};

export type MeasureOptions = {
  /** Where it was built. */
  readonly folder: string;
  /** Another build of the same, to compare with. */
  readonly compare: string | undefined;
  readonly quick: boolean;
};

export type ThroughputRow = {
  readonly title: string;
  /** Throughput against the baseline's. */
  readonly ratio: Spread;
  /** Transactions a second. */
  readonly rate: number;
  /** Microseconds a transaction. */
  readonly p50: number;
  readonly p99: number;
  /** Microseconds of this process's CPU a transaction, and against the baseline's. */
  readonly cpu: number;
  readonly cpuRatio: number;
};

export type ThroughputTable = {
  readonly table: number;
  readonly title: string;
  readonly baseline: string;
  readonly clients: number;
  readonly rounds: number;
  /** Whether the baseline against itself was 1.00 ± 0.05. */
  readonly valid: boolean;
  readonly rows: readonly ThroughputRow[];
};

const TOLERANCE = 0.05;
const LONGEST_WARM_UP_MS = 10_000;
const CLIENTS = [1, 16] as const;

/** Measures each workload; `urls` are handed to the contenders. */
export async function measureThroughput(
  comparison: Comparison,
  urls: readonly string[],
  { folder, compare, quick }: MeasureOptions,
): Promise<ThroughputTable[]> {
  const { table, title, baseline } = comparison;
  const start = (entry: Entry): Promise<Contender> => {
    const build = entry.other === true ? compare! : folder;
    const script = join(build, 'bench', comparison.folder, 'process.js');
    return Contender.start(entry.title, script, [entry.name, ...urls]);
  };
  const tables: ThroughputTable[] = [];
  for (const [workload, { title: work, entries }] of Object.entries(comparison.workloads)) {
    const again: Entry = { ...baseline, title: `${baseline.title}, again` };
    const own = entries.filter(({ other }) => other !== true || compare !== undefined);
    const contenders: Contender[] = [];
    try {
      for (const entry of [baseline, again, ...own]) contenders.push(await start(entry));
      for (const clients of CLIENTS) {
        const { rounds, rows } = await measure(contenders, workload, clients, quick);
        const valid = Math.abs(rows[0]!.ratio.median - 1) <= TOLERANCE;
        tables.push({ table, title: `${title}, ${work}`, baseline: baseline.title, clients, rounds, valid, rows });
      }
    } finally {
      for (const contender of contenders) await contender.stop();
    }
  }
  return tables;
}

/** Works for a while, and until all that is called often is optimised. */
async function warmUp(ask: (change: Partial<SliceRequest>) => Promise<SliceAnswer>, quick: boolean): Promise<void> {
  const [enoughMs, enough] = quick ? [500, 2_000] : [1_500, 6_000];
  const measuredMs = 250;
  let transactions = 0;
  for (let ms = 0; (ms < enoughMs || transactions < enough) && ms < LONGEST_WARM_UP_MS; ms += measuredMs) {
    transactions += (await ask({ measuredMs })).latencies.length;
  }
}

/** The first of the contenders is the baseline. */
async function measure(
  all: readonly Contender[],
  workload: string,
  clients: number,
  quick: boolean,
): Promise<{ readonly rounds: number; readonly rows: readonly ThroughputRow[] }> {
  const [base, ...contenders] = all as readonly [Contender, ...Contender[]];
  const request: SliceRequest = { workload, clients, unmeasuredMs: 40, measuredMs: 250 };
  const ask = (contender: Contender, change?: Partial<SliceRequest>): Promise<SliceAnswer> =>
    contender.ask('slice', { ...request, ...change });
  for (const contender of all) await warmUp((change) => ask(contender, change), quick);

  const rounds = quick ? 5 : 15;
  const slices = contenders.map((contender) => ({
    contender,
    answers: [] as SliceAnswer[],
    ratios: [] as number[],
    cpu: [] as number[],
  }));
  for (let round = 0; round < rounds; round++) {
    let before = await ask(base);
    for (const { contender, answers, ratios, cpu } of shuffled(slices)) {
      const answer = await ask(contender);
      const after = await ask(base);
      answers.push(answer);
      ratios.push((2 * answer.rate) / (before.rate + after.rate));
      cpu.push((2 * answer.cpu) / (before.cpu + after.cpu));
      before = after;
    }
  }
  const rows = slices.map(({ contender, answers, ratios, cpu }): ThroughputRow => {
    const latencies = ascending(answers.flatMap((answer) => [...answer.latencies]));
    return {
      title: contender.name,
      ratio: spreadOf(ratios),
      rate: spreadOf(answers.map((answer) => answer.rate)).median,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      cpu: spreadOf(answers.map((answer) => answer.cpu)).median,
      cpuRatio: spreadOf(cpu).median,
    };
  });
  return { rounds, rows };
}
