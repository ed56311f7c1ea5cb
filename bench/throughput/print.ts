// A table of throughput as text.
import { printTable } from '../text.ts';
import type { ThroughputTable } from './table.ts';

const HEADER = ['', 'ratio', 'quartiles', 'a second', 'p50 µs', 'p99 µs', 'CPU µs', 'CPU ratio'] as const;

export function printThroughput({ table, title, baseline, clients, rounds, valid, rows }: ThroughputTable): void {
  console.log(
    `\nTable ${table}: ${title}, ${clients === 1 ? '1 client' : `${clients} clients`}; ` +
      `throughput against ${baseline} (median, quartiles of ${rounds} rounds)\n`,
  );
  if (!valid) console.log('VOID: the baseline against itself is not 1.00 ± 0.05; the machine was too busy\n');
  const counted = rows.some(({ flights }) => flights !== undefined);
  printTable(
    [...HEADER, ...(counted ? ['round trips', 'fsyncs'] : [])],
    rows.map(({ title, ratio, rate, p50, p99, cpu, cpuRatio, flights, fsyncs }) => [
      title,
      ratio.median.toFixed(3),
      `${ratio.lower.toFixed(2)}-${ratio.upper.toFixed(2)}`,
      rate.toFixed(0),
      p50.toFixed(0),
      p99.toFixed(0),
      cpu.toFixed(0),
      cpuRatio.toFixed(2),
      ...(counted ? [flights?.toFixed(1) ?? '', fsyncs?.toFixed(1) ?? ''] : []),
    ]),
  );
}
