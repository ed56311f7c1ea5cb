// Table 1 as text.
import { type Spread } from '../statistics.ts';
import { type Row, printTable } from '../text.ts';
import {
  type CaseName,
  type VariantName,
  caseNames,
  cases,
  limitOfHeap,
  limits,
  limitsOfEach,
  openAtOnce,
  python,
  variantNames,
  variants,
} from './cases.ts';
import type { CoordinatorResults } from './table.ts';

/** Which rows are ours, and must keep the limits. */
const ours: readonly VariantName[] = ['manager', 'coordinator', 'run'];

export function printCoordinator(results: CoordinatorResults): void {
  const { rounds, sliceMs } = results;
  console.log(
    `\nTable 1: the coordinator alone, ns a transaction (median, quartiles; ${rounds} slices of ${sliceMs} ms each)\n`,
  );
  const rows: Row[] = variantNames.map((variant) => [
    variants[variant],
    ...caseNames.map((name) => spreadText(results.times[variant][name])),
  ]);
  rows.push(['Python transaction 5 (elsewhere, before)', ...caseNames.map((name) => python[name]?.toString() ?? '')]);
  printTable(['', ...caseNames.map((name) => cases[name].title)], rows);

  console.log('\nAgainst the limits\n');
  printTable(
    ['', 'at most', ...ours.map((variant) => variants[variant])],
    [...limitRows(results), ...eachRows(results), heapRow(results)],
  );
  console.log(
    `\nBytes of an open transaction with one manager, ${openAtOnce} open at once, other rows: ${otherHeaps(results)}`,
  );
}

function spreadText({ median, lower, upper }: Spread): string {
  return `${median.toFixed(0)} (${lower.toFixed(0)}-${upper.toFixed(0)})`;
}

function judged(value: number, limit: number): string {
  return `${value.toFixed(0)} ${value <= limit ? 'holds' : 'MISSED'}`;
}

function limitRows({ times }: CoordinatorResults): Row[] {
  return (Object.entries(limits) as [CaseName, number][]).map(([name, limit]) =>
    limitRow(cases[name].title, limit, (variant) => times[variant][name].median),
  );
}

/** What one more hook or savepoint adds to a transaction with one synchronous manager. */
function eachRows({ times }: CoordinatorResults): Row[] {
  return (['hooks', 'savepoints'] as const).map((name) =>
    limitRow(`each of ${cases[name][name]} ${name}`, limitsOfEach[name], (variant) => {
      const { [name]: withAll, sync1: without } = times[variant];
      return (withAll.median - without.median) / cases[name][name];
    }),
  );
}

function limitRow(title: string, limit: number, valueOf: (variant: VariantName) => number): Row {
  return [title, limit.toString(), ...ours.map((variant) => judged(valueOf(variant), limit))];
}

function heapRow({ heap }: CoordinatorResults): Row {
  return limitRow('open transaction, bytes', limitOfHeap, (variant) => heap[variant]);
}

function otherHeaps({ heap }: CoordinatorResults): string {
  return variantNames
    .filter((variant) => !ours.includes(variant))
    .map((variant) => `${variants[variant]} ${heap[variant].toFixed(0)}`)
    .join('; ');
}
