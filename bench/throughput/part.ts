// A part of the tables that compares throughput on servers.
import { withDelay } from '../delay/proxy.ts';
import type { Spread } from '../statistics.ts';
import type { Part } from '../tables.ts';
import { type Start, fsyncsOf, withServers } from '../servers.ts';
import { printThroughput } from './print.ts';
import { type Comparison, type ThroughputTable, measureThroughput, secondsOfThroughput } from './table.ts';

/** What was measured, and on what. */
export type ThroughputResult = {
  readonly kind: 'throughput';
  /** The servers and their versions. */
  readonly version: string;
  readonly delayMs: number;
  /** How much longer round trips were in fact, in milliseconds. */
  readonly tookMs?: Spread | undefined;
  readonly tables: readonly ThroughputTable[];
};

/** The contenders are told the servers' addresses in this order. */
export function throughputPart(name: string, starts: readonly Start[], comparison: Comparison): Part<ThroughputResult> {
  return {
    name,
    table: String(comparison.table),
    seconds: (choice) => secondsOfThroughput(comparison, choice),
    canBeDelayed: true,
    measure: (options, save) =>
      withServers(starts, async (all) => {
        const version = all.map((each) => each.version).join(', ');
        const { delayMs, folder } = options;
        const tables: ThroughputTable[] = [];
        const resultOf = (some: readonly ThroughputTable[]): ThroughputResult => {
          return { kind: 'throughput', version, delayMs, tables: some };
        };
        const urls = all.flatMap((each) => each.urls);
        const measure = (near: readonly string[]): Promise<void> =>
          measureThroughput(comparison, { urls: near, fsyncs: () => fsyncsOf(all) }, options, (table, complete) => {
            if (complete) tables.push(table);
            save(resultOf(complete ? tables : [...tables, table]));
            if (complete) printTables(resultOf([table]));
          });
        if (delayMs === 0) {
          await measure(urls);
          return resultOf(tables);
        }
        return withDelay(urls, folder, delayMs, async (far, took) => {
          await measure(far);
          const tookMs = await took();
          printDelay(tookMs);
          return { ...resultOf(tables), tookMs };
        });
      }),
    print: printTables,
  };
}

function printDelay({ median, lower, upper }: Spread): void {
  const [middle, ...quartiles] = [median, lower, upper].map((ms) => ms.toFixed(2));
  console.log(`\nRound trips were ${middle} ms longer (median; quartiles ${quartiles.join('-')})`);
}

function printTables({ version, delayMs, tookMs, tables }: ThroughputResult): void {
  console.log(`\n${version}${delayMs > 0 ? `, each round trip ${delayMs} ms longer` : ''}`);
  for (const table of tables) printThroughput(table);
  if (tookMs !== undefined) printDelay(tookMs);
}
