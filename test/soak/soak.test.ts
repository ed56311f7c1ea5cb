// A short soak, and that a soak can fail: that its checks see what is broken, and that a recovery which trusts leases breaks it.
import { assert, suite } from '../support/suite.ts';
import { type Heard, type Rule, check } from './checks.ts';
import type { BankState, Entry, State } from './ledgers.ts';
import { MISHAP_KINDS, type PlanOptions, planRound } from './plan.ts';
import type { BankName, RecoveryKind } from './setting.ts';
import { Bank, type SoakOptions, soakIn } from './soak.ts';
import { PATIENCE_MS } from './tellers.ts';
import { ACCOUNTS, type Move, OPENING_BALANCE, type Transfer } from './transfer.ts';
import { World } from './world.ts';

const plans = suite('the plan of a soak');

const aMinute: PlanOptions = {
  seed: '1',
  round: 1,
  forMs: 60_000,
  tellers: 4,
  servers: ['a', 'b', 'c', 'redis'],
  leaseMs: 2_000,
  kinds: MISHAP_KINDS,
};

plans('the same seed gives the same plan, and another seed or round another one', () => {
  const plan = planRound(aMinute);
  assert.equal(planRound(aMinute), plan);
  assert.not.equal(planRound({ ...aMinute, seed: '2' }), plan);
  assert.not.equal(planRound({ ...aMinute, round: 2 }), plan);
});

plans('a few minutes have everything that can go wrong, and every pause is longer than the lease', () => {
  const mishaps = [1, 2, 3, 4, 5].flatMap((round) => planRound({ ...aMinute, round }));
  assert.equal([...new Set(mishaps.map(({ kind }) => kind))].toSorted(), MISHAP_KINDS.toSorted());
  for (const mishap of mishaps) {
    assert.ok(mishap.atMs < aMinute.forMs);
    if (mishap.kind === 'pause') assert.ok(mishap.forMs > aMinute.leaseMs);
  }
});

const checks = suite('the checks of a soak');

/** The books of two banks and the counters after one transfer, told to its caller, with what is changed. */
function books(change: Partial<{ a: Partial<BankState>; b: Partial<BankState> } & State> = {}): State {
  const moves: Move[] = [
    { bank: 'a', account: 1, amount: -10 },
    { bank: 'b', account: 2, amount: 10 },
  ];
  const entry: Entry = { transfer: 't', gid: 'g', moves, isCounted: true };
  const accounts = Array.from({ length: ACCOUNTS }, (_, index) => [index + 1, OPENING_BALANCE] as const);
  const nothing = { prepared: [], strays: [] };
  const { a, b, ...state } = change;
  return {
    banks: new Map<BankName, BankState>([
      ['a', { ...nothing, entries: [entry], balances: new Map([...accounts, [1, OPENING_BALANCE - 10]]), ...a }],
      ['b', { ...nothing, entries: [entry], balances: new Map([...accounts, [2, OPENING_BALANCE + 10]]), ...b }],
    ]),
    decisions: [],
    outbox: [],
    counters: new Map([
      ['count:a:1', 1],
      ['count:b:2', 1],
    ]),
    ...state,
  };
}

const heard: Heard = { committed: new Set(['g']), aborted: new Set(['h']), doubts: [], heuristics: [], deaths: [] };

function broken(state: State, of: Partial<Heard> = {}): Rule[] {
  return [...new Set(check(state, { ...heard, ...of }).map(({ rule }) => rule))];
}

checks('nothing is broken where all is as it should be', () => {
  assert.equal(broken(books()), []);
});

checks('a ledger row that is missing in one bank is half of a transfer', () => {
  assert.equal(broken(books({ b: { entries: [] } })), ['halves', 'balances']);
});

checks('a bank that knows nothing of a transfer is found by the money that is missing', () => {
  const { balances } = books().banks.get('a')!;
  const untouched = new Map([...balances, [1, OPENING_BALANCE] as const]);
  assert.equal(broken(books({ a: { entries: [], balances: untouched } })), ['money', 'halves']);
});

checks('a ledger row that isn’t the same in both banks is found', () => {
  const [entry] = books().banks.get('a')!.entries;
  assert.equal(broken(books({ b: { entries: [{ ...entry!, gid: 'another' }] } })), ['halves']);
});

checks('what callers were told is held against the ledgers', () => {
  assert.equal(broken(books(), { committed: new Set(['g', 'not there']) }), ['lost']);
  assert.equal(broken(books(), { aborted: new Set(['g']) }), ['appeared']);
});

checks('whatever is left over is found', () => {
  assert.equal(broken(books({ b: { prepared: ['x:b'] } })), ['prepared']);
  assert.equal(broken(books({ b: { strays: ['123'] } })), ['prepared']);
  assert.equal(broken(books({ decisions: ['x'] })), ['decisions']);
  assert.equal(broken(books({ outbox: [{ gid: 'x', attempts: 20, isDead: true, error: 'no' }] })), ['outbox']);
});

