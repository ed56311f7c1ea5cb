// Throughput of several ways to do the same. Every slice of a contender lies between two of the baseline, and only their ratio counts.
import { join } from 'node:path';
import { Contender } from '../contender.ts';
import { type Choice, type MeasureOptions, roundsOf } from '../options.ts';
import { type Spread, ascending, quantile, shuffled, spreadOf } from '../statistics.ts';
import { type Counts, type CountsFsyncs, countOnce } from './counts.ts';
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
  /** How many clients there are by default; 1 and 16 where it isn't said. */
  readonly clients?: readonly number[];
  /** How many rounds there are by default; 15 where it isn't said. */
  readonly rounds?: number;
  readonly workloads: Readonly<
    Partial<Record<Workload, { readonly title: string; readonly entries: readonly Entry<NoInfer<Name>>[] }>>
  >;
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
  /** Round trips and fsyncs of a transaction of a single client, where they were counted. */
  readonly flights?: number | undefined;
  readonly fsyncs?: number | undefined;
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

/** Where it is measured. */
export type Where = {
  /** The servers' addresses, which are handed to the contenders. */
  readonly urls: readonly string[];
  readonly fsyncs: CountsFsyncs;
};

/** Told of each table, also of one that has only some of its rounds. */
export type Heard = (table: ThroughputTable, complete: boolean) => void;

const TOLERANCE = 0.05;
const LONGEST_WARM_UP_MS = 15_000;
const MEASURED_MS = 250;
const UNMEASURED_MS = 200;
const CLIENTS = [1, 16] as const;

// What each takes, in seconds; only to say how long it will be.
const SLICE_SECONDS = (MEASURED_MS + UNMEASURED_MS + 15) / 1000;
const START_SECONDS = 0.4;
const WARM_UP_SECONDS = 6;
const COUNT_SECONDS = 1.5;

/** What is measured of a comparison: the baseline against itself, and the entries that are asked for. */
function entriesOf(comparison: Comparison, entries: readonly Entry[], choice: Choice): readonly Entry[] {
  const { baseline } = comparison;
  const wanted = choice.contenders.map((part) => part.toLowerCase());
  const own = entries.filter(
    ({ title, other }) =>
      (other !== true || choice.compares) &&
      (wanted.length === 0 || wanted.some((part) => title.toLowerCase().includes(part))),
  );
  return [{ ...baseline, title: `${baseline.title}, again` }, ...own];
}

/** The workloads of which an entry is asked for. */
function workloadsOf(
  comparison: Comparison,
  choice: Choice,
): readonly { readonly workload: string; readonly title: string; readonly entries: readonly Entry[] }[] {
  return Object.entries(comparison.workloads).flatMap(([workload, work]) => {
    const entries = work === undefined ? [] : entriesOf(comparison, work.entries, choice);
    return entries.length > 1 ? [{ workload, title: work!.title, entries }] : [];
  });
}

function clientsOf(comparison: Comparison, choice: Choice): readonly number[] {
  return choice.clients ?? comparison.clients ?? CLIENTS;
}

/** How long it will be, in seconds. */
export function secondsOfThroughput(comparison: Comparison, choice: Choice): number {
  const rounds = roundsOf(choice, comparison.rounds);
  return workloadsOf(comparison, choice)
    .map(({ entries }) => {
      const each = secondsOfRound(entries.length) * rounds * clientsOf(comparison, choice).length;
      return secondsOfStart(entries.length, choice) + each;
    })
    .reduce((sum, seconds) => sum + seconds, 0);
}

function secondsOfStart(entries: number, { counts, quick }: Choice): number {
  const warmUp = START_SECONDS + WARM_UP_SECONDS / (quick ? 2 : 1);
  return (entries + 1) * warmUp + (counts ? entries * COUNT_SECONDS : 0);
}

function secondsOfRound(entries: number): number {
  return (2 * entries + 1) * SLICE_SECONDS;
}

