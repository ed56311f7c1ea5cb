// What a person sees: a table of figures for each run, the anomalies that must not be, and one line for all.
import { heading, number, paint, say, table } from '../../examples/support/terminal.ts';
import { KINDS } from './check.ts';
import { figuresOf, sumOf } from './figures.ts';
import type { RunOptions, RunResult } from './run.ts';
import { levelsOf } from './setting.ts';

const SHOWN = 5;
/** Of an anomaly that many attempts are part of. */
const SHOWN_CHARACTERS = 600;

export function announce({ product, isolation, seed, forMs, stores, atOnce }: RunOptions): void {
  heading(`postgres + ${product}, ${isolation}: ${forMs / 1000} seconds, seed ${seed}`);
  say(`  ${stores.length * 2} processes with ${atOnce} clients each, decisions in ${stores.join(', ')}`);
}

function listed(counts: Readonly<Record<string, number>>): string {
  const entries = Object.entries(counts).toSorted(([, one], [, other]) => other - one);
  return entries.map(([name, count]) => `${number(count)} ${name}`).join(', ');
}

/** Percent, where there is something to be a part of. */
function share(part: number, whole: number): string {
  return whole === 0 ? '' : `${((100 * part) / whole).toFixed(1)} %`;
}

/** The figures; whether nothing is broken. */
export function show(result: RunResult): boolean {
  const { options, across, troubles, forbidden, breaches, settledMs, load, evidence } = result;
  const figures = figuresOf(result);
  const { unknown, recovered } = figures;
  const levels = levelsOf(options.product, options.isolation);
  say();
  table([
    ['attempts', figures.attempts, 'each a transaction of its own for the databases'],
    ['  committed', figures.committed, listed(figures.ways)],
    ['  aborted', figures.aborted, listed(figures.codes)],
    ['  nobody was told', unknown.all, `${unknown.there} are there in the end, ${unknown.notThere} are not`],
    ['appends acknowledged', figures.appends, `in ${number(figures.lists)} lists of at most ${figures.longest} values`],
    ['lists read', figures.reads, 'by attempts that have committed'],
    ['connections killed', figures.disconnected, `${troubles.disconnected.a} in a, ${troubles.disconnected.b} in b`],
    ['processes killed', figures.killed, listed(troubles.killed)],
    [
      'ended by recovery',
      sumOf(recovered),
      `${recovered.committed} committed, ${recovered.rolledBack} rolled back; at rest after ${(settledMs / 1000).toFixed(1)} s`,
    ],
    ['readers of both', across.readers, 'what follows is not promised'],
    ['  saw one half of somebody', across.skewed, share(across.skewed, across.readers)],
    ['  … that had committed in one only', across.between, share(across.between, across.readers)],
    [
      'changed both',
      across.writers,
      `half of ${across.seenBetween} was seen so, ${share(across.seenBetween, across.writers)}`,
    ],
    ['on a cycle over both', across.onCycles, 'attempts, and on none of either'],
    ['load of the machine', load.toFixed(1), ''],
  ]);
  say(`\n  a is ${levels.a}, b is ${levels.b}`);
  if (figures.anomalies.size === 0) say('  no anomalies');
  for (const [name, { count, attempts }] of figures.anomalies) {
    const [kind] = name.split(' ').slice(-1) as [keyof typeof KINDS];
    const isBroken = forbidden.some((each) => [each.database, each.kind].filter(Boolean).join(' ') === name);
    const mark = isBroken ? paint('red', 'BROKEN ') : paint('dim', 'allowed');
    say(`  ${mark} ${name}: ${number(count)}, of ${number(attempts)} attempts: ${KINDS[kind]}`);
  }
  for (const { kind, what } of forbidden.slice(0, SHOWN)) say(`    ${kind}: ${what.slice(0, SHOWN_CHARACTERS)}`);
  for (const breach of breaches.slice(0, SHOWN)) say(`  ${paint('red', 'BROKEN ')} ${breach}`);
  if (evidence !== undefined) say(`  The evidence is in ${evidence}`);
  return forbidden.length + breaches.length === 0;
}

export function conclude(results: readonly RunResult[]): boolean {
  const all = results.map((result) => ({
    ...figuresOf(result),
    broken: result.forbidden.length + result.breaches.length,
  }));
  const sum = (count: (figures: (typeof all)[number]) => number): string =>
    number(all.reduce((total, each) => total + count(each), 0));
  const isSound = all.every(({ broken }) => broken === 0);
  heading('Together');
  say(
    `  ${sum((each) => each.attempts)} attempts, ${sum((each) => each.committed)} committed with ${sum((each) => each.appends)} appends, ` +
      `${sum((each) => each.disconnected)} connections and ${sum((each) => each.killed)} processes killed, ` +
      `${sum((each) => each.unknown.all)} of which nobody was told`,
  );
  say(isSound ? paint('green', '  Nothing was found that must not be.') : paint('red', '  A promise is broken.'));
  return isSound;
}
