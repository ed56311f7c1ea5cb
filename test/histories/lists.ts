// What can be seen of the lists themselves, without knowing who came before whom: values that are lost, doubled, or of somebody who has
// aborted, and lists that were read in an order that they don't have.
import type { Anomaly, Kind } from './anomalies.ts';
import {
  type Append,
  type Attempt,
  type History,
  type Read,
  type Step,
  appendsOf,
  isAppend,
  listOf,
  place,
} from './history.ts';

/** A value, and by whom. */
interface Written {
  readonly by: Attempt;
  readonly step: Append;
}

/** Who has appended each value, if they have. */
export function writersOf({ attempts }: History): ReadonlyMap<string, Written> {
  const writers = new Map<string, Written>();
  for (const by of attempts) for (const step of by.steps) if (isAppend(step)) writers.set(step.value, { by, step });
  return writers;
}

export function checkLists(history: History): Anomaly[] {
  const writers = writersOf(history);
  return [
    ...history.attempts.flatMap((attempt) => [...ofAppends(history, attempt), ...ofReads(history, attempt, writers)]),
    ...ofFinalLists(history, writers),
    ...stale(history, writers),
  ];
}

function anomaly(kind: Kind, step: Pick<Step, 'database' | 'key'>, what: string): Anomaly {
  return { kind, database: step.database, what: `${place(step)}: ${what}`, attempts: 1 };
}

/** Whether what an attempt has appended is there. */
function ofAppends(history: History, attempt: Attempt): Anomaly[] {
  if (attempt.ending === 'aborted') return [];
  const appends = appendsOf(attempt);
  const missing = appends.filter((append) => !listOf(history, append).includes(append.value));
  const found: Anomaly[] = [];
  if (missing.length > 0 && missing.length < appends.length) {
    const show = (some: readonly Append[]): string =>
      some.map((each) => `${each.value} in ${place(each)}`).join(' and ');
    const there = appends.filter((append) => !missing.includes(append));
    const what = `${attempt.id}, ${attempt.ending}: ${show(there)} is there, ${show(missing)} isn't`;
    found.push({ kind: 'half', what, attempts: 1 });
  }
  if (attempt.ending === 'committed') {
    for (const append of missing)
      found.push(anomaly('lost', append, `${append.value} is not in ${listOf(history, append).join(' ')}`));
  }
  return found;
}

function ofFinalLists({ lists }: History, writers: ReadonlyMap<string, Written>): Anomaly[] {
  const found: Anomaly[] = [];
  for (const [database, keys] of lists) {
    for (const [key, values] of keys)
      found.push(...ofList({ do: 'read', database, key, values }, 'in the end', writers));
  }
  return found;
}

/** What can't be in any list, whoever reads it. */
function ofList(read: Read, when: string, writers: ReadonlyMap<string, Written>): Anomaly[] {
  const found: Anomaly[] = [];
  const { values = [] } = read;
  for (const [index, value] of values.entries()) {
    const written = writers.get(value);
    if (values.indexOf(value) < index) found.push(anomaly('duplicate', read, `${value} is there again, ${when}`));
    if (written === undefined || place(written.step) !== place(read))
      found.push(anomaly('invented', read, `nobody has appended ${value} there, and it is there ${when}`));
    else if (written.step.isUndone === true || written.by.ending === 'aborted')
      found.push(
        anomaly(
          'aborted',
          read,
          `${value} was ${written.step.isUndone === true ? 'undone' : 'aborted'}, and is there ${when}`,
        ),
      );
  }
  return found;
}

/** Also of attempts that have not committed: no level here lets them read what they must not. */
function ofReads(history: History, attempt: Attempt, writers: ReadonlyMap<string, Written>): Anomaly[] {
  const found: Anomaly[] = [];
  for (const [index, step] of attempt.steps.entries()) {
    if (isAppend(step) || step.values === undefined) continue;
    const when = `for ${attempt.id}`;
    const { own, before, others } = ownAndOthers(attempt, index, step);
    // An append that was taken back may be seen by who has made it, as long as it isn't.
    found.push(...ofList({ ...step, values: others }, when, writers), ...intermediate(step, others, when, writers));
    if (own.join() !== before.join())
      found.push(
        anomaly('internal', step, `${attempt.id} had appended ${before.join(' ')}, and read ${step.values.join(' ')}`),
      );
    const list = listOf(history, step);
    if (others.some((value, at) => list[at] !== value))
      found.push(anomaly('order', step, `${attempt.id} read ${others.join(' ')}, in the end it is ${list.join(' ')}`));
  }
  return found;
}

/** A list as others have made it, without what the reader has put behind that; and what it had put there. */
function ownAndOthers(
  { steps }: Attempt,
  at: number,
  read: Read,
): { own: readonly string[]; before: readonly string[]; others: readonly string[] } {
  const ownSteps = steps.filter((step): step is Append => isAppend(step) && place(step) === place(read));
  const own = new Set(ownSteps.map(({ value }) => value));
  const values = read.values!;
  const first = values.findIndex((value) => own.has(value));
  const others = first === -1 ? values : values.slice(0, first);
  const before = steps
    .slice(0, at)
    .filter((step): step is Append => isAppend(step) && place(step) === place(read) && step.isUndone !== true)
    .map(({ value }) => value);
  return { own: values.slice(others.length), before, others };
}

/** The list that a read has found, as others have made it. */
export function othersOf(attempt: Attempt, at: number): readonly string[] {
  return ownAndOthers(attempt, at, attempt.steps[at] as Read).others;
}

function intermediate(
  read: Read,
  values: readonly string[],
  when: string,
  writers: ReadonlyMap<string, Written>,
): Anomaly[] {
  const last = values.at(-1);
  const written = last === undefined ? undefined : writers.get(last);
  if (written === undefined || written.by.ending === 'aborted') return [];
  const all = appendsOf(written.by).filter((append) => place(append) === place(read));
  const missing = all.filter(({ value }) => !values.includes(value)).map(({ value }) => value);
  if (missing.length === 0 || missing.length === all.length) return [];
  return [anomaly('intermediate', read, `${last} was there ${when}, ${missing.join(' ')} of the same attempt wasn't`)];
}

/** A reader that began when an append was acknowledged, and nobody had yet to follow, must find it. */
function stale(history: History, writers: ReadonlyMap<string, Written>): Anomaly[] {
  const found: Anomaly[] = [];
  for (const attempt of history.attempts) {
    for (const [index, step] of attempt.steps.entries()) {
      if (isAppend(step) || step.values === undefined) continue;
      const others = othersOf(attempt, index);
      for (const value of listOf(history, step).slice(others.length)) {
        const { by } = writers.get(value) ?? {};
        if (by?.ending !== 'committed' || by.isPending === true || by.toldAt === undefined) continue;
        if (by.toldAt < attempt.invokedAt)
          found.push(anomaly('stale', step, `${attempt.id} did not read ${value}, acknowledged before it began`));
      }
    }
  }
  return found;
}