/** Measures each workload, with each number of clients. */
export async function measureThroughput(
  comparison: Comparison,
  { urls, fsyncs }: Where,
  options: MeasureOptions,
  heard: Heard,
): Promise<void> {
  const { baseline } = comparison;
  const start = (entry: Entry): Promise<Contender> => {
    const build = entry.other === true ? options.compare! : options.folder;
    const script = join(build, 'bench', comparison.folder, 'process.js');
    return Contender.start(entry.title, script, [entry.name, ...urls]);
  };
  for (const { workload, title: work, entries } of workloadsOf(comparison, options)) {
    const title = `${comparison.title}, ${work}`;
    const { progress } = options;
    const contenders: Contender[] = [];
    try {
      progress.did(0, `${title}: starting ${entries.length + 1} processes`);
      const counts: (Counts | undefined)[] = [];
      for (const entry of entries) {
        // Another build may be older than what is asked for here.
        const isCounted = options.counts && entry.other !== true;
        counts.push(isCounted ? await countOnce(() => start(entry), workload, fsyncs) : undefined);
      }
      for (const entry of [baseline, ...entries]) contenders.push(await start(entry));
      const most = Math.max(...clientsOf(comparison, options));
      for (const contender of contenders) await warmUp(contender, workload, most, options.quick);
      progress.did(secondsOfStart(entries.length, options), `${title}: warmed up`);
      for (const clients of clientsOf(comparison, options)) {
        const rounds = roundsOf(options, comparison.rounds);
        await measure(contenders, workload, clients, rounds, (round, rows) => {
          const counted = rows.map((row, index) => ({ ...row, ...counts[index] }));
          const valid = Math.abs(rows[0]!.ratio.median - 1) <= TOLERANCE;
          const { table } = comparison;
          heard(
            { table, title, baseline: baseline.title, clients, rounds: round, valid, rows: counted },
            round === rounds,
          );
          progress.did(secondsOfRound(entries.length), `${title}: ${clients} clients`);
        });
      }
    } finally {
      for (const contender of contenders) await contender.stop();
    }
  }
}

function slice(contender: Contender, workload: string, clients: number): Promise<SliceAnswer> {
  const request: SliceRequest = { workload, clients, unmeasuredMs: UNMEASURED_MS, measuredMs: MEASURED_MS };
  return contender.ask('slice', request);
}

/** Works with the most clients until all connections are there, and all that is called often is optimised. */
async function warmUp(contender: Contender, workload: string, clients: number, quick: boolean): Promise<void> {
  const [enoughMs, enough] = quick ? [500, 2_000] : [1_500, 15_000];
  let transactions = 0;
  for (let ms = 0; (ms < enoughMs || transactions < enough) && ms < LONGEST_WARM_UP_MS; ms += MEASURED_MS) {
    transactions += (await slice(contender, workload, clients)).latencies.length;
  }
}

/** What the slices of a contender have shown. */
type Slices = {
  readonly contender: Contender;
  readonly answers: SliceAnswer[];
  readonly ratios: number[];
  readonly cpu: number[];
};

/** The first of the contenders is the baseline. Tells the rows behind each round. */
async function measure(
  all: readonly Contender[],
  workload: string,
  clients: number,
  rounds: number,
  heard: (round: number, rows: readonly ThroughputRow[]) => void,
): Promise<void> {
  const [base, ...contenders] = all as readonly [Contender, ...Contender[]];
  const slices = contenders.map((contender): Slices => ({ contender, answers: [], ratios: [], cpu: [] }));
  // Other numbers of clients were at work before.
  for (const contender of all) await slice(contender, workload, clients);
  for (let round = 1; round <= rounds; round++) {
    let before = await slice(base, workload, clients);
    for (const { contender, answers, ratios, cpu } of shuffled(slices)) {
      const answer = await slice(contender, workload, clients);
      const after = await slice(base, workload, clients);
      answers.push(answer);
      ratios.push((2 * answer.rate) / (before.rate + after.rate));
      cpu.push((2 * answer.cpu) / (before.cpu + after.cpu));
      before = after;
    }
    heard(round, slices.map(rowOf));
  }
}

function rowOf({ contender, answers, ratios, cpu }: Slices): ThroughputRow {
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
}
