// The figures of a run, counted from what the clients have written down and from what was found.
import { type Anomaly, type Kind, KINDS } from './check.ts';
import { appendsOf, isAppend, listOf } from './history.ts';
import type { Told } from './record.ts';
import type { RunResult } from './run.ts';

export interface Figures {
  readonly attempts: number;
  readonly committed: number;
  readonly ways: Readonly<Record<string, number>>;
  readonly aborted: number;
  /** By the code of the error. */
  readonly codes: Readonly<Record<string, number>>;
  /** Nobody was told how they ended; what was found of those that append in the end. */
  readonly unknown: { readonly all: number; readonly there: number; readonly notThere: number };
  /** Appends that were acknowledged. */
  readonly appends: number;
  /** Lists that were read by attempts that have committed. */
  readonly reads: number;
  readonly lists: number;
  readonly longest: number;
  readonly disconnected: number;
  readonly killed: number;
  readonly recovered: { readonly committed: number; readonly rolledBack: number };
  /** By database and kind, as `a G2-item`: how many, and how many attempts they have. */
  readonly anomalies: ReadonlyMap<string, { count: number; attempts: number }>;
}

function counted(texts: readonly (string | undefined)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) if (text !== undefined) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

export function figuresOf({ lines, history, troubles, anomalies }: RunResult): Figures {
  const told = lines.filter((line): line is Told => line.at === 'told');
  const ended = (ending: string): typeof history.attempts =>
    history.attempts.filter((attempt) => attempt.ending === ending);
  const committed = ended('committed');
  const unknown = ended('unknown');
  const writers = unknown.filter((attempt) => appendsOf(attempt).length > 0);
  const there = writers.filter((attempt) =>
    appendsOf(attempt).some((append) => listOf(history, append).includes(append.value)),
  );
  const lists = [...history.lists.values()].flatMap((of) => Array.from(of.values()));
  const recoveries = lines.filter((line) => line.at === 'recovered');
  return {
    attempts: history.attempts.length,
    committed: committed.length,
    ways: counted(told.map(({ way }) => way)),
    aborted: ended('aborted').length,
    codes: counted(told.map(({ ending, code }) => (ending === 'aborted' ? (code ?? 'none') : undefined))),
    unknown: { all: unknown.length, there: there.length, notThere: writers.length - there.length },
    appends: committed.reduce((sum, attempt) => sum + appendsOf(attempt).length, 0),
    reads: committed.reduce((sum, { steps }) => sum + steps.filter((step) => !isAppend(step)).length, 0),
    lists: lists.length,
    longest: Math.max(0, ...lists.map(({ length }) => length)),
    disconnected: sumOf(troubles.disconnected),
    killed: sumOf(troubles.killed),
    recovered: {
      committed: recoveries.reduce((sum, line) => sum + line.committed, 0),
      rolledBack: recoveries.reduce((sum, line) => sum + line.rolledBack, 0),
    },
    anomalies: byKind(anomalies),
  };
}

function byKind(anomalies: readonly Anomaly[]): Figures['anomalies'] {
  const found = new Map<string, { count: number; attempts: number }>();
  for (const kind of Object.keys(KINDS) as Kind[]) {
    for (const anomaly of anomalies.filter((each) => each.kind === kind)) {
      const name = anomaly.database === undefined ? kind : `${anomaly.database} ${kind}`;
      const before = found.get(name) ?? { count: 0, attempts: 0 };
      found.set(name, { count: before.count + 1, attempts: before.attempts + anomaly.attempts });
    }
  }
  return found;
}
