// Interleavings that are decided on, not left to chance, on real servers: the checker finds what is wrong where the databases allow it or
// where somebody does it wrongly, and nothing where the library and the level forbid it.
import driver, { type RowDataPacket } from 'mysql2/promise';
import pg from 'pg';
import type { DataManager, Transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { Barrier, Bench } from './bench.ts';
import { type Kind, across, check } from './check.ts';
import type { DatabaseName, Step } from './history.ts';
import { type Isolation, ISOLATIONS } from './setting.ts';

const test = suite('histories whose interleaving is decided on', { timeoutMs: 60_000 });
const bench = await Bench.open();
test.after(() => bench.close());

async function kinds(): Promise<Kind[]> {
  return [...new Set(check(await bench.history()).map(({ kind }) => kind))].toSorted();
}

const nothing = (): void => undefined;

/** Joins a commit to do something in it. */
function inCommit(sortKey: string, calls: Partial<Pick<DataManager, 'tpcVote' | 'tpcFinish'>>): DataManager {
  const idle = { tpcBegin: nothing, commit: nothing, tpcVote: nothing, tpcFinish: nothing };
  return { ...idle, tpcAbort: nothing, abort: nothing, sortKey, ...calls };
}

type Found = { readonly [I in Isolation]?: readonly Kind[] };

/** What two transactions show that both read before either writes. */
const skews: readonly [what: string, one: string, other: string, found: { readonly [D in DatabaseName]: Found }][] = [
  [
    'each appends to the list that the other one has read',
    'x= y+',
    'y= x+',
    {
      a: { 'read committed': ['G2-item'], 'repeatable read': ['G2-item'], serializable: [] },
      b: { 'read committed': ['G2-item'], 'repeatable read': ['G2-item'], serializable: [] },
    },
  ],
  [
    'both append to the list that both have read',
    'x= x+',
    'x= x+',
    {
      a: { 'read committed': ['G-single'], 'repeatable read': [], serializable: [] },
      // Its plain reads are of a snapshot, and what it changes is not.
      b: { 'read committed': ['G-single'], 'repeatable read': ['G-single'], serializable: [] },
    },
  ],
  [
    'both write back the list that both have read',
    'x= x*',
    'x= x*',
    {
      a: { 'read committed': ['lost'], 'repeatable read': [], serializable: [] },
      b: { 'read committed': ['lost'], 'repeatable read': ['lost'], serializable: [] },
    },
  ],
];

/** Two that wait for each other until both have read; what they append to is there already. */
async function meet(
  database: DatabaseName,
  [one, other]: readonly [string, string],
  isolation: Isolation,
  before?: (txn: Transaction) => unknown,
): Promise<Kind[]> {
  const at = (steps: string): string => steps.replaceAll(/(?=\b[xy])/g, `${database}/`);
  await bench.reset([`${database}/x+`, `${database}/y+`]);
  const bothHaveRead = new Barrier(2);
  const script = { isolation, at: { 1: () => bothHaveRead.come() }, ...(before === undefined ? {} : { before }) };
  const endings = await Promise.all([bench.play('T1', at(one), script), bench.play('T2', at(other), script)]);
  assert.equal(endings, ['committed', 'committed']);
  return await kinds();
}

for (const [what, one, other, found] of skews) {
  for (const [database, product] of [
    ['a', 'PostgreSQL'],
    ['b', 'MariaDB'],
  ] as const) {
    for (const isolation of ISOLATIONS) {
      const expected = found[database][isolation]!;
      const finds = expected.length === 0 ? 'nothing is found, as one is tried again' : `${expected.join()} is found`;
      test(`${product}, ${isolation}: ${what}: ${finds}`, async () => {
        assert.equal(await meet(database, [one, other], isolation), expected);
        assert.is(bench.again.length, expected.length === 0 ? 1 : 0);
      });
    }
  }
}

test('MariaDB with innodb_snapshot_isolation: its repeatable read loses no update any more, and still lets writes be skewed', async () => {
  const snapshot = async (): Promise<void> => {
    await bench.places.b.session.query('set innodb_snapshot_isolation = 1');
  };
  const shown = [];
  for (const [, one, other] of skews) shown.push(await meet('b', [one, other], 'repeatable read', snapshot));
  assert.equal(shown, [['G2-item'], [], []]);
});

for (const [isolation, expected] of [
  ['read committed', ['G-single']],
  ['repeatable read', []],
] as const) {
  for (const database of ['a', 'b'] as const) {
    const finds = expected.length === 0 ? 'sees neither' : 'sees one half (G-single)';
    test(`${database}, ${isolation}: who reads one list before and one behind a commit to both ${finds}`, async () => {
      await bench.reset();
      const commit = async (): Promise<void> => void (await bench.play('T2', `${database}/x+ ${database}/y+`));
      await bench.play('T1', `${database}/x= ${database}/y=`, { isolation, at: { 1: commit } });
      assert.equal(await kinds(), expected);
    });
  }
}

for (const [end, uncommitted] of [
  ['is aborted', ['aborted', 'order']],
  ['commits one more', ['G-single', 'intermediate']],
] as const) {
  for (const [database, isolation, expected] of [
    ['b', 'read uncommitted', uncommitted],
    ['b', 'read committed', []],
    // The same as read committed there.
    ['a', 'read uncommitted', []],
  ] as const) {
    const finds = expected.length === 0 ? 'nothing' : expected.join();
    test(`${database}, ${isolation}: a value is read whose transaction then ${end}: ${finds} is found`, async () => {
      await bench.reset();
      const read = async (): Promise<void> => void (await bench.play('T2', `${database}/x=`, { isolation }));
      const fail = (): never => {
        throw new Error('on purpose');
      };
      const script = end === 'is aborted' ? { at: { 1: read }, after: fail } : { at: { 1: read } };
      await bench.play('T1', `${database}/x+ ${database}/x+`, script);
      // What has read too much is judged by the order of the dependencies, too.
      assert.equal(await kinds(), expected.toSorted());
    });
  }
}

test('an attempt that is refused is made again in full: all of the second is there in both databases, nothing of the first', async () => {
  await bench.reset();
  const overtake = async (): Promise<void> => void (await bench.play('T2', 'a/x+'));
  await bench.play('T1', 'b/y+ a/x= a/x+ b/y+', { isolation: 'repeatable read', at: { 2: overtake } });
  assert.equal(bench.again, ['40001']);
  const { lists } = await bench.history();
  assert.equal(lists.get('a')!.get(bench.key('x')), ['T2.1:0', 'T1.2:2']);
  assert.equal(lists.get('b')!.get(bench.key('y')), ['T1.2:0', 'T1.2:3']);
  assert.equal(await kinds(), []);
});

/** A clerk has read that the batch is open, somebody closes it, and a report reads that it is closed, and what it has; then the clerk is late. */
async function report(read: () => Promise<unknown>): Promise<void> {
  await bench.reset(['a/closed+', 'a/receipts+']);
  const isolation = 'serializable';
  const close = async (): Promise<void> => {
    await bench.play('closer', 'a/closed+', { isolation });
    await read();
  };
  await bench.play('clerk', 'a/closed= a/receipts+', { isolation, at: { 1: close } });
}

/** Reads by hand, and takes back that it did. */
async function reportByHand(): Promise<void> {
  const client = new pg.Client({ connectionString: bench.urls.a });
  await client.connect();
  const steps: Step[] = [];
  bench.recorder.invoked('report', []);
  await client.query('begin isolation level serializable');
  for (const name of ['closed', 'receipts']) {
    const key = bench.key(name);
    const { rows } = await client.query<{ items: string }>('select items from lists where name = $1', [key]);
    steps.push({ do: 'read', database: 'a', key, values: rows.flatMap(({ items }) => items.split(' ')) });
  }
  await client.query('rollback');
  bench.recorder.told('report', 'committed', steps);
  await client.end();
}

test('serializable: a report that is rolled back by hand has seen what never was (G2-item)', async () => {
  await report(reportByHand);
  assert.equal(await kinds(), ['G2-item']);
  assert.equal(bench.again, []);
});

for (const [what, steps, options] of [
  ['only reads', 'a/closed= a/receipts=', {}],
  ['says that it only reads', 'a/closed= a/receipts=', { readOnly: true }],
  ['reads here and writes in the other database', 'a/closed= a/receipts= b/report+', {}],
] as const) {
  test(`serializable: a report that ${what} is committed, and the clerk is refused, and tried again`, async () => {
    await report(async () => {
      await bench.play('report', steps, { isolation: 'serializable', options });
      // Nothing of it is open any more: while it is, it counts without having committed.
      await assert.eventually(async () => (await bench.books.a.underWay()).length === 1);
    });
    assert.equal(await kinds(), []);
    assert.equal(bench.again, ['40001']);
  });
}

test('serializable, readOnly and deferrable: the report waits for the clerk, and nobody is refused', async () => {
  const admin = new pg.Client({ connectionString: bench.urls.a });
  await admin.connect();
  const waiting = "select from pg_stat_activity where wait_event = 'SafeSnapshot' and datname = current_database()";
  let reported: Promise<unknown> | undefined;
  await report(async () => {
    const options = { readOnly: true, deferrable: true };
    reported = bench.play('report', 'a/closed= a/receipts=', { isolation: 'serializable', options });
    await assert.eventually(async () => (await admin.query(waiting)).rowCount === 1, 20_000);
  });
  assert.is(await reported, 'committed');
  assert.equal(await kinds(), []);
  assert.equal(bench.again, []);
  await admin.end();
});

test('two COMMITs by hand, between which a connection is killed, leave half of it', async () => {
  await bench.reset();
  const [a, b] = [new pg.Client({ connectionString: bench.urls.a }), await driver.createConnection(bench.urls.b)];
  a.on('error', nothing);
  b.on('error', nothing);
  await a.connect();
  const steps = (['a', 'b'] as const).map((database): Step => {
    return { do: 'append', database, key: bench.key('x'), value: `${database}-1` };
  });
  bench.recorder.invoked('T1', steps);
  await a.query('begin');
  await b.query('begin');
  await a.query("insert into lists values ($1, 'a-1')", [bench.key('x')]);
  await b.query("insert into lists values (?, 'b-1')", [bench.key('x')]);
  await a.query('commit');
  assert.ok(await bench.books.b.disconnect(b.threadId));
  await assert.rejects(b.query('commit'));
  bench.recorder.told('T1', 'unknown', steps);
  await a.end();
  b.destroy();
  assert.equal(await kinds(), ['half']);
});

for (const [moment, join] of [
  ['when all are prepared', (kill: () => Promise<void>) => inCommit('~~', { tpcVote: kill })],
  ['between the two commits', (kill: () => Promise<void>) => inCommit('!', { tpcFinish: kill })],
] as const) {
  test(`a connection that is killed ${moment} leaves no half behind the library`, async () => {
    await bench.reset();
    let victim = 0;
    let killed = 0;
    const kill = async (): Promise<void> => {
      if (await bench.books.b.disconnect(victim)) killed++;
    };
    const before = async (txn: Transaction): Promise<void> => {
      const [rows] =
        await bench.places.b.session.query<({ id: number } & RowDataPacket)[]>('select connection_id() as id');
      victim = rows[0]!.id;
      txn.join(join(kill));
    };
    assert.is(await bench.play('T1', 'a/x+ b/x+', { before }), 'committed');
    assert.is(killed, 1);
    const ended = async (): Promise<boolean> => (await bench.books.b.underWay()).length === 0;
    await assert.eventually(ended, 20_000);
    const { lists } = await bench.history();
    assert.equal([lists.get('a')!.size, lists.get('b')!.size], [1, 1]);
    assert.equal(await kinds(), []);
  });
}

test('between the two commits a reader of both sees one half, which breaks nothing that is promised', async () => {
  await bench.reset();
  const read = (): Promise<unknown> => bench.play('reader', 'a/x= b/x=', { isolation: 'read committed' });
  await bench.play('T1', 'a/x+ b/x+', { before: (txn) => txn.join(inCommit('!', { tpcFinish: read as never })) });
  const seen = across(await bench.history());
  assert.equal(seen, { readers: 1, skewed: 1, between: 1, writers: 1, seenBetween: 1, onCycles: 2 });
  assert.equal(await kinds(), []);
});

test('a commit is acknowledged when both have committed: who begins then misses nothing', async () => {
  await bench.reset();
  let letGo = nothing;
  const held = new Promise<void>((resolve) => {
    bench.proxy.onClientData = (data, link) => {
      if (!/xa commit/i.test(data.toString('latin1'))) return true;
      bench.proxy.onClientData = undefined;
      letGo = () => void link.server.write(data);
      resolve();
      return false;
    };
  });
  const played = bench.play('T1', 'a/x+ b/x+');
  await held;
  // Whoever doesn't wait for it is told before the second one begins, which misses it in b then.
  for (const reader of ['R1', 'R2']) await bench.play(reader, 'a/x= b/x=', { isolation: 'read committed' });
  letGo();
  assert.is(await played, 'committed');
  assert.equal(await kinds(), []);
  assert.is(across(await bench.history()).between, 2);
});
