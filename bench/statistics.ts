// Medians and quartiles: what is printed of a row of slices.

export type Spread = {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
};

/** The quantile `q` of numbers in ascending order, between two of them by proportion. */
export function quantile(sorted: readonly number[], q: number): number {
  const place = (sorted.length - 1) * q;
  const below = Math.floor(place);
  const low = sorted[below] ?? Number.NaN;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] ?? Number.NaN;
  return low + (high - low) * (place - below);
}

export function ascending(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}

export function spreadOf(numbers: readonly number[]): Spread {
  const sorted = ascending(numbers);
  return { median: quantile(sorted, 0.5), lower: quantile(sorted, 0.25), upper: quantile(sorted, 0.75) };
}

export function mapSpread(spread: Spread, change: (number: number) => number): Spread {
  return { median: change(spread.median), lower: change(spread.lower), upper: change(spread.upper) };
}

/** The same items in random order. */
export function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [result[last], result[other]] = [result[other]!, result[last]!];
  }
  return result;
}
