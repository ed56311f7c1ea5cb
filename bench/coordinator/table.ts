// Table 1: the coordinator alone, with data managers that do nothing.
import { join } from 'node:path';
import { Contender } from '../contender.ts';
import { type Spread, shuffled, spreadOf } from '../statistics.ts';
import { type CaseName, type Slice, type VariantName, caseNames, variantNames } from './cases.ts';

export type CoordinatorOptions = {
  readonly folder: string;
  readonly quick: boolean;
};

export type CoordinatorResults = {
  readonly rounds: number;
  readonly sliceMs: number;
  /** Nanoseconds a transaction. */
  readonly times: Readonly<Record<VariantName, Readonly<Record<CaseName, Spread>>>>;
  /** Bytes of an open transaction. */
  readonly heap: Readonly<Record<VariantName, number>>;
};

export async function measureCoordinator({ folder, quick }: CoordinatorOptions): Promise<CoordinatorResults> {
  const rounds = quick ? 7 : 31;
  const sliceMs = quick ? 4 : 10;
  const contenders = new Map<VariantName, Contender>();
  for (const name of variantNames) {
    contenders.set(name, await Contender.start(name, join(folder, 'bench', 'coordinator', 'process.js'), [name]));
  }
  try {
    const slices = variantNames.flatMap((variant) =>
      caseNames.map((name) => ({
        contender: contenders.get(variant)!,
        variant,
        name,
        count: 0,
        times: [] as number[],
      })),
    );
    for (const slice of slices) slice.count = await warmUp(slice.contender, slice.name, sliceMs);
    for (let round = 0; round < rounds; round++) {
      for (const { contender, name, count, times } of shuffled(slices)) {
        times.push(await contender.ask<number>('slice', { name, count } satisfies Slice));
      }
    }
    const times = {} as Record<VariantName, Record<CaseName, Spread>>;
    for (const slice of slices) (times[slice.variant] ??= {} as never)[slice.name] = spreadOf(slice.times);
    const heap = {} as Record<VariantName, number>;
    for (const [name, contender] of contenders) {
      const sizes: number[] = [];
      for (let repeated = 0; repeated < 5; repeated++) sizes.push(await contender.ask<number>('heap'));
      heap[name] = spreadOf(sizes).median;
    }
    return { rounds, sliceMs, times, heap };
  } finally {
    for (const contender of contenders.values()) await contender.stop();
  }
}

/** Runs a case until it is optimised, and returns how many of it fill a slice. */
async function warmUp(contender: Contender, name: CaseName, sliceMs: number): Promise<number> {
  let count = 2_000;
  for (let repeated = 0; repeated < 10; repeated++) {
    const time = await contender.ask<number>('slice', { name, count } satisfies Slice);
    count = Math.max(250, Math.round((sliceMs * 1e6) / time));
  }
  return count;
}
