// The checker on histories that were written by hand: each anomaly is found where it is, and nothing is where all is well.
import { assert, suite } from '../support/suite.ts';
import { type Anomaly, type Kind, type Level, KINDS, across, check, isForbidden } from './check.ts';
import { componentsOf } from './cycles.ts';
import type { Attempt, DatabaseName, Ending, History, Step } from './history.ts';

const test = suite('the checker of histories');

/** `a/x+1` appends 1 under x in database a, `a/x-1` too and takes it back, `a/x=1,2` reads 1 and 2 there. */
function step(text: string): Step {
  const [, database, key, sign, rest] = /^([ab])\/(\w+)([-+=])(.*)$/.exec(text)!;
  const at = { database: database as DatabaseName, key: key! };
  if (sign === '=') return { do: 'read', ...at, values: listed(rest!) };
  return { do: 'append', ...at, value: rest!, isUndone: sign === '-' };
}

function listed(text: string): string[] {
  return text === '' ? [] : text.split(',');
}

let clock = 0;

/** All at the same time, unless it says when it began and when its client was told. */
function attempt(id: string, steps: string, ending: Ending = 'committed', times: Partial<Attempt> = {}): Attempt {
  const texts = steps.split(' ').filter((text) => text !== '');
  return { id, steps: texts.map(step), ending, invokedAt: 0, toldAt: 1_000 + clock++, ...times };
}

/** The lists in the end as `a/x=1,2 b/y=3`. */
function history(lists: string, ...attempts: Attempt[]): History {
  const databases = new Map<DatabaseName, Map<string, string[]>>([
    ['a', new Map()],
    ['b', new Map()],
  ]);
  for (const text of lists.split(' ').filter((each) => each !== '')) {
    const [where, values] = text.split('=') as [string, string];
    const [database, key] = where.split('/') as [DatabaseName, string];
    databases.get(database)!.set(key, listed(values));
  }
  return { attempts, lists: databases };
}

function kinds(anomalies: readonly Anomaly[]): Kind[] {
  return [...new Set(anomalies.map(({ kind }) => kind))];
}

function forbidden(anomalies: readonly Anomaly[], level: Level): Kind[] {
  return kinds(anomalies.filter((anomaly) => isForbidden(anomaly, { a: level, b: level })));
}

const LEVELS: readonly Level[] = ['read committed', 'weak repeatable read', 'snapshot', 'serializable'];

test('where all happens one after the other, nothing is found', () => {
  const anomalies = check(
    history(
      'a/x=1,2,3 b/y=4',
      attempt('T1', 'a/x+1 b/y+4 a/x=1'),
      attempt('T2', 'a/x=1 a/x+2 a/x+3 a/x=1,2,3 a/z='),
      attempt('T3', 'a/x=1,2,3 b/y=4'),
      attempt('T4', 'a/x+5 b/y+6', 'aborted'),
      attempt('T5', 'a/x+7 b/y+8', 'unknown'),
      attempt('T6', 'a/x-9 a/x=1,2,3'),
    ),
  );
  assert.equal(anomalies, []);
});

