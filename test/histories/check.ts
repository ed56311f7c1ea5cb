// The checker: what a history shows that must not be. It knows nothing of this library, nor of any database.
import type { Anomaly } from './anomalies.ts';
import { checkCycles, graphOf, onCycles } from './graph.ts';
import { type Attempt, DATABASES, type History, appendsOf, isAppend, listOf, place } from './history.ts';
import { checkLists } from './lists.ts';

export { type Anomaly, type Kind, type Level, type Levels, KINDS, isForbidden } from './anomalies.ts';

/** All anomalies; which of them are forbidden depends on what was promised. */
export function check(history: History): Anomaly[] {
  return [
    ...checkLists(history),
    ...DATABASES.flatMap((database) => checkCycles(graphOf(history, [database]), database)),
  ];
}

/** What readers of both databases have seen of those that have changed both. Nobody promises them anything. */
export interface Across {
  /** Attempts that have committed and have read in both. */
  readonly readers: number;
  /** … of which so many have seen one half of somebody, … */
  readonly skewed: number;
  /** … and so many in the database where they looked first, and not in the one where they looked then: it had committed in one only. */
  readonly between: number;
  /** Attempts that have changed both. */
  readonly writers: number;
  /** … of which one half was seen like that by somebody. */
  readonly seenBetween: number;
  /** Attempts on a cycle over both databases that are on none of either: what would not be if the two were one. */
  readonly onCycles: number;
}

export function across(history: History): Across {
  const readers = history.attempts.filter(
    (attempt) => attempt.ending === 'committed' && DATABASES.every((name) => readsOf(attempt, name).length > 0),
  );
  const writers = history.attempts.filter(
    (attempt) =>
      attempt.ending !== 'aborted' &&
      DATABASES.every((name) => appendsOf(attempt).some(({ database }) => database === name)) &&
      appendsOf(attempt).every((append) => listOf(history, append).includes(append.value)),
  );
  const writersAt = new Map<string, Set<Attempt>>();
  for (const writer of writers) {
    for (const append of appendsOf(writer)) {
      const at = writersAt.get(place(append)) ?? new Set();
      writersAt.set(place(append), at.add(writer));
    }
  }
  let [skewed, between] = [0, 0];
  const seen = new Set<Attempt>();
  for (const reader of readers) {
    const halves = halvesSeenBy(reader, writersAt);
    const inBetween = halves.filter(({ isBetween }) => isBetween);
    if (halves.length > 0) skewed++;
    if (inBetween.length > 0) between++;
    for (const { writer } of inBetween) seen.add(writer);
  }
  const alone = new Set(DATABASES.flatMap((database) => [...onCycles(graphOf(history, [database]))]));
  const together = [...onCycles(graphOf(history, DATABASES))].filter((attempt) => !alone.has(attempt));
  return {
    readers: readers.length,
    skewed,
    between,
    writers: writers.length,
    seenBetween: seen.size,
    onCycles: together.length,
  };
}

interface Half {
  readonly writer: Attempt;
  /** Seen where the reader looked first: so it had committed there, and later not yet in the other one. */
  readonly isBetween: boolean;
}

function readsOf({ steps }: Attempt, name: string): { key: string; values: readonly string[]; at: number }[] {
  return steps.flatMap((step, at) =>
    isAppend(step) || step.database !== name || step.values === undefined
      ? []
      : [{ key: place(step), values: step.values, at }],
  );
}

function halvesSeenBy(reader: Attempt, writersAt: ReadonlyMap<string, ReadonlySet<Attempt>>): Half[] {
  const [a, b] = DATABASES.map((name) => readsOf(reader, name)) as [
    ReturnType<typeof readsOf>,
    ReturnType<typeof readsOf>,
  ];
  const found: Half[] = [];
  const candidates = new Set(a.flatMap(({ key }) => [...(writersAt.get(key) ?? [])]));
  for (const writer of candidates) {
    if (writer === reader) continue;
    const looks = (reads: typeof a): { at: number; sees: boolean }[] =>
      reads.flatMap(({ key, values, at }) => {
        const own = appendsOf(writer).filter((append) => place(append) === key);
        return own.length === 0 ? [] : [{ at, sees: own.some(({ value }) => values.includes(value)) }];
      });
    const [inA, inB] = [looks(a)[0], looks(b)[0]];
    if (inA === undefined || inB === undefined || inA.sees === inB.sees) continue;
    const [seeing, missing] = inA.sees ? [inA, inB] : [inB, inA];
    const isBefore = firstTouch(reader, seeing.at) < firstTouch(reader, missing.at) && seeing.at < missing.at;
    found.push({ writer, isBetween: isBefore });
  }
  return found;
}

/** When the reader first asked the database of a step: at most levels that is when its snapshot was taken. */
function firstTouch({ steps }: Attempt, at: number): number {
  return steps.findIndex(({ database }) => database === steps[at]!.database);
}
