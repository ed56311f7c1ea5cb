// Under load for minutes: more clients than connections, and a mix of transactions of which many fail. By run() and by hand in turns.
import { join } from 'node:path';
import { Contender } from '../contender.ts';
import { heapFinding, slope } from '../leaks/blocks.ts';
import type { Choice, MeasureOptions } from '../options.ts';
import { readyPostgres, withServers } from '../servers.ts';
import { ascending, quantile, shuffled } from '../statistics.ts';
import type { Part } from '../tables.ts';
import { printTable } from '../text.ts';
import type { EndAnswer, RestAnswer, WorkAnswer, WorkRequest } from './report.ts';
import type { WayName } from './ways.ts';

const CLIENTS = 64;
const titles: Readonly<Record<WayName, string>> = { byHand: 'hand-written pg', byRun: 'run()' };
/** What the heap does in fewer minutes is noise. */
const ENOUGH_MINUTES = 5;

/** What one of the ways did in a minute, of which it had the half. */
export type Minute = {
  /** Transactions a second, of all kinds. */
  readonly rate: number;
  readonly transactions: number;
  /** Microseconds of those that commit. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  /** Bytes behind it, all garbage collected. */
  readonly heap: number;
};

export type LoadWayResult = {
  readonly title: string;
  readonly minutes: readonly Minute[];
  /** Of the whole time. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly end: EndAnswer | undefined;
};

export type LoadResult = {
  readonly version: string;
  readonly clients: number;
  readonly ways: readonly LoadWayResult[];
  /** Whether run() leaves nothing behind. */
  readonly held: boolean;
};

/** Collects what one way does. */
class Measured {
  readonly title: string;
  readonly contender: Contender;
  readonly minutes: Minute[] = [];
  #minute: WorkAnswer[] = [];
  readonly #latencies: Float64Array[] = [];

  constructor(title: string, contender: Contender) {
    this.title = title;
    this.contender = contender;
  }

  async work(ms: number): Promise<WorkAnswer> {
    return this.contender.ask<WorkAnswer>('work', { clients: CLIENTS, ms } satisfies WorkRequest);
  }

  heard(answer: WorkAnswer): void {
    this.#minute.push(answer);
    this.#latencies.push(answer.latencies);
  }

  async endMinute(): Promise<void> {
    const { heap } = await this.contender.ask<RestAnswer>('rest');
    const all = this.#minute;
    this.#minute = [];
    const transactions = all.reduce((sum, each) => sum + each.transactions, 0);
    const rate = transactions / all.reduce((sum, { seconds }) => sum + seconds, 0);
    this.minutes.push({ rate, transactions, heap, ...quantilesOf(all.map(({ latencies }) => latencies)) });
  }

  result(end: EndAnswer | undefined): LoadWayResult {
    return { title: this.title, minutes: this.minutes, ...quantilesOf(this.#latencies), end };
  }
}

function quantilesOf(slices: readonly Float64Array[]): { p50: number; p99: number; p999: number } {
  const sorted = ascending(slices.flatMap((slice) => [...slice]));
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), p999: quantile(sorted, 0.999) };
}

function sizesOf({ quick, minutes }: Choice): { slices: number; sliceMs: number; minutes: number } {
  return quick ? { slices: 2, sliceMs: 1_000, minutes: Math.min(minutes, 2) } : { slices: 6, sliceMs: 5_000, minutes };
}

/** Seconds for which garbage is collected, and everybody comes to rest. */
const REST_SECONDS = 1;

function secondsOf(choice: Choice): number {
  const { slices, sliceMs, minutes } = sizesOf(choice);
  return 5 + (2 * slices * minutes + 2) * (sliceMs / 1000) + minutes * REST_SECONDS;
}