const oneOfEach: readonly [what: string, kinds: readonly Kind[], found: History][] = [
  [
    'an acknowledged append that isn’t there is lost',
    ['lost'],
    history('a/x=1', attempt('T1', 'a/x+1'), attempt('T2', 'a/x+2')),
  ],
  ['a value that is there twice', ['duplicate'], history('a/x=1,1', attempt('T1', 'a/x+1'))],
  [
    'a value that was read twice',
    ['duplicate', 'order'],
    history('a/x=1', attempt('T1', 'a/x+1'), attempt('T2', 'a/x=1,1')),
  ],
  ['a value that nobody has appended', ['invented'], history('a/x=1,2', attempt('T1', 'a/x+1'))],
  ['a value that is under another key', ['lost', 'invented'], history('a/y=1', attempt('T1', 'a/x+1'))],
  [
    'a value of an aborted attempt that is there in the end',
    ['aborted'],
    history('a/x=1', attempt('T1', 'a/x+1', 'aborted')),
  ],
  [
    'a value of an aborted attempt that was read (G1a)',
    ['aborted', 'order'],
    history('', attempt('T1', 'a/x+1', 'aborted'), attempt('T2', 'a/x=1')),
  ],
  ['a value that was taken back by a savepoint, and is there', ['aborted'], history('a/x=1', attempt('T1', 'a/x-1'))],
  [
    'one of two values of one attempt (G1b)',
    ['intermediate', 'G-single'],
    history('a/x=1,2', attempt('T1', 'a/x+1 a/x+2'), attempt('T2', 'a/x=1')),
  ],
  [
    'a list that was read in another order',
    ['order'],
    history('a/x=1,2', attempt('T1', 'a/x+1'), attempt('T2', 'a/x+2'), attempt('T3', 'a/x=2')),
  ],
  ['an own append that isn’t found', ['internal'], history('a/x=1', attempt('T1', 'a/x+1 a/x='))],
  ['an own append that is found before it was made', ['internal'], history('a/x=1', attempt('T1', 'a/x=1 a/x+1'))],
  [
    'a reader that misses what was acknowledged before it began',
    ['stale'],
    history(
      'a/x=1',
      attempt('T1', 'a/x+1', 'committed', { toldAt: 5 }),
      attempt('T2', 'a/x=', 'committed', { invokedAt: 6 }),
    ),
  ],
  ['half of an attempt over two databases', ['half', 'lost'], history('a/x=1', attempt('T1', 'a/x+1 b/y+2'))],
  [
    'half of one whose ending nobody was told of',
    ['half'],
    history('b/y=2', attempt('T1', 'a/x+1 b/y+2', 'unknown', { toldAt: 0 })),
  ],
  [
    'appends of two behind each other (G0)',
    ['G0'],
    history('a/x=1,2 a/y=4,3', attempt('T1', 'a/x+1 a/y+3'), attempt('T2', 'a/x+2 a/y+4')),
  ],
  [
    'two that have read what the other one has appended (G1c)',
    ['G1c'],
    history('a/x=1 a/y=2', attempt('T1', 'a/x+1 a/y=2'), attempt('T2', 'a/y+2 a/x=1')),
  ],
  [
    'one that has read what who came behind it has appended (G1c)',
    ['G1c'],
    history('a/x=1,2 a/y=3', attempt('T1', 'a/x+1 a/y=3'), attempt('T2', 'a/x+2 a/y+3')),
  ],
  [
    'a reader that sees one list with, and one without what somebody has appended to both (G-single)',
    ['G-single'],
    history('a/x=1 a/y=2', attempt('T1', 'a/x+1 a/y+2'), attempt('T2', 'a/x=1 a/y=')),
  ],
  [
    'a list that is read twice, and is longer then (G-single)',
    ['G-single'],
    history('a/x=1', attempt('T1', 'a/x+1'), attempt('T2', 'a/x= a/x=1')),
  ],
  [
    'two that have read the same, and appended behind each other all the same: a lost update (G-single)',
    ['G-single'],
    history('a/x=1,2', attempt('T1', 'a/x= a/x+1'), attempt('T2', 'a/x= a/x+2')),
  ],
  [
    'two readers that see two appends in different orders (G-nonadjacent)',
    ['G-nonadjacent'],
    history(
      'a/x=1 a/y=2',
      attempt('T1', 'a/x+1'),
      attempt('T2', 'a/y+2'),
      attempt('T3', 'a/x=1 a/y='),
      attempt('T4', 'a/x= a/y=2'),
    ),
  ],
  [
    'two that have read what the other one changes: a skewed write (G2-item)',
    ['G2-item'],
    history('a/x=1 a/y=2', attempt('T1', 'a/y= a/x+1'), attempt('T2', 'a/x= a/y+2')),
  ],
  [
    'a report that closes a batch into which something comes later: the anomaly of a reader (G2-item)',
    ['G2-item'],
    history(
      'a/closed=1 a/receipts=2',
      attempt('clerk', 'a/closed= a/receipts+2'),
      attempt('closer', 'a/closed+1'),
      attempt('report', 'a/closed=1 a/receipts='),
    ),
  ],
];

for (const [what, expected, found] of oneOfEach) {
  test(`found: ${what}`, () => assert.equal(kinds(check(found)), expected));
}

