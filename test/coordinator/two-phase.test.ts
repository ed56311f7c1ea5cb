// Protects the choice of the way that a commit takes, the place of one-phase resources in it, read-only votes, and what is held
// when the reply of the last resource is lost.
import {
  CommitOutcomeUnknownError,
  type CommitWay,
  InDoubtError,
  type RecoverableResource,
  TooManyLastResourcesError,
  type Transaction,
  TransactionManager,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { type Recipe, each, gate, recording, suppressedBy, turns, wholeCommit } from './recording.ts';

const test = suite('two-phase');

const lost = (): CommitOutcomeUnknownError => new CommitOutcomeUnknownError('reply lost', { resource: 'last' });

async function joined(
  log: string[],
  recipes: Record<string, Recipe>,
  manager = new TransactionManager(),
): Promise<Transaction> {
  const txn = await manager.begin();
  for (const [name, recipe] of Object.entries(recipes)) txn.join(recording(log, name, recipe));
  return txn;
}

const changed = { changed: true };
const last = { lastResource: true, changed: true };

const ways: [string, CommitWay, Record<string, Recipe>, string[]][] = [
  ['nothing joined', 'read-only', {}, []],
  ['nothing that joined has changes', 'read-only', { a: { changed: false }, b: { changed: false } }, ['a', 'b']],
  [
    'a last resource without changes',
    'read-only',
    { a: { lastResource: true, changed: false }, b: { changed: false } },
    ['a', 'b'],
  ],
  [
    'one has changes and can commit in one phase',
    'one-phase',
    { a: { changed: true, onePhase: true }, b: { changed: false } },
    ['b', 'a'],
  ],
  ['one has changes and can not commit in one phase', 'two-phase', { a: changed, b: { changed: false } }, ['a', 'b']],
  ['one has changes, and others do not say', 'one-phase', { a: { changed: true, onePhase: true }, b: {} }, ['b', 'a']],
  [
    'two have changes',
    'two-phase',
    { b: { changed: true, onePhase: true }, a: { changed: true, onePhase: true } },
    ['a', 'b'],
  ],
  ['none says', 'two-phase', { b: {}, a: {} }, ['a', 'b']],
  ['only a last resource', 'one-phase', { a: last, b: {} }, ['b', 'a']],
  [
    'a last resource that does not say whether it has changes',
    'one-phase',
    { a: { lastResource: true }, b: {} },
    ['b', 'a'],
  ],
  ['a last resource, and one that can prepare', 'last-resource', { a: last, b: changed, c: {} }, ['b', 'c', 'a']],
  [
    'a last resource with changes, and one without',
    'last-resource',
    { a: last, b: { lastResource: true, changed: false }, c: changed },
    ['b', 'c', 'a'],
  ],
];

for (const [when, way, recipes, votes] of ways) {
  test(`departure from zope 138, 139: ${when}: ${way}, votes in the order ${votes.join(', ') || 'of nobody'}`, async () => {
    const log: string[] = [];
    const seen: unknown[] = [];
    const txn = await joined(log, {});
    for (const [name, recipe] of Object.entries(recipes)) {
      txn.join(recording(log, name, { ...recipe, does: { tpcVote: () => seen.push(txn.way) } }));
    }
    await txn.commit();
    const called = (step: string): string[] => log.filter((call) => call.endsWith(`.${step}`));
    assert.equal(
      called('tpcVote'),
      votes.map((name) => `${name}.tpcVote`),
    );
    assert.equal(
      called('commit'),
      votes.toSorted().map((name) => `${name}.commit`),
    );
    assert.is(called('tpcFinish').length, votes.length);
    assert.equal(txn.outcome, { result: 'committed', way });
    assert.equal(new Set(seen), new Set(votes.length === 0 ? [] : [way]));
  });
}

test('changed is asked after commit, when all changes are handed over', async () => {
  const log: string[] = [];
  const txn = await new TransactionManager().begin();
  let flushed = false;
  const late = recording(log, 'a', { lastResource: true, does: { commit: () => (flushed = true) } });
  txn.join(Object.defineProperty({ ...late }, 'changed', { get: () => flushed }));
  txn.join(recording(log, 'b', changed));
  await txn.commit();
  assert.is(txn.way, 'last-resource');
  assert.equal(log.slice(4, 6), ['b.tpcVote', 'a.tpcVote']);
});

test('departure from zope 140: two last resources with changes are refused before anyone votes, by name', async () => {
  const log: string[] = [];
  const txn = await joined(log, { a: changed, b: last, c: last, d: { lastResource: true, changed: false } });
  const error = await assert.rejects(txn.commit(), TooManyLastResourcesError);
  assert.match(error.message, '; b and c can only commit in one phase');
  assert.equal(log, [
    ...each('tpcBegin', 'a', 'b', 'c', 'd'),
    ...each('commit', 'a', 'b', 'c', 'd'),
    ...each('abort', 'a', 'b', 'c', 'd'),
    ...each('tpcAbort', 'a', 'b', 'c', 'd'),
  ]);
  assert.is(txn.status, 'commit failed');
});

test('zope 140: with allowUnsafeLastResources they take part, all of them after all others, by sort key', async () => {
  for (const names of [
    { first: 'a', second: 'b', others: ['c', 'd'] },
    { first: 'a', second: 'd', others: ['b', 'c'] },
    { first: 'c', second: 'd', others: ['a', 'b'] },
  ]) {
    const log: string[] = [];
    const manager = new TransactionManager({ allowUnsafeLastResources: true });
    const txn = await joined(
      log,
      { [names.second]: last, [names.first]: last, [names.others[1]!]: changed, [names.others[0]!]: {} },
      manager,
    );
    await txn.commit();
    assert.equal(
      log.filter((call) => call.endsWith('tpcVote')),
      each('tpcVote', ...names.others, names.first, names.second),
    );
    assert.is(txn.status, 'committed');
  }
});

test('a last resource that votes no undoes all others, which are prepared', async () => {
  const log: string[] = [];
  const error = new Error('no');
  const txn = await joined(log, { a: { ...last, fails: { tpcVote: error } }, b: changed });
  assert.is(await assert.rejects(txn.commit()), error);
  assert.equal(log.slice(4), ['b.tpcVote', 'a.tpcVote', 'a.abort', 'b.tpcAbort', 'a.tpcAbort']);
});

for (const async of [false, true]) {
  test(`a read-only vote releases: not called again, whatever the outcome (${async ? 'promises' : 'at once'})`, async () => {
    const readOnly: Recipe = { async, vote: 'read-only' };
    for (const fails of [{}, { tpcVote: new Error('no') }]) {
      const log: string[] = [];
      const txn = await joined(log, { a: readOnly, b: { async, fails } });
      await txn.commit().catch(() => undefined);
      assert.equal(
        log.filter((call) => call.startsWith('a.')),
        ['a.tpcBegin', 'a.commit', 'a.tpcVote'],
      );
      assert.equal(log.slice(-2), 'tpcVote' in fails ? ['b.abort', 'b.tpcAbort'] : ['b.tpcVote', 'b.tpcFinish']);
    }
  });
}

test("a vote of 'commit' is as good as none", async () => {
  const log: string[] = [];
  const txn = await joined(log, { a: { vote: 'commit' }, b: { vote: 'commit', async: true } });
  await txn.commit();
  assert.equal(log, wholeCommit('a', 'b'));
});

test('a lost reply of the last resource: what can hold is held, the rest is undone, and it is in doubt', async () => {
  const log: string[] = [];
  const error = lost();
  const inHold = new Error('hold failed');
  const hooks: unknown[] = [];
  const manager = new TransactionManager();
  const txn = await joined(
    log,
    {
      a: { ...changed, holds: true, fails: { hold: inHold } },
      b: { vote: 'read-only', holds: true },
      c: {},
      d: { ...changed, holds: true, async: true },
      last: { ...last, fails: { tpcVote: error } },
    },
    manager,
  );
  txn.addAfterCommitHook((committed) => hooks.push(committed));
  const thrown = await assert.rejects(txn.commit(), InDoubtError);
  assert.equal(log.slice(10), [
    ...each('tpcVote', 'a', 'b', 'c', 'd', 'last'),
    'last.abort',
    'c.tpcAbort',
    'last.tpcAbort',
    'a.hold',
    'd.hold',
  ]);
  const doubt = thrown;
  assert.is(doubt.cause, error);
  assert.is(doubt.resource, 'last');
  assert.equal([doubt.finished, doubt.unfinished, doubt.phase], [[], ['a', 'd'], 'tpcVote']);
  assert.is(
    doubt.message,
    `the outcome at last must be known to end transaction ${txn.id}; its reply was lost, so a and d stays prepared: ` +
      'look there, then commit or roll back what is prepared to the same outcome',
  );
  assert.equal(suppressedBy(error), [inHold]);
  assert.is(txn.status, 'in doubt');
  assert.is(txn.outcome?.result, 'in doubt');
  assert.equal(hooks, [false]);
  assert.is(manager.current, undefined);
  log.length = 0;
  await txn.abort();
  assert.equal(log, []);
});

test('a lost reply where nothing is held is thrown as it is, and the transaction is in doubt', async () => {
  const log: string[] = [];
  const error = lost();
  const manager = new TransactionManager();
  const txn = await joined(log, { last: { ...last, fails: { tpcVote: error } }, other: {} }, manager);
  assert.is(await assert.rejects(txn.commit()), error);
  assert.equal(log.slice(4), ['other.tpcVote', 'last.tpcVote', 'last.abort', 'other.tpcAbort', 'last.tpcAbort']);
  assert.is(txn.status, 'in doubt');
  assert.is(manager.current, undefined);
});

const named = (name: string): RecoverableResource => ({
  name,
  listPrepared: () => Promise.resolve([]),
  commitPrepared: () => Promise.resolve(),
  rollbackPrepared: () => Promise.resolve(),
});

test('a resource is named by its recoverable resource, else by its sort key', async () => {
  const txn = await new TransactionManager().begin();
  txn.join({ ...recording([], 'a', { fails: { tpcFinish: new Error('no') } }), recoverable: named('bank') });
  txn.join(recording([], 'b'));
  const error = await assert.rejects(txn.commit(), InDoubtError);
  assert.equal([error.unfinished, error.finished, error.resource], [['bank'], ['b'], 'bank']);
  assert.match(error.message, '; bank did not (no), b did; transaction');
});

/** Joins recoverable `b`, `c` and `d`, and `a` and `e`, which aren't. */
async function joinedAround(log: string[], recipes: Record<string, Recipe>): Promise<Transaction> {
  const txn = await new TransactionManager({ allowUnsafeCommit: true }).begin();
  for (const name of ['e', 'd', 'c', 'b', 'a']) {
    const manager = recording(log, name, { changed: true, async: true, ...recipes[name] });
    txn.join('bcd'.includes(name) ? { ...manager, recoverable: named(name) } : manager);
  }
  return txn;
}

test('recoverable resources that follow each other commit, vote and finish at once; the others keep their strict order', async () => {
  for (const step of ['commit', 'tpcVote', 'tpcFinish'] as const) {
    const log: string[] = [];
    const slow = gate();
    const txn = await joinedAround(log, { b: { waits: { [step]: slow.promise } } });
    const committed = txn.commit();
    await assert.eventually(() => log.includes(`d.${step}`));
    assert.not(log.includes(`e.${step}`), 'what comes behind them waits for all');
    slow.open();
    await committed;
    assert.equal(
      log.filter((call) => call.endsWith(step)),
      each(step, 'a', 'b', 'c', 'd', 'e'),
    );
  }
});

test('of those that vote at once, the ones that said yes are not told to abort; all get tpcAbort, and the errors hang on the first', async () => {
  const log: string[] = [];
  const [first, second] = [new Error('c says no'), new Error('d says no')];
  const txn = await joinedAround(log, { c: { fails: { tpcVote: first } }, d: { fails: { tpcVote: second } } });
  assert.is(await assert.rejects(txn.commit()), first);
  assert.equal(suppressedBy(first), [second]);
  assert.equal(log.slice(10), [
    ...each('tpcVote', 'a', 'b', 'c', 'd'),
    ...each('abort', 'c', 'd', 'e'),
    ...each('tpcAbort', 'a', 'b', 'c', 'd', 'e'),
  ]);
});

test('of those that finish at once, one that fails keeps none from it', async () => {
  const log: string[] = [];
  const [first, second] = [new Error('b fails'), new Error('d fails')];
  const txn = await joinedAround(log, { b: { fails: { tpcFinish: first } }, d: { fails: { tpcFinish: second } } });
  const error = await assert.rejects(txn.commit(), InDoubtError);
  assert.equal(
    [error.unfinished, error.finished],
    [
      ['b', 'd'],
      ['a', 'c', 'e'],
    ],
  );
  assert.is(error.cause, first);
  assert.equal(suppressedBy(error), [second]);
});

test('the one that decides by its vote is asked when all others have answered, recoverable or not', async () => {
  const log: string[] = [];
  const slow = gate();
  const txn = await joinedAround(log, {
    b: { lastResource: true },
    c: { waits: { tpcVote: slow.promise } },
  });
  const committed = txn.commit();
  await assert.eventually(() => log.includes('d.tpcVote'));
  assert.not(log.includes('b.tpcVote'));
  slow.open();
  await committed;
  assert.is(
    log.findLast((call) => call.endsWith('tpcVote')),
    'b.tpcVote',
  );
});

test('a read-only vote among those that vote at once is released', async () => {
  const log: string[] = [];
  const txn = await joinedAround(log, { c: { vote: 'read-only' } });
  await txn.commit();
  assert.equal(
    log.filter((call) => call.endsWith('tpcFinish')),
    each('tpcFinish', 'a', 'b', 'd', 'e'),
  );
});

for (const step of ['commit', 'tpcVote', 'tpcFinish'] as const) {
  test(`two that can be recovered are two enough to be asked at once (${step}), and tpcBegin is called one after the other`, async () => {
    const log: string[] = [];
    const [slow, begun] = [gate(), gate()];
    const txn = await new TransactionManager({ allowUnsafeCommit: true }).begin();
    for (const name of ['a', 'b']) {
      const waits = name === 'a' ? { tpcBegin: begun.promise, [step]: slow.promise } : {};
      txn.join({ ...recording(log, name, { changed: true, async: true, waits }), recoverable: named(name) });
    }
    const committed = txn.commit();
    await turns(2);
    assert.equal(log, ['a.tpcBegin']);
    begun.open();
    await assert.eventually(() => assert.is(log.at(-1), `b.${step}`));
    slow.open();
    await committed;
    assert.equal(log, wholeCommit('a', 'b'));
  });
}

test('of those that hand their changes over at once, one that fails has all told to abort, the others as well', async () => {
  const log: string[] = [];
  const no = new Error('no');
  const txn = await joinedAround(log, { c: { fails: { commit: no } } });
  assert.is(await assert.rejects(txn.commit()), no);
  assert.equal(log.slice(5), [
    ...each('commit', 'a', 'b', 'c', 'd'),
    ...each('abort', 'a', 'b', 'c', 'd', 'e'),
    ...each('tpcAbort', 'a', 'b', 'c', 'd', 'e'),
  ]);
});

test('the last resource whose reply was lost is not held itself: there may be nothing to hold', async () => {
  const log: string[] = [];
  const txn = await joined(log, {
    a: { ...changed, holds: true },
    last: { ...last, holds: true, fails: { tpcVote: new CommitOutcomeUnknownError('reply lost') } },
  });
  const doubt = await assert.rejects(txn.commit(), InDoubtError);
  assert.match(doubt.message, 'the outcome at the last resource must be known to end transaction');
  assert.equal(log.slice(4), [...each('tpcVote', 'a', 'last'), 'last.abort', 'last.tpcAbort', 'a.hold']);
});

test('who didn’t finish is said with what becomes of it: what is prepared stays so, all else is lost', async () => {
  for (const [unfinished, isPrepared] of [
    [['a', 'b'], true],
    [['a'], false],
  ] as const) {
    const txn = await joinedAround(
      [],
      Object.fromEntries(unfinished.map((name) => [name, { fails: { tpcFinish: new Error('no') } }])),
    );
    const error = await assert.rejects(txn.commit(), InDoubtError);
    assert.equal(error.unfinished, unfinished);
    const end = `transaction ${txn.id} is decided to commit, so the work must not be repeated`;
    assert.ok(error.message.endsWith(isPrepared ? `${end}; what is prepared stays so until it is committed` : end));
  }
});