async function loaded(
  options: MeasureOptions,
  version: string,
  all: readonly Measured[],
  save: (result: LoadResult) => void,
): Promise<LoadResult> {
  const { slices, sliceMs, minutes } = sizesOf(options);
  // Not counted: connections are made, and what is called often is optimised.
  for (const each of all) await each.work(sliceMs);
  for (let minute = 1; minute <= minutes; minute++) {
    for (let slice = 0; slice < slices; slice++) {
      for (const each of shuffled(all)) each.heard(await each.work(sliceMs));
    }
    for (const each of all) await each.endMinute();
    options.progress.did((2 * slices * sliceMs) / 1000 + REST_SECONDS, `load, minute ${minute}`);
    save({ version, clients: CLIENTS, ways: all.map((each) => each.result(undefined)), held: false });
  }
  const results: LoadWayResult[] = [];
  for (const each of all) results.push(each.result(withHeap(each.minutes, await each.contender.ask<EndAnswer>('end'))));
  const ours = results.find(({ title }) => title === titles.byRun)!;
  return { version, clients: CLIENTS, ways: results, held: ours.end!.findings.every(({ held }) => held) };
}

function withHeap(minutes: readonly Minute[], { endings, findings }: EndAnswer): EndAnswer {
  const transactions = minutes.reduce((sum, minute) => sum + minute.transactions, 0) / minutes.length;
  const bytes = minutes.length < 2 ? 0 : slope(minutes.map(({ heap }) => heap)) / transactions;
  const finding = heapFinding(bytes, minutes.length >= ENOUGH_MINUTES, `before ${ENOUGH_MINUTES} minutes`);
  return { endings, findings: [finding, ...findings] };
}

export const loadPart: Part<LoadResult> = {
  name: 'load',
  table: '',
  seconds: secondsOf,
  measure: (options, save) =>
    withServers([readyPostgres], async ([server]) => {
      const all: Measured[] = [];
      try {
        for (const name of Object.keys(titles) as WayName[]) {
          const script = join(options.folder, 'bench', 'load', 'process.js');
          all.push(new Measured(titles[name], await Contender.start(titles[name], script, [name, server!.urls[0]!])));
        }
        const result = await loaded(options, server!.version, all, save);
        printLoad(result);
        return result;
      } finally {
        for (const { contender } of all) await contender.stop();
      }
    }),
  print: printLoad,
};

function printLoad({ version, clients, ways }: LoadResult): void {
  const length = ways[0]?.minutes.length ?? 0;
  console.log(`\n${version}\n\nUnder load: ${clients} clients, 16 connections, ${length} minutes, in turns\n`);
  const rows = Array.from({ length }, (_, minute) =>
    ways.map(({ title, minutes }) => rowOf(String(minute + 1), title, minutes[minute]!)),
  ).flat();
  const whole = ways.map(({ title, minutes, ...quantiles }) =>
    rowOf('all', title, { ...sumOf(minutes), ...quantiles, heap: minutes.at(-1)?.heap ?? 0 }),
  );
  printTable(['minute', '', 'a second', 'p50 ms', 'p99 ms', 'p99.9 ms', 'heap kB'], [...rows, ...whole]);
  for (const { title, end } of ways) if (end !== undefined) printEnd(title, end);
}

function sumOf(minutes: readonly Minute[]): { rate: number; transactions: number } {
  return {
    rate: minutes.reduce((sum, { rate }) => sum + rate, 0) / minutes.length,
    transactions: minutes.reduce((sum, { transactions }) => sum + transactions, 0),
  };
}

function rowOf(minute: string, title: string, { rate, p50, p99, p999, heap }: Minute): string[] {
  const ms = (us: number): string => (us / 1000).toFixed(1);
  return [minute, title, rate.toFixed(0), ms(p50), ms(p99), ms(p999), (heap / 1000).toFixed(0)];
}

function printEnd(title: string, { endings, findings }: EndAnswer): void {
  console.log(`\n${title}: how they ended, and what is left over\n`);
  const ends = Object.entries(endings).map(([kind, all]) => [
    kind,
    Object.entries(all)
      .map(([end, count]) => `${count} ${end}`)
      .join(', '),
  ]);
  printTable(['kind', 'ended'], ends);
  console.log('');
  printTable(
    ['left over', 'found', 'allowed', ''],
    findings.map(({ title: found, ...each }) => [found, each.found, each.allowed, each.held ? 'holds' : 'MISSED']),
  );
}
