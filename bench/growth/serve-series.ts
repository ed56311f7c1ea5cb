// The contender's side of a series.
import { serve } from '../serve.ts';
import type { GrowthAnswer, GrowthRequest, Make } from './series.ts';

/** Answers for the way that this process is told, on the databases whose addresses follow. */
export function serveSeries(makers: Readonly<Record<string, Make>>): void {
  const [way, ...urls] = process.argv.slice(2);
  const once = makers[way!]!(urls);
  serve({
    slice: async ({ size, ms }: GrowthRequest): Promise<GrowthAnswer> => {
      const numbers: number[] = [];
      const until = performance.now() + ms;
      do numbers.push(await once(size));
      while (performance.now() < until);
      return { numbers };
    },
  });
}

/** Microseconds that something takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) * 1000;
}
