// Protects the parts of sessions that need no server, where what they are given is seldom.
import { messagesOf } from '../../../datamanagers/sql/decision.ts';
import { remembering } from '../../../datamanagers/sql/scan.ts';
import { transactionControl } from '../../../datamanagers/sql/statement.ts';
import { Turns } from '../../../datamanagers/sql/turns.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('small parts of sessions');

test('what was found out of a text is remembered while it is among the last thousand; a long text never is', () => {
  const looked: string[] = [];
  const lookAt = remembering((text) => {
    looked.push(text);
    return { text };
  });
  const first = lookAt('first');
  assert.is(lookAt('first'), first);
  for (let i = 0; i < 999; i++) lookAt(`text ${i}`);
  assert.is(lookAt('first'), first, 'there is room for it still');
  lookAt('one more');
  assert.is(looked.filter((text) => text === 'first').length, 1);
  assert.equal(lookAt('first'), { text: 'first' });
  assert.is(looked.filter((text) => text === 'first').length, 2, 'it had to go for that one');
  const long = 'x'.repeat(10_001);
  assert.is.not(lookAt(long), lookAt(long));
  assert.is(looked.filter((text) => text === long).length, 2);
});

test('a text that begins with a quote is no end of a transaction, and what comes behind it may be', () => {
  for (const text of ["'commit'", '"commit"', '$$commit$$', "'e'; 'commit'"])
    assert.is(transactionControl(text), undefined);
  assert.is(transactionControl("'begin'; commit"), 'COMMIT');
});

test('messages come in the order in which they were stored: by time, then by transaction, then by place', () => {
  const [early, late] = [new Date(1_000), new Date(2_000)];
  const expected = [
    ['b', 1, early],
    ['a', 1, late],
    ['a', 2, late],
    ['b', 1, late],
    ['c', 3, late],
  ] as const;
  const rows = expected.map(([gid, seq, at]) => ({
    gid,
    seq,
    target: 't',
    payload: '',
    attempts: 0,
    dead: false,
    error: null,
    created_at: at,
  }));
  for (let turn = 0; turn < rows.length; turn++) {
    for (const order of [rows, rows.toReversed()]) {
      const mixed = [...order.slice(turn), ...order.slice(0, turn)];
      assert.equal(
        messagesOf(mixed).map(({ gid, sequence, createdAt }) => [gid, sequence, createdAt]),
        expected,
      );
    }
  }
});

test('a turn that is closed closes those that were opened inside of it, and whoever waited goes on', async () => {
  const turns = new Turns('bank', 'id', 60_000);
  const outer = turns.open('transaction');
  turns.open('stream');
  const waiting = turns.wait(undefined, () => Promise.resolve('its turn'));
  turns.close(outer);
  assert.is(turns.current, undefined);
  assert.is(await waiting, 'its turn');
});
