// What is asked of a process that looks for leaks, and what it answers.

export type LeakRequest = {
  /** How many transactions are counted, behind those that warm up. */
  readonly transactions: number;
  readonly warmUp: number;
  readonly blocks: number;
  /** How many transactions are open at once. */
  readonly clients: number;
};

/** Something that must not be left over, and what was. */
export type Finding = {
  readonly title: string;
  readonly found: string;
  readonly allowed: string;
  readonly held: boolean;
};

/** How transactions of one kind ended: `done`, or the name or SQLSTATE of an error. */
export type Endings = Readonly<Record<string, number>>;

export type LeakAnswer = LeakRequest & {
  readonly seconds: number;
  /** Bytes of heap behind each block, all garbage collected; the first is behind the warm-up. */
  readonly heaps: readonly number[];
  readonly endings: Readonly<Record<string, Endings>>;
  readonly findings: readonly Finding[];
};

export function exactly(title: string, found: number, expected: number): Finding {
  return { title, found: found.toString(), allowed: expected.toString(), held: found === expected };
}

export function atMost(title: string, found: number, limit: number, digits = 0): Finding {
  return { title, found: found.toFixed(digits), allowed: `at most ${limit}`, held: found <= limit };
}
