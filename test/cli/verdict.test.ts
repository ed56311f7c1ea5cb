// Protects what people are told to do: for each state that a transaction can be in, whether it is in doubt, and a next step that can't do harm.
import type { DecisionRow } from 'unanimous';
import type { BranchState, TransactionState } from '../../cli/survey.ts';
import { exitCodeOf, judge } from '../../cli/verdict.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('verdict');

const gid = 'shop:store:f00:1';
const decision = (outcome: DecisionRow['outcome']): DecisionRow => ({
  gid,
  incarnation: 'f00',
  outcome,
  participants: ['bank', 'stock'],
  createdAt: new Date(0),
});
const prepared = (ageMs?: number): BranchState => ({ resource: 'bank', configured: true, ageMs });

function state(process: TransactionState['process'], others: Partial<TransactionState> = {}): TransactionState {
  const node = process === 'gone' ? undefined : 'web1';
  const known = { gid, incarnation: 'f00', decision: undefined, unreached: [], unknown: [], ...others };
  const branches = others.branches ?? [];
  return { process, node, branches, ageMs: branches[0]?.ageMs, ...known };
}

const OLD = 61_000;
const branches = [prepared(OLD)];

test('what a living process has had prepared for less than a minute is under way, and longer is in doubt', () => {
  for (const ageMs of [0, 59_000, undefined]) {
    const young = judge(state('living', { branches: [prepared(ageMs)] }));
    assert.equal([young.inDoubt, young.next], [false, undefined]);
  }
  const old = judge(state('living', { branches }));
  assert.ok(old.inDoubt);
  assert.match(old.reason, 'has not ended bank for 1 min');
  assert.match(old.next!, `abort ${gid} --force`);
  for (const [outcome, command] of [
    ['committed', 'commit'],
    ['aborted', 'abort'],
  ] as const) {
    const late = judge(state('living', { branches, decision: decision(outcome) }));
    assert.ok(late.inDoubt);
    assert.match(late.next!, `npx unanimous ${command} ${gid} tries it from here`);
  }
});

test('what a silent process or one that is gone has left is ended by recover, as it was decided', () => {
  for (const process of ['silent', 'gone'] as const) {
    for (const [outcome, ends] of [
      ['committed', 'commits bank'],
      ['aborted', 'rolls bank back'],
      [undefined, 'rolls bank back'],
    ] as const) {
      const left = state(process, { branches, decision: outcome === undefined ? undefined : decision(outcome) });
      const { inDoubt, next } = judge(left);
      assert.ok(inDoubt);
      assert.match(next!, /^npx unanimous recover /);
      assert.match(next!, ends);
    }
  }
});

test('what has ended everywhere is in doubt only where somebody who must follow was not asked', () => {
  const committed = { decision: decision('committed') };
  assert.not(judge(state('gone', committed)).inDoubt);
  assert.not(judge(state('gone')).inDoubt);
  assert.not(judge(state('silent', { decision: decision('aborted') })).inDoubt);
  const unreached = judge(state('gone', { ...committed, unreached: ['stock'] }));
  assert.ok(unreached.inDoubt);
  assert.match(unreached.next!, 'once stock can be reached');
  const unknown = { ...committed, unknown: ['stock'] };
  assert.match(judge(state('gone', unknown)).next!, 'name stock among the resources');
  assert.not(judge(state('living', unknown)).inDoubt, 'its process knows it');
});

test('what is prepared under a name that nobody here has is said, and makes nothing in doubt that is under way', () => {
  const strange = [{ ...prepared(1), resource: 'x', configured: false }];
  const young = judge(state('living', { branches: strange }));
  assert.match(young.reason, 'under the name x is of no resource configured here');
  assert.not(young.inDoubt);
  assert.match(judge(state('gone', { branches: strange })).next!, /^name x among the resources/);
});

test('a server that can’t be asked counts for more than a transaction in doubt, because what it has isn’t known', () => {
  const resource = (failure?: string) => ({
    name: 'bank',
    address: undefined,
    failure,
    prepared: 0,
    oldestMs: undefined,
    used: undefined,
    limit: undefined,
    foreign: [],
  });
  const doubtful = state('gone', { branches });
  assert.is(exitCodeOf({ resources: [resource()], transactions: [] }), 0);
  assert.is(exitCodeOf({ resources: [resource()], transactions: [state('gone')] }), 0);
  assert.is(exitCodeOf({ resources: [resource()], transactions: [doubtful] }), 1);
  assert.is(exitCodeOf({ resources: [resource('down')], transactions: [doubtful] }), 3);
});