test('each kind of anomaly has an example', () => {
  const shown = new Set(oneOfEach.flatMap(([, expected]) => expected));
  assert.equal([...shown].toSorted(), Object.keys(KINDS).toSorted());
});

test('which anomalies are forbidden depends on the level, and a half is at each', () => {
  const at = (what: RegExp): Kind[][] =>
    LEVELS.map((level) => forbidden(check(oneOfEach.find(([each]) => what.test(each))![2]), level));
  assert.equal(at(/skewed write/), [[], [], [], ['G2-item']]);
  assert.equal(at(/different orders/), [[], [], ['G-nonadjacent'], ['G-nonadjacent']]);
  assert.equal(at(/with, and one without/), [[], [], ['G-single'], ['G-single']]);
  assert.equal(at(/^appends of two/), [['G0'], ['G0'], ['G0'], ['G0']]);
  assert.equal(at(/nobody was told/), [['half'], ['half'], ['half'], ['half']]);
});

test('whose ending nobody knows may be there or not, but what is there orders others', () => {
  const attempts = [attempt('T1', 'a/y= a/x+1', 'unknown'), attempt('T2', 'a/x= a/y+2')];
  assert.equal(check(history('a/y=2', ...attempts)), []);
  assert.equal(kinds(check(history('a/x=1 a/y=2', ...attempts))), ['G2-item']);
});

test('an append that is yet to be followed need not be seen at once', () => {
  const writer = attempt('T1', 'a/x+1', 'committed', { toldAt: 5, isPending: true });
  const reader = attempt('T2', 'a/x=', 'committed', { invokedAt: 6 });
  assert.equal(check(history('a/x=1', writer, reader)), []);
});

test('a longer cycle is found among much else, with a short way around, and in its own database', () => {
  const around = Array.from({ length: 5 }, (_, index) =>
    attempt(`T${index}`, `b/k${index}= b/k${(index + 1) % 5}+${index}`),
  );
  const much = Array.from({ length: 300 }, (_, index) => attempt(`U${index}`, `a/u+u${index} b/u+v${index}`));
  const chain = (letter: string): string => much.map((_, index) => `${letter}${index}`).join();
  const lists = `a/u=${chain('u')} b/u=${chain('v')} ${around.map((_, index) => `b/k${(index + 1) % 5}=${index}`).join(' ')}`;
  const anomalies = check(history(lists, ...much, ...around));
  assert.equal(
    anomalies.map(({ kind, database, attempts }) => ({ kind, database, attempts })),
    [{ kind: 'G2-item', database: 'b', attempts: 5 }],
  );
  assert.is(anomalies[0]!.what.split('–rw→').length, 6);
});

test('a cycle over both databases is an anomaly of neither', () => {
  const both = history('a/x=1,2 b/y=4,3', attempt('T1', 'a/x+1 b/y+3'), attempt('T2', 'a/x+2 b/y+4'));
  assert.equal(check(both), []);
  assert.is(across(both).onCycles, 2);
});

test('a reader between two commits is told from one that looks later in the other database', () => {
  const writer = attempt('T1', 'a/x+1 b/y+2');
  const between = across(history('a/x=1 b/y=2', writer, attempt('T2', 'a/x=1 b/y=')));
  assert.equal(between, { readers: 1, skewed: 1, between: 1, writers: 1, seenBetween: 1, onCycles: 2 });
  const later = across(history('a/x=1 b/y=2', writer, attempt('T2', 'a/x= b/y=2')));
  assert.equal(later, { readers: 1, skewed: 1, between: 0, writers: 1, seenBetween: 0, onCycles: 2 });
  const whole = across(history('a/x=1 b/y=2', writer, attempt('T2', 'a/x=1 b/y=2'), attempt('T3', 'a/x=1')));
  assert.equal(whole, { readers: 1, skewed: 0, between: 0, writers: 1, seenBetween: 0, onCycles: 0 });
});

test('components are found in graphs that are deeper than a stack', () => {
  const size = 200_000;
  const ring = componentsOf(size, (node) => [(node + 1) % size]);
  assert.is(new Set(ring).size, 1);
  const chain = componentsOf(size, (node) => (node + 1 < size ? [node + 1] : []));
  assert.is(new Set(chain).size, size);
});
