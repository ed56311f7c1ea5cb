// A part of table 5: how long something takes that becomes more, in several ways.
import { join } from 'node:path';
import { Contender } from '../contender.ts';
import { type Choice, type MeasureOptions, roundsOf } from '../options.ts';
import { postgresWith, withServers } from '../servers.ts';
import { type Spread, shuffled, spreadOf } from '../statistics.ts';
import type { Part } from '../tables.ts';
import { printTable } from '../text.ts';
import type { GrowthAnswer, GrowthRequest, Series } from './series.ts';

export type GrowthRow = { readonly title: string; readonly spreads: readonly Spread[] };

export type GrowthResult = {
  readonly version: string;
  readonly title: string;
  readonly sizeOf: string;
  readonly sizes: readonly number[];
  readonly rounds: number;
  readonly rows: readonly GrowthRow[];
};

const WARM_UPS = 3;
const OVERHEAD_MS = 10;

export function growthPart(name: string, series: Series): Part<GrowthResult> {
  return {
    name,
    table: '5',
    seconds: (choice) => secondsOf(series, choice),
    measure: async (options, save) => {
      const result = await withServers(
        series.databases === 0 ? [] : [postgresWith(series.databases)],
        async ([server]) => measureGrowth(series, server?.urls ?? [], server?.version ?? '', options, save),
      );
      printGrowth(result);
      return result;
    },
    print: printGrowth,
  };
}

function waysOf({ ways }: Series, { contenders }: Choice): [way: string, title: string][] {
  const wanted = contenders.map((part) => part.toLowerCase());
  return Object.entries(ways).filter(
    ([, title]) => wanted.length === 0 || wanted.some((part) => title.toLowerCase().includes(part)),
  );
}

function secondsOf(series: Series, choice: Choice): number {
  const each = (waysOf(series, choice).length * series.sizes.length * (series.sliceMs + OVERHEAD_MS)) / 1000;
  return 3 + each * (roundsOf(choice) + WARM_UPS);
}

async function measureGrowth(
  series: Series,
  urls: readonly string[],
  version: string,
  options: MeasureOptions,
  save: (result: GrowthResult) => void,
): Promise<GrowthResult> {
  const { title, sizeOf, sizes, sliceMs } = series;
  const script = join(options.folder, 'bench', 'growth', `${series.script}.js`);
  const all: { contender: Contender; numbers: number[][] }[] = [];
  const { progress } = options;
  progress.did(0, `growth, ${sizeOf}`);
  try {
    for (const [way, name] of waysOf(series, options)) {
      const contender = await Contender.start(name, script, [way, ...urls]);
      all.push({ contender, numbers: sizes.map(() => []) });
    }
    const slices = all.flatMap(({ contender, numbers }) =>
      sizes.map((size, index) => ({ contender, size, numbers: numbers[index]! })),
    );
    const slice = async (contender: Contender, size: number): Promise<number> => {
      const request: GrowthRequest = { size, ms: sliceMs };
      const answer = await contender.ask<GrowthAnswer>('slice', request);
      return spreadOf(answer.numbers).median;
    };
    for (let time = 0; time < WARM_UPS; time++) for (const { contender, size } of slices) await slice(contender, size);
    const rounds = roundsOf(options);
    const resultAfter = (round: number): GrowthResult => {
      const rows = all.map(({ contender, numbers }) => ({ title: contender.name, spreads: numbers.map(spreadOf) }));
      return { version, title, sizeOf, sizes, rounds: round, rows };
    };
    for (let round = 1; round <= rounds; round++) {
      for (const { contender, size, numbers } of shuffled(slices)) numbers.push(await slice(contender, size));
      save(resultAfter(round));
      progress.did((secondsOf(series, options) - 3) / rounds, `growth, ${sizeOf}`);
    }
    return resultAfter(rounds);
  } finally {
    for (const { contender } of all) await contender.stop();
  }
}

function printGrowth({ version, title, sizeOf, sizes, rounds, rows }: GrowthResult): void {
  if (version !== '') console.log(`\n${version}`);
  console.log(`\nTable 5: ${title}, by the number of ${sizeOf} (median, quartiles of ${rounds} rounds)\n`);
  const isGrowing = sizes.length > 2;
  printTable(
    ['', ...sizes.map(String), ...(isGrowing ? ['each more'] : [])],
    rows.map(({ title: way, spreads }) => [
      way,
      ...spreads.map(spreadText),
      ...(isGrowing ? [numberText(eachMore(sizes, spreads))] : []),
    ]),
  );
}

/** What one more adds, from the smallest size to the largest. */
function eachMore(sizes: readonly number[], spreads: readonly Spread[]): number {
  return (spreads.at(-1)!.median - spreads[0]!.median) / (sizes.at(-1)! - sizes[0]!);
}

function spreadText({ median, lower, upper }: Spread): string {
  return `${numberText(median)} (${numberText(lower)}-${numberText(upper)})`;
}

function numberText(number: number): string {
  return number.toFixed(Math.abs(number) < 20 ? 2 : 0);
}