checks('a counter that was raised twice, or not at all, is found', () => {
  assert.equal(broken(books({ counters: new Map([['count:a:1', 2] as const, ['count:b:2', 1] as const]) })), [
    'counters',
  ]);
  assert.equal(broken(books({ counters: new Map([['count:a:1', 1] as const]) })), ['counters']);
});

checks(
  'a doubt that stays, a branch that ended otherwise than was decided, and a process that ended by itself, are found',
  () => {
    assert.equal(broken(books(), { doubts: ['x of t1'] }), ['doubts']);
    assert.equal(broken(books(), { heuristics: ['b was rolled back'] }), ['heuristics']);
    assert.equal(broken(books(), { deaths: ['t1: exit code 1'] }), ['deaths']);
  },
);

const soaks = suite('the bank soak', { timeoutMs: 3 * PATIENCE_MS });
const TELLERS = 3;
const LEASE_MS = 1_500;

let world: World;
soaks.before(async () => {
  world = await World.open(TELLERS);
  assert.ok(world.missing.length === 0 || process.env['CI'] !== 'true', world.missing.join());
});
soaks.after(() => world.close());

/** A process stands still between the votes and the decision until another one has rolled its branch back; then it goes on. */
async function pausedBeforeTheDecision(recovery: RecoveryKind): Promise<{ bank: Bank; broken: Rule[] }> {
  await world.reset();
  const bank = new Bank(world, { seed: 'pause', recovery, tellers: 2, atOnce: 1, leaseMs: LEASE_MS });
  const booksOfB = world.books('b');
  try {
    await bank.start();
    const [paused] = bank.tellers;
    const moves: Move[] = [
      { bank: 'a', account: 1, amount: -10 },
      { bank: 'b', account: 2, amount: 10 },
    ];
    const transfer: Transfer = { id: 'paused', moves, isCounted: false, isHot: false, end: 'commit' };
    await paused!.ask({ do: 'make', transfer, stopAt: 'all prepared' }, 'stopping');
    await assert.eventually(async () => (await booksOfB.prepared()).length === 0, PATIENCE_MS);
    // The signal that stops it may come after its word.
    await assert.eventually(
      () => {
        paused!.resume();
        return bank.tally.transfers === 1;
      },
      PATIENCE_MS,
      100,
    );
    await bank.settle();
    return { bank, broken: [...new Set(check(await bank.read(), bank.tally).map(({ rule }) => rule))] };
  } finally {
    await booksOfB.close();
    await bank.close(false);
  }
}

soaks('a recovery that trusts leases alone leaves half of a transfer whose process was paused', async () => {
  const { bank, broken } = await pausedBeforeTheDecision('lease-only');
  assert.equal(broken, ['money', 'halves', 'heuristics']);
  assert.is(bank.tally.told.committed, 1, 'and its caller was told that it has committed');
});

soaks('with the fence the same pause breaks nothing: the paused process may not decide, and tries again', async () => {
  const { bank, broken } = await pausedBeforeTheDecision('fence');
  assert.equal(broken, []);
  assert.is(bank.tally.told.committed, 1);
  assert.is(bank.tally.retries, 1);
  assert.is(bank.tally.recovered.rolledBack, 1);
});

soaks('ten seconds of kills, pauses, crashes and faulty links leave nothing half done', async () => {
  await world.reset();
  const options: SoakOptions = {
    // Each kind of mishap is the first that happens to something here, so that all of them happen on a slow machine too.
    seed: '1167',
    recovery: 'fence',
    rounds: [10_000],
    tellers: TELLERS,
    atOnce: 3,
    leaseMs: LEASE_MS,
    kinds: MISHAP_KINDS,
    goesOn: false,
  };
  const nobody = { opened: () => undefined, goesOn: () => undefined, checked: () => undefined };
  const { tally, breaches, evidence } = await soakIn(world, options, nobody);
  assert.equal(breaches, [], `the evidence is in ${evidence}`);
  assert.ok(tally.told.committed > 0);
  assert.ok(Object.keys(tally.ways).length >= 2, `several ways to commit, not only ${Object.keys(tally.ways).join()}`);
  assert.ok(tally.recovered.fenced > 0, 'recovery has taken somebody for dead');
  assert.ok(tally.recoveredBranches > 0, 'recovery has ended what somebody had left');
  const happened = Object.keys(tally.mishaps).toSorted();
  if (world.missing.length === 0) assert.equal(happened, MISHAP_KINDS.toSorted());
});

soaks('a ledger row that is deleted afterwards is found in the databases', async () => {
  const bank = new Bank(world, { seed: 'none', recovery: 'fence', tellers: 1, atOnce: 1, leaseMs: LEASE_MS });
  const booksOfB = world.books('b');
  try {
    const before = check(await bank.read(), bank.tally);
    assert.equal(before, []);
    const { entries } = await booksOfB.read();
    const shared = entries.find(({ moves }) => moves.some((move) => move.bank === 'a'));
    await booksOfB.deleteEntry(shared!.transfer);
    const rules = new Set(check(await bank.read(), bank.tally).map(({ rule }) => rule));
    assert.equal([...rules], ['halves', 'balances']);
  } finally {
    await booksOfB.close();
    await bank.close(false);
  }
});
